"""The SDK of this installation as every environment gets it: the package `flyte` and nothing else."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import shutil
import zipfile
from functools import cached_property
from pathlib import Path

_REQUIREMENTS = ("pydantic>=2.9", "cloudpickle>=3")
"""What the SDK needs inside workers. Its client's needs (gRPC and others) are not among them."""


class SdkLayer:
    """A directory with the package `flyte` that is copied into environments.

    Args:
        package: Directory of the package; found where this process would import it from when not given.
        requirements: What has to be installed beside it.

    Raises:
        ModuleNotFoundError: It is not installed.
    """

    def __init__(self, package: Path | None = None, requirements: tuple[str, ...] = _REQUIREMENTS) -> None:
        self.package = package or _installed()
        self.requirements = requirements

    @cached_property
    def digest(self) -> str:
        """Digest of its content: a changed SDK makes new environments."""
        total = hashlib.blake2b(digest_size=16)
        for path in self._files():
            total.update(f"{path.relative_to(self.package)}\0{path.stat().st_size}\0".encode())
            total.update(path.read_bytes())
        return total.hexdigest()

    def copy_into(self, site_packages: Path) -> None:
        """Puts the package into an environment, in place of one that is there."""
        target = site_packages / "flyte"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.package, target, ignore=shutil.ignore_patterns("__pycache__", "tests"))

    @cached_property
    def archive(self) -> bytes:
        """The package as a zip archive, the same for the same files."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in self._files():
                name = Path("flyte", path.relative_to(self.package)).as_posix()
                archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
        return content.getvalue()

    def _files(self) -> list[Path]:
        return sorted(
            path
            for path in self.package.rglob("*")
            if path.is_file() and not {"__pycache__", "tests"} & set(path.relative_to(self.package).parts)
        )


def _installed() -> Path:
    spec = importlib.util.find_spec("flyte")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "the SDK (package `flyte`) is not installed beside the services: reinstall Hangar"
        )
    return Path(next(iter(spec.submodule_search_locations)))
