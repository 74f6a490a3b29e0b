"""Layers of packages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from flyte._caller import caller
from flyte._image_checks import installer, secrets, words
from flyte._image_layers import LocalFile, LocalFiles, StrPath, local_path, string_list
from flyte._image_requirements import check_reachable
from flyte._image_stack import Stack

if TYPE_CHECKING:
    from typing_extensions import Self


class Packages(Stack):
    """The methods of `flyte.Image` that add packages."""

    def with_pip_packages(
        self,
        *packages: str,
        index_url: str | None = None,
        extra_index_urls: Sequence[str] | str | None = None,
        pre: bool = False,
        extra_args: str | None = None,
        secret_mounts: Any = None,
    ) -> Self:
        """Add Python packages.

        Args:
            *packages: Requirements, such as "pandas" or "numpy>=2.1".
            index_url: Package index instead of the default one.
            extra_index_urls: Further package indexes.
            pre: True to allow pre-releases.
            extra_args: Further arguments of the installer.
            secret_mounts: Secrets that are seen while the layer is made, and are in no layer: keys, or
                objects with `key` and `as_env_var`. Values come from environment variables of the caller, or from the
                builder's host.

        Raises:
            TypeError: A package is not a string.
            ValueError: There is no package, or an empty one, or one names something on this machine.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_pip_packages("pandas", "scikit-learn>=1.5")
            ```
        """
        where = "Image.with_pip_packages"
        how = installer(where, index_url, extra_index_urls, pre, extra_args)
        wanted = string_list(where, packages)
        for package in wanted:
            check_reachable(where, package)
        return self._with("pip", packages=wanted, **how, **secrets(where, secret_mounts))

    def with_requirements(self, file: StrPath) -> Self:
        """Add the packages of a requirements file.

        Args:
            file: A `.txt` file, absolute, beside the declaring file, or below the working directory.

        Raises:
            ValueError: It is no `.txt` file, or, when the definition is needed, it cannot be read.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_requirements("requirements.txt")
            ```
        """
        path = local_path(file, caller()[0])
        if path.suffix != ".txt":
            raise ValueError(f"Image.with_requirements takes a .txt file, not {str(file)!r}")
        return self._with("requirements", file=LocalFile(path, "requirements"))

    def with_uv_project(
        self,
        pyproject_file: StrPath,
        uvlock: StrPath | None = None,
        *,
        index_url: str | None = None,
        extra_index_urls: Sequence[str] | str | None = None,
        pre: bool = False,
        extra_args: str | None = None,
        secret_mounts: Any = None,
        project_install_mode: Literal["dependencies_only", "install_project"] = "dependencies_only",
    ) -> Self:
        """Add the locked packages of a uv project, without its development dependencies.

        They come from where the lock file says, with the hashes that it has: indexes, addresses, git, and folders below
        the project (path dependencies, members of a workspace), which are sent along. A lock file that is older than
        the project fails.

        Args:
            pyproject_file: The `pyproject.toml`.
            uvlock: The lock file; `uv.lock` beside it unless set.
            index_url: Package index instead of the default one.
            extra_index_urls: Further package indexes.
            pre: True to allow pre-releases.
            extra_args: Further arguments of `uv sync`, such as "--extra gpu".
            secret_mounts: As in `with_pip_packages`.
            project_install_mode: "dependencies_only", or "install_project" to install the project too.

        Raises:
            ValueError: The install mode is unknown; or, when the definition is needed, the lock file names a folder
                that is not below the project.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_uv_project("pyproject.toml")
            ```
        """
        where = "Image.with_uv_project"
        if project_install_mode not in ("dependencies_only", "install_project"):
            raise ValueError(
                f"{where}: project_install_mode={project_install_mode!r} must be "
                '"dependencies_only" or "install_project"'
            )
        pyproject = local_path(pyproject_file, caller()[0])
        lock = local_path(uvlock, caller()[0]) if uvlock is not None else pyproject.with_name("uv.lock")
        return self._with(
            "uv_project",
            pyproject=LocalFile(pyproject, "text"),
            lock=LocalFile(lock, "text"),
            local=LocalFiles((pyproject, lock), "local"),
            mode=project_install_mode,
            **(
                {}
                if project_install_mode == "dependencies_only"
                else {"source": LocalFiles((pyproject,), "project")}
            ),
            **installer(where, index_url, extra_index_urls, pre, extra_args),
            **secrets(where, secret_mounts),
        )

    def with_poetry_project(
        self,
        pyproject_file: StrPath,
        poetry_lock: StrPath | None = None,
        extra_args: str | None = None,
        secret_mounts: Any = None,
    ) -> Self:
        """Add the locked packages of a Poetry project.

        Args:
            pyproject_file: The `pyproject.toml`.
            poetry_lock: The lock file; `poetry.lock` beside it unless set.
            extra_args: Further arguments of `poetry export`, such as "--only main".
            secret_mounts: Secrets that are seen while the layer is made, and are in no layer: keys, or
                objects with `key` and `as_env_var`. Values come from environment variables of the caller, or from the
                builder's host.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_poetry_project("pyproject.toml")
            ```
        """
        pyproject = local_path(pyproject_file, caller()[0])
        lock = (
            local_path(poetry_lock, caller()[0])
            if poetry_lock is not None
            else pyproject.with_name("poetry.lock")
        )
        return self._with(
            "poetry_project",
            pyproject=LocalFile(pyproject, "text"),
            lock=LocalFile(lock, "poetry_lock"),
            extra_args=None if extra_args is None else words("Image.with_poetry_project", extra_args),
            **secrets("Image.with_poetry_project", secret_mounts),
        )

    def with_apt_packages(self, *packages: str, secret_mounts: Any = None) -> Self:
        """Add Debian packages. Needs an engine with containers.

        Args:
            *packages: Names, such as "ffmpeg".
            secret_mounts: Secrets that are seen while the layer is made, and are in no layer: keys, or
                objects with `key` and `as_env_var`. Values come from environment variables of the caller, or from the
                builder's host.

        Raises:
            ValueError: There is no package.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_apt_packages("ffmpeg")
            ```
        """
        where = "Image.with_apt_packages"
        names = string_list(where, packages)
        several = next((name for name in names if name.split()[1:]), None)
        if several is not None:
            raise ValueError(
                f"{where}: {several!r} is no name of a package: give several as an argument each"
            )
        return self._with("apt", packages=names, **secrets(where, secret_mounts))
