"""Which files go into a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from flyte import errors
from flyte._bundle._modules import below, loaded_files

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

CopyStyle = Literal["loaded_modules", "all", "none"]
"""Which code is copied: the imported modules, everything below the root, or nothing."""

_IGNORE_FILES = (".gitignore", ".flyteignore")
_ALWAYS_IGNORED = (
    ".git/", ".hg/", ".svn/", "__pycache__/", "*.py[co]", ".venv/", ".mypy_cache/", ".pytest_cache/",
    ".ruff_cache/", ".ipynb_checkpoints/", ".DS_Store", ".flyte/",
)  # fmt: skip


def checked_copy_style(style: str, version: str | None) -> CopyStyle:
    """A copy style.

    Args:
        style: Its name.
        version: Version of the code that was given, if any.

    Raises:
        ValueError: When there is no such style, or for "none" without a version.
    """
    if style not in get_args(CopyStyle):
        raise ValueError(f"copy_style {style!r} does not exist: use loaded_modules, all or none")
    if style == "none" and not version:
        raise ValueError(
            "copy_style='none' needs version=…: nothing is sent along that a version could be derived from, the "
            "code is in the image (Image.with_code_bundle)"
        )
    return style  # type: ignore[return-value]  # it is one of them


def select_files(root: Path, style: CopyStyle, include: Iterable[Path] = ()) -> list[Path]:
    """The files of a bundle, absolute, below the root, in the order of their names there.

    Args:
        root: The root.
        style: "loaded_modules" or "all".
        include: Further files and directories.

    Raises:
        flyte.errors.CodeBundleError: When an included path does not exist or is not below the root.
    """
    files = set(loaded_files(root)) if style == "loaded_modules" else set(_all_files(root))
    for path in include:
        files.update(_included(path, root))
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def _included(path: Path, root: Path) -> Iterator[Path]:
    inside = below(path, root)
    if not path.exists():
        raise errors.CodeBundleError(
            f"include: {path} does not exist. Paths are relative to the declaring file."
        )
    if inside is None:
        raise errors.CodeBundleError(
            f"include: {path} is not below the code's root directory {root}. Move it there, or name a root "
            "directory that holds both with --root-dir (flyte.init(root_dir=…) in Python)."
        )
    if inside.is_file():
        yield inside
        return
    yield from _walk(inside, root, [(root, _spec(_ALWAYS_IGNORED))])


def _all_files(root: Path) -> Iterator[Path]:
    specs = [(root, _spec(_ALWAYS_IGNORED))]
    git_root = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    for folder in reversed(root.parents):
        if folder.is_relative_to(git_root):
            specs += _specs_of(folder)
    yield from _walk(root, root, specs, nested=True)


Specs = list[tuple[Path, "GitIgnoreSpec"]]


def _walk(folder: Path, root: Path, specs: Specs, *, nested: bool = False) -> Iterator[Path]:
    if nested:
        specs = [*specs, *_specs_of(folder)]
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if not _ignored(path, specs, "/") and not (path / "pyvenv.cfg").is_file():
                    yield from _walk(path, root, specs, nested=nested)
            elif entry.is_file() and not _ignored(path, specs):
                yield path


def _ignored(path: Path, specs: Specs, suffix: str = "") -> bool:
    """The innermost file that says anything of a path decides."""
    for base, spec in reversed(specs):
        verdict = spec.check_file(path.relative_to(base).as_posix() + suffix).include
        if verdict is not None:
            return verdict
    return False


def _specs_of(folder: Path) -> Specs:
    specs = []
    for name in _IGNORE_FILES:
        try:
            lines = (folder / name).read_text("utf-8", errors="replace").splitlines()
        except OSError:  # there is none
            continue
        specs.append((folder, _spec(lines)))
    return specs


def _spec(lines: Iterable[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)
