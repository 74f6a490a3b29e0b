"""Layers of images, and the local files that they are made of.

Files are named when a layer is declared and read when the definition is needed: a worker imports the same
module and may never need the definition.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flyte._dockerignore import Dockerignore
from flyte._image_files import Archive, archive_of, files_below
from flyte._image_requirements import check_reachable
from flyte._image_uv import check_poetry_lock, header_settings, local_folders

StrPath = str | os.PathLike[str]

_INSTRUCTION = re.compile(r"(?im)^[^\S\n]*(?:ONBUILD\s+)?(COPY|ADD|RUN)\b([^\n]*)")
_CONTINUATIONS = [re.compile(mark + r"[ \t]*\r?\n(?:\s*(?:#[^\n]*)?\n)*") for mark in (r"\\", "`")]
"""With a backslash, and with the character that a directive may name in its place."""
_ESCAPE = re.compile(r"(?i)#\s*escape\s*=\s*`")
_ELSEWHERE = re.compile(r"(^|,)(type=(cache|tmpfs|secret|ssh)|from=[^,]+)(,|$)")
"""Options of a mount that is none of the context."""
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

    def get(self, name: str) -> Any:
        """A field, None when it is not set."""
        return dict(self.fields).get(name)

    def definition(self, setting: Setting) -> dict[str, Any]:
        """The layer as JSON data, local files read."""
        found: dict[str, Any] = {"kind": self.kind}
        for name, value in self.fields:
            if isinstance(value, LocalFile):
                found.update(value.definition(name))
            elif isinstance(value, LocalFiles):
                archive = value.archive(setting)
                if archive is not None:
                    setting.archives.append(archive)
                    found[name] = archive.definition()
            elif isinstance(value, tuple):
                found[name] = [part.entry() if isinstance(part, SecretMount) else part for part in value]
            elif isinstance(value, SecretMount):
                found[name] = value.key
            elif isinstance(value, Pairs):
                found[name] = dict(value.items)
            else:
                found[name] = value
        return found


@dataclass
class Setting:
    """What a definition depends on beside the image itself.

    Attributes:
        refs: Addresses of images by the name that the configuration gives them.
        root: Directory that holds the code; None when it is not known.
        bakes_code: True to put the code into images that ask for it; False when it is sent along with runs.
        registry: Registry of images that name none; None for that of the platform.
        dockerignore: Patterns of files that copies leave out.
        archives: The archives that the definition names; filled while it is made.
    """

    refs: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None
    bakes_code: bool = False
    registry: str | None = None
    dockerignore: tuple[str, ...] = ()
    archives: list[Archive] = field(default_factory=list)


@dataclass(frozen=True)
class SecretMount:
    """A secret that a layer sees while it is made.

    Attributes:
        key: Its name.
        env: Environment variable that holds it; None for a file.
        source: Environment variable of the caller that its value comes from.
    """

    key: str
    env: str | None
    source: str

    def entry(self) -> dict[str, str]:
        """What the definition holds of it."""
        return {"key": self.key} if self.env is None else {"key": self.key, "env": self.env}


@dataclass(frozen=True)
class Pairs:
    """A dict that can be hashed."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LocalFile:
    """A local file whose text is part of the definition.

    Attributes:
        path: Where it is.
        form: What the definition holds of it: "text", "poetry_lock" (which is checked), "requirements" (its lines) or
            "script" (PEP 723).
    """

    path: Path
    form: str

    def definition(self, name: str) -> dict[str, Any]:
        """The fields that this file gives to its layer's definition."""
        if self.form == "requirements":
            return {"lines": requirement_lines(self.path), "name": self.path.name}
        if self.form == "script":
            return script_header(self.path)
        if self.form == "poetry_lock":
            check_poetry_lock(self.path, read(self.path))
        return {name: {"name": self.path.name, "text": read(self.path)}}


@dataclass(frozen=True)
class LocalFiles:
    """Local files that become an archive.

    Attributes:
        paths: Where they are.
        form: "files" (each by its name), "folder" (under its own name), "contents" (of a folder), "project" (a
            folder without what git ignores), "local" (what the lock file of a project, the second path, takes from
            its folder), "context" (what a Dockerfile copies), "code" (of the run: its
            `paths` name the copy style).
    """

    paths: tuple[Path, ...]
    form: str

    def archive(self, setting: Setting) -> Archive | None:
        """The archive, None when there is nothing to copy.

        Raises:
            ValueError: A file does not exist.
        """
        ignored = Dockerignore(setting.dockerignore)
        if self.form == "files":
            return archive_of(self._files())
        folder = self.paths[0]
        if self.form == "folder":
            top = folder.name
            found = [(f"{top}/{name}", path) for name, path in files_below(folder, ignored)]
            return archive_of(found or [(top, folder)])
        if self.form == "contents":
            return archive_of(files_below(folder, ignored))
        if self.form == "context":
            return _context(folder)
        from flyte._bundle._root import check_root
        from flyte._bundle._select import select_files

        wanted = [""]
        if self.form == "local":
            pyproject, lock = self.paths
            wanted = local_folders(pyproject, lock, read(lock))
            if not wanted:
                return None
        is_project = self.form in {"project", "local"}
        root = check_root(folder.absolute().parent if is_project else _code_root(setting))
        style: Any = "all" if is_project else folder.name
        selected = select_files(root, style)
        named = ((path.relative_to(root).as_posix(), path.resolve()) for path in selected)
        return archive_of(
            (name, path)
            for name, path in named
            if not ignored.leaves_out(name)
            and any(not each or f"{name}/".startswith(f"{each}/") for each in wanted)
        )

    def _files(self) -> Iterator[tuple[str, Path]]:
        for path in self.paths:
            if not path.exists():
                raise ValueError(f"image: {path} does not exist")
            if path.is_dir():
                raise ValueError(f"image: {path} is a directory: use with_source_folder")
            yield path.name, path.resolve()


def _code_root(setting: Setting) -> Path:
    if setting.root is None:
        raise ValueError(
            "image: with_code_bundle needs the code of a run: use flyte.run, deploy or `flyte build`"
        )
    return setting.root


def _context(dockerfile: Path) -> Archive | None:
    """The files beside a Dockerfile, when it copies any."""
    if not reads_context(read(dockerfile)):
        return None
    from flyte._bundle._root import check_root

    folder = check_root(dockerfile.absolute().parent)
    own = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    file = own if own.is_file() else folder / ".dockerignore"
    lines = read(file).splitlines() if file.is_file() else []
    return archive_of(files_below(folder, Dockerignore(lines)))


def reads_context(dockerfile: str) -> bool:
    """False for a Dockerfile that copies or mounts nothing of its directory. In doubt it does."""
    patterns = _CONTINUATIONS if _ESCAPE.search(dockerfile) else _CONTINUATIONS[:1]
    readings = [pattern.sub("", dockerfile) for pattern in patterns]
    for instruction, rest in (found for text in readings for found in _INSTRUCTION.findall(text)):
        words = rest.replace('"', "").replace("'", "").split()
        flags = [word for word in words if word.startswith("--")]
        if instruction.upper() != "RUN" and not any(flag.startswith("--from=") for flag in flags):
            return True
        mounts = [flag.removeprefix("--mount=").lower() for flag in flags if flag.startswith("--mount=")]
        if instruction.upper() == "RUN" and any(not _ELSEWHERE.search(mount) for mount in mounts):
            return True
    return False


def local_path(path: StrPath, declared_in: str) -> Path:
    """A path as given: absolute, beside the declaring file, or below the working directory.

    Raises:
        TypeError: It is no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"image: a path must be text or a pathlib.Path, not {path!r}")
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
        check_reachable(f"image: {path}", line)
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
    if not isinstance(python, str):
        raise ValueError(
            f"image: {path}: requires-python in the script's header must be text, not {python!r}"
        )
    for package in packages:
        check_reachable(f"image: {path}", package)
    found: dict[str, Any] = {"packages": packages, "requires_python": python, "name": path.name}
    settings = header_settings(path, header)
    newest = settings.pop("exclude-newer", None)
    if settings:
        found["uv"] = settings
    return found if newest is None else {**found, "exclude_newer": newest}


def string_list(what: str, values: Iterable[object], *, lines: bool = False) -> list[str]:
    """The values as a list of non-empty strings, of one line unless told so, or an error that names the wrong one."""
    if not isinstance(values, Iterable):
        raise TypeError(f"{what} takes a list of strings, not {values!r}")
    found = []
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{what} takes strings, not {value!r}")
        if not value.strip() or ("\n" in value.strip() and not lines) or "\0" in value:
            wrong = "is empty or has a NUL" if lines else "is empty or has more than one line"
            raise ValueError(f"{what}: {value!r} {wrong}")
        found.append(value.strip())
    if not found:
        raise ValueError(f"{what} needs at least one value")
    return found


def _toml(path: Path, text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        found: dict[str, Any] = tomllib.loads(text)
        return found
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"image: {path}: the script's header is no valid TOML: {error}") from None
