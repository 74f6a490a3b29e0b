"""Layers of images, and the local files that they are made of.

Files are named when a layer is declared and read when the definition is needed: a worker imports the same
module and may never need the definition.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_COMMENT = re.compile(r"(^|\s)#.*$")
_SCRIPT_BLOCK = re.compile(r"(?m)^# /// script[ \t]*$\s(?P<content>(?:^#(?:| .*)$\s)+)^# ///[ \t]*$")


@dataclass(frozen=True)
class Layer:
    """One step of an image, or its base: a kind and its fields."""

    kind: str
    fields: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, kind: str, **fields: Any) -> Layer:
        """Make a layer; lists become tuples, so that layers can be compared and hashed."""
        frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        return cls(kind, tuple(frozen.items()))

    def definition(self) -> dict[str, Any]:
        """The layer as JSON data, local files read."""
        found: dict[str, Any] = {"kind": self.kind}
        for name, value in self.fields:
            if isinstance(value, LocalFile):
                found.update(value.definition(name))
            elif isinstance(value, tuple):
                found[name] = [part.entry() if isinstance(part, LocalFile) else part for part in value]
            elif isinstance(value, Pairs):
                found[name] = dict(value.items)
            else:
                found[name] = value
        return found

    def files(self) -> Iterator[Path]:
        """The local files whose text the definition holds."""
        for _, value in self.fields:
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, LocalFile) and part.form != "digest":
                    yield part.path


@dataclass(frozen=True)
class Pairs:
    """A dict that can be hashed."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LocalFile:
    """A local file or directory that a layer is made of.

    Attributes:
        path: Where it is.
        form: What the definition holds of it: "text", "requirements" (its lines), "script" (PEP 723) or
            "digest".
    """

    path: Path
    form: str

    def definition(self, name: str) -> dict[str, Any]:
        """The fields that this file gives to its layer's definition."""
        if self.form == "requirements":
            return {"lines": requirement_lines(self.path), "name": self.path.name}
        if self.form == "script":
            return script_header(self.path)
        return {name: self.entry()}

    def entry(self) -> dict[str, Any]:
        """Name of the file and its text or digest."""
        if self.form == "digest":
            return {"name": self.path.name, "sha256": _digest(self.path)}
        return {"name": self.path.name, "text": read(self.path)}


def local_path(path: str | os.PathLike[str], declared_in: str) -> Path:
    """A path as given: absolute, beside the declaring file, or below the working directory."""
    given = Path(path)
    if given.is_absolute():
        return given
    beside = Path(declared_in).absolute().parent / given
    return beside if beside.exists() else given.absolute()


def read(path: Path) -> str:
    """Text of a file, or a `ValueError` that names it."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"image: {path} cannot be read: {reason}") from None


def requirement_lines(path: Path) -> list[str]:
    """The lines of a requirements file, without comments, continuations joined.

    Raises:
        ValueError: The file cannot be read, or a line refers to another local file.
    """
    lines = []
    for raw in read(path).replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        line = _COMMENT.sub("", raw).strip()
        if not line:
            continue
        if re.match(r"(-r|-c|-e|--requirement|--constraint|--editable)\b|\.{0,2}/", line):
            raise ValueError(
                f"image: {path}: {line!r} refers to another local file: write the packages out, "
                "for instance with `uv pip compile`"
            )
        lines.append(" ".join(line.split()))
    return lines


def script_header(path: Path) -> dict[str, Any]:
    """Packages and Python version of a script's PEP 723 header.

    Raises:
        ValueError: The file cannot be read, or has no header or a broken one.
    """
    blocks = list(_SCRIPT_BLOCK.finditer(read(path) + "\n"))
    if len(blocks) != 1:
        how_many = "no" if not blocks else "more than one"
        raise ValueError(f"image: {path} has {how_many} '# /// script' header (PEP 723)")
    text = "".join(
        line[2:] if line.startswith("# ") else line[1:]
        for line in blocks[0]["content"].splitlines(keepends=True)
    )
    header = _toml(path, text)
    packages, python = header.get("dependencies", []), header.get("requires-python", "")
    if not isinstance(packages, list) or not all(isinstance(package, str) for package in packages):
        raise ValueError(f"image: {path}: dependencies in the script's header must be a list of strings")
    return {"packages": packages, "requires_python": python, "name": path.name}


def string_list(what: str, values: Iterable[object]) -> list[str]:
    """The values as a list of non-empty strings, or an error that names the wrong one."""
    found = []
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{what} takes strings, not {value!r}")
        if not value.strip() or "\n" in value or "\0" in value:
            raise ValueError(f"{what}: {value!r} is empty or has more than one line")
        found.append(value.strip())
    if not found:
        raise ValueError(f"{what} needs at least one value")
    return found


def _toml(path: Path, text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib

        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"image: {path}: the script's header is no valid TOML: {error}") from None
    else:
        raise ValueError(f"image: reading {path} needs Python 3.11 or later")


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents below a directory."""
    import hashlib

    if not path.exists():
        raise ValueError(f"image: {path} does not exist")
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    found = hashlib.sha256()
    for file in sorted(part for part in path.rglob("*") if part.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        found.update(f"{file.relative_to(path).as_posix()}\0{content}\n".encode())
    return found.hexdigest()
