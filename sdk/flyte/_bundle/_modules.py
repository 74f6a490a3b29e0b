"""Which modules are the user's, under which names a worker imports them, and from which directories."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from flyte import errors
from flyte._bundle._installed import is_installed

# The SDK is installed in every environment of a task: never bundled, even below the root.
_PLATFORM = frozenset({"flyte", "hangar", "flyteplugins"})


def file_of(module: ModuleType) -> Path | None:
    """The source file of a module, None for built-in and namespace modules."""
    name = getattr(module, "__file__", None)
    if not isinstance(name, str):
        return None
    path = Path(name).absolute()
    return path if path.is_file() else None


def loaded_files(root: Path) -> Iterator[Path]:
    """Files of the modules that are imported now, are below the root, and are the user's own."""
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or name.partition(".")[0] in _PLATFORM:
            continue
        path = file_of(module)
        if path is None:
            continue
        inside = below(path, root)
        if inside is not None and not is_installed(inside):
            yield inside


def below(path: Path, root: Path) -> Path | None:
    """The path below the root, with links resolved where needed; None when it is not below it."""
    if path.is_relative_to(root):
        return path
    resolved = path.resolve()
    return resolved if resolved.is_relative_to(root) else None


def python_path(root: Path, *, mirrored: bool = True) -> tuple[str, ...]:
    """Directories below the root that a worker puts on ``sys.path``, relative to the root; "." is the root.

    Args:
        root: The root.
        mirrored: True for the entries of ``sys.path`` that are below the root, in their order; then the root.
    """
    entries: list[str] = []
    for entry in sys.path if mirrored else ():
        path = below(Path(entry or ".").absolute(), root)
        if path is not None and path.is_dir() and not is_installed(path / "module"):
            entries.append(path.relative_to(root).as_posix())
    return tuple(dict.fromkeys([*entries, "."]))


def main_module(root: Path, directories: tuple[str, ...]) -> str | None:
    """The name that a worker imports ``__main__`` by; None when that is no file below the root.

    Args:
        root: The root.
        directories: What `python_path` gave.
    """
    main = sys.modules.get("__main__")
    if main is None:
        return None
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:  # python -m package.module
        return str(spec.name)
    path = file_of(main)
    inside = below(path, root) if path is not None else None
    if inside is None or inside.suffix != ".py" or is_installed(inside):
        return None
    return module_name(inside, root, directories)


def module_name(path: Path, root: Path, directories: tuple[str, ...]) -> str:
    """The name under which a file is imported, given what is on ``sys.path``.

    Raises:
        flyte.errors.ModuleLoadError: When a part of its path has a dot, such as ``my.script.py``.
    """
    package_root = path.parent
    while (package_root / "__init__.py").is_file() and package_root != root:
        package_root = package_root.parent
    known = {(root / directory).resolve() for directory in directories}
    start = package_root if package_root.resolve() in known else root
    relative = path.relative_to(start).with_suffix("")
    parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
    for part in parts:
        if "." in part:
            raise errors.ModuleLoadError(
                f"{path.relative_to(root)} cannot be imported by a worker: {part!r} has a dot in it. Rename "
                f"it, such as {part.replace('.', '_')!r}."
            )
    return ".".join(parts)
