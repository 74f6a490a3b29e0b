"""The directory that code is bundled from."""

from __future__ import annotations

from pathlib import Path

from flyte import errors


def detect_root(file: Path) -> Path:
    """The directory that a module's file is imported from: its own, or that of its outermost package."""
    folder = file.resolve().parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder


def check_root(root: Path) -> Path:
    """A root that may be bundled.

    Raises:
        flyte.errors.CodeBundleError: When it is the home directory or the whole file system.
    """
    what = ""
    if root == Path(root.anchor):
        what = "the whole file system"
    elif root == _home():
        what = "your home directory"
    if what:
        raise errors.CodeBundleError(
            f"The code's root directory is {root}: {what} would be bundled. Move the code into a "
            "directory of its own, or name one with --root-dir (flyte.init(root_dir=…) in Python)."
        )
    return root


def _home() -> Path | None:
    try:
        return Path.home().resolve()
    except RuntimeError:  # no home directory at all
        return None
