"""Images: the software that tasks run in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from flyte._availability import refuse
from flyte._caller import caller
from flyte._image_layers import Layer, LocalFile, Pairs, local_path, string_list
from flyte._python_version import PythonVersion, allowed_python, python_text

_REGISTRY = "leave it out: images are made where they are needed and are not pushed anywhere"
_PLATFORM = "leave it out: images are made for the host that runs them"
_NO_MOUNTS = "leave it out; package indexes are read with the settings of the host that builds"

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Image:
    """An immutable definition of software: a base and ordered layers. Every method returns a new image.

    Its identity is the digest of the definition: an unchanged definition is made once. The process engine
    makes a Python environment of it and refuses, by name, layers that need a container.

    Example:
        ```python
        image = flyte.Image.from_debian_base(python_version=(3, 12)).with_pip_packages("pandas")
        env = flyte.TaskEnvironment("ml", image=image)
        ```
    """

    _base: Layer
    _layers: tuple[Layer, ...] = ()

    # -- constructors -----------------------------------------------------------------------------------

    @classmethod
    def from_debian_base(
        cls,
        python_version: PythonVersion | None = None,
        *,
        flyte_version: str | None = None,
        install_flyte: bool = True,
        registry: str | None = None,
        registry_secret: Any = None,
        name: str | None = None,
        platform: Any = None,
    ) -> Image:
        """Debian slim with a Python version and this SDK.

        Args:
            python_version: `(3, 12)` or "3.12"; the version that runs this code unless set.
            flyte_version: Not available: tasks run with the SDK of their platform.
            install_flyte: Not available, except True.
            registry: Not available yet.
            registry_secret: Not available yet.
            name: Name shown to people.
            platform: Not available yet.

        Raises:
            ValueError: The Python version cannot be read or is older than 3.10.
            FeatureNotAvailableError: A parameter is set that is not built yet.

        Example:
            ```python
            image = flyte.Image.from_debian_base(python_version=(3, 12))
            ```
        """
        where = "Image.from_debian_base"
        if flyte_version is not None:
            raise refuse(
                f"{where}(flyte_version={flyte_version!r})",
                "leave it out: tasks run with their platform's SDK",
            )
        if not install_flyte:
            raise refuse(f"{where}(install_flyte=False)", "leave it out: the worker is part of the SDK")
        _refuse(where, registry=registry, registry_secret=registry_secret, platform=platform)
        base = {"python": python_text(python_version), **_named(where, name)}
        return cls(Layer.of("debian", **base))

    @classmethod
    def from_base(cls, image_uri: str) -> Image:
        """An existing image, which has Python and this SDK in it.

        Args:
            image_uri: Address of the image, such as "python:3.12-slim".

        Raises:
            ValueError: The address is empty or has spaces.

        Example:
            ```python
            image = flyte.Image.from_base("ghcr.io/team/base:1.4")
            ```
        """
        return cls(Layer.of("image", uri=_uri("Image.from_base", image_uri)))

    @classmethod
    def from_ref_name(cls, name: str = "default") -> Image:
        """Not available yet: an image that the configuration names.

        Raises:
            FeatureNotAvailableError: Always.
        """
        raise refuse(f"Image.from_ref_name({name!r})", "write the address: Image.from_base(…)")

    @classmethod
    def from_uv_script(
        cls,
        script: StrPath,
        name: str | None = None,
        *,
        registry: str | None = None,
        registry_secret: Any = None,
        python_version: PythonVersion | None = None,
        index_url: str | None = None,
        extra_index_urls: Sequence[str] | str | None = None,
        pre: bool = False,
        extra_args: str | None = None,
        platform: Any = None,
        secret_mounts: Any = None,
    ) -> Image:
        """Debian slim with the packages of a script's header (PEP 723).

        Args:
            script: The script, usually `__file__`.
            name: Name shown to people.
            registry: Not available yet.
            registry_secret: Not available yet.
            python_version: `(3, 12)` or "3.12"; the version that runs this code unless set. The header's
                `requires-python` must allow it.
            index_url: Package index instead of the default one.
            extra_index_urls: Further package indexes.
            pre: True to allow pre-releases.
            extra_args: Further arguments of the installer.
            platform: Not available yet.
            secret_mounts: Not available yet.

        Raises:
            ValueError: When the definition is needed: the script has no header, or a broken one.
            FeatureNotAvailableError: A parameter is set that is not built yet.

        Example:
            ```python
            image = flyte.Image.from_uv_script(__file__, name="hello")
            ```
        """
        where = "Image.from_uv_script"
        _refuse(
            where,
            registry=registry,
            registry_secret=registry_secret,
            platform=platform,
            secret_mounts=secret_mounts,
        )
        header = LocalFile(local_path(script, caller()[0]), "script")
        base = Layer.of(
            "debian",
            python=None if python_version is None else python_text(python_version),
            **_named(where, name),
        )
        layer = Layer.of(
            "pip", header=header, **_installer(where, index_url, extra_index_urls, pre, extra_args)
        )
        return cls(base, (layer,))

    @classmethod
    def from_dockerfile(
        cls, file: StrPath, registry: str | None = None, name: str | None = None, platform: Any = None
    ) -> Image:
        """An image made of a Dockerfile. No layers can be added. Needs an engine with containers.

        Args:
            file: The Dockerfile.
            registry: Not available yet.
            name: Name shown to people.
            platform: Not available yet.

        Raises:
            FeatureNotAvailableError: A parameter is set that is not built yet.

        Example:
            ```python
            image = flyte.Image.from_dockerfile("Dockerfile", name="custom")
            ```
        """
        where = "Image.from_dockerfile"
        _refuse(where, registry=registry, platform=platform)
        dockerfile = LocalFile(local_path(file, caller()[0]), "text")
        return cls(Layer.of("dockerfile", dockerfile=dockerfile, **_named(where, name)))

    # -- layers: Python packages ------------------------------------------------------------------------

    def with_pip_packages(
        self,
        *packages: str,
        index_url: str | None = None,
        extra_index_urls: Sequence[str] | str | None = None,
        pre: bool = False,
        extra_args: str | None = None,
        secret_mounts: Any = None,
    ) -> Image:
        """Add Python packages.

        Args:
            *packages: Requirements, such as "pandas" or "numpy>=2.1".
            index_url: Package index instead of the default one.
            extra_index_urls: Further package indexes.
            pre: True to allow pre-releases.
            extra_args: Further arguments of the installer.
            secret_mounts: Not available yet.

        Raises:
            TypeError: A package is not a string.
            ValueError: There is no package, or an empty one.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_pip_packages("pandas", "scikit-learn>=1.5")
            ```
        """
        where = "Image.with_pip_packages"
        _refuse(where, secret_mounts=secret_mounts)
        installer = _installer(where, index_url, extra_index_urls, pre, extra_args)
        return self._with("pip", packages=string_list(where, packages), **installer)

    def with_requirements(self, file: StrPath) -> Image:
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
    ) -> Image:
        """Add the locked packages of a uv project. Needs an engine with containers.

        Args:
            pyproject_file: The `pyproject.toml`.
            uvlock: The lock file; `uv.lock` beside it unless set.
            index_url: Package index instead of the default one.
            extra_index_urls: Further package indexes.
            pre: True to allow pre-releases.
            extra_args: Further arguments of the installer.
            secret_mounts: Not available yet.
            project_install_mode: "dependencies_only", or "install_project" to install the project too.

        Raises:
            ValueError: The install mode is unknown.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_uv_project("pyproject.toml")
            ```
        """
        where = "Image.with_uv_project"
        _refuse(where, secret_mounts=secret_mounts)
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
            mode=project_install_mode,
            **_installer(where, index_url, extra_index_urls, pre, extra_args),
        )

    def with_poetry_project(
        self,
        pyproject_file: StrPath,
        poetry_lock: StrPath | None = None,
        extra_args: str | None = None,
        secret_mounts: Any = None,
    ) -> Image:
        """Add the locked packages of a Poetry project. Needs an engine with containers.

        Args:
            pyproject_file: The `pyproject.toml`.
            poetry_lock: The lock file; `poetry.lock` beside it unless set.
            extra_args: Further arguments of the installer.
            secret_mounts: Not available yet.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_poetry_project("pyproject.toml")
            ```
        """
        _refuse("Image.with_poetry_project", secret_mounts=secret_mounts)
        pyproject = local_path(pyproject_file, caller()[0])
        lock = (
            local_path(poetry_lock, caller()[0])
            if poetry_lock is not None
            else pyproject.with_name("poetry.lock")
        )
        return self._with(
            "poetry_project",
            pyproject=LocalFile(pyproject, "text"),
            lock=LocalFile(lock, "text"),
            extra_args=extra_args,
        )

    # -- layers: the rest -------------------------------------------------------------------------------

    def with_env_vars(self, env_vars: Mapping[str, str]) -> Image:
        """Set environment variables.

        Args:
            env_vars: Names and values.

        Raises:
            TypeError: A name or value is not a string.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_env_vars({"TOKENIZERS_PARALLELISM": "false"})
            ```
        """
        from flyte._task import check_env_vars

        return self._with("env", vars=Pairs(tuple(check_env_vars(env_vars).items())))

    def with_apt_packages(self, *packages: str, secret_mounts: Any = None) -> Image:
        """Add Debian packages. Needs an engine with containers.

        Args:
            *packages: Names, such as "ffmpeg".
            secret_mounts: Not available yet.

        Raises:
            ValueError: There is no package.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_apt_packages("ffmpeg")
            ```
        """
        _refuse("Image.with_apt_packages", secret_mounts=secret_mounts)
        return self._with("apt", packages=string_list("Image.with_apt_packages", packages))

    def with_commands(self, commands: Sequence[str], secret_mounts: Any = None) -> Image:
        """Run shell commands while the image is made. Needs an engine with containers.

        Args:
            commands: One command per entry.
            secret_mounts: Not available yet.

        Raises:
            TypeError: It is a string instead of a list.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_commands(["useradd worker"])
            ```
        """
        _refuse("Image.with_commands", secret_mounts=secret_mounts)
        if isinstance(commands, str):
            raise TypeError(f"Image.with_commands takes a list: with_commands([{commands!r}])")
        return self._with("commands", commands=string_list("Image.with_commands", commands))

    def with_workdir(self, workdir: str) -> Image:
        """Set the working directory. Needs an engine with containers.

        Args:
            workdir: Absolute path inside the image.

        Raises:
            ValueError: The path is empty.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_workdir("/app")
            ```
        """
        return self._with("workdir", path=string_list("Image.with_workdir", [workdir])[0])

    def with_source_file(self, src: StrPath | Sequence[StrPath], dst: str = ".") -> Image:
        """Copy files into the image. Needs an engine with containers. See also `include=`.

        Args:
            src: File or files.
            dst: Directory inside the image, relative to the working directory.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_source_file("settings.toml")
            ```
        """
        sources = [src] if isinstance(src, (str, os.PathLike)) else list(src)
        files = [LocalFile(local_path(source, caller()[0]), "digest") for source in sources]
        return self._with("source_file", sources=files, dst=str(dst))

    def with_source_folder(self, src: StrPath, dst: str = ".", copy_contents_only: bool = False) -> Image:
        """Copy a directory into the image. Needs an engine with containers.

        Args:
            src: Directory.
            dst: Directory inside the image, relative to the working directory.
            copy_contents_only: True to copy what is in the directory, not the directory itself.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_source_folder("models", dst="/models")
            ```
        """
        folder = LocalFile(local_path(src, caller()[0]), "digest")
        return self._with(
            "source_folder", source=folder, dst=str(dst), contents_only=bool(copy_contents_only)
        )

    def with_code_bundle(
        self, copy_style: Literal["loaded_modules", "all"] = "loaded_modules", dst: str = "."
    ) -> Image:
        """Not available yet: put the code into the image.

        Raises:
            FeatureNotAvailableError: Always.
        """
        raise refuse("Image.with_code_bundle", "leave it out: the code of a run is sent along as a bundle")

    def with_dockerignore(self, path: StrPath) -> Image:
        """Name a file of patterns that copies leave out. Needs an engine with containers.

        Args:
            path: The `.dockerignore` file.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_dockerignore(".dockerignore")
            ```
        """
        return self._with("dockerignore", file=LocalFile(local_path(path, caller()[0]), "text"))

    def clone(
        self,
        *,
        registry: str | None = None,
        registry_secret: Any = None,
        name: str | None = None,
        base_image: str | None = None,
        python_version: PythonVersion | None = None,
        addl_layer: Any = None,
        extendable: bool | None = None,
    ) -> Image:
        """The same layers on another base, Python version or under another name.

        Args:
            registry: Not available yet.
            registry_secret: Not available yet.
            name: Name shown to people.
            base_image: Address of another base image.
            python_version: Another Python version, for images with a Debian base.
            addl_layer: Not available: use a `with_…` method.
            extendable: Not available yet.

        Raises:
            ValueError: A Python version is given for a base that is not Debian.

        Example:
            ```python
            newer = image.clone(python_version=(3, 13))
            ```
        """
        _refuse("Image.clone", registry=registry, registry_secret=registry_secret)
        if addl_layer is not None:
            raise refuse("Image.clone(addl_layer=…)", "call a with_… method on the clone")
        if extendable is not None:
            raise refuse(f"Image.clone(extendable={extendable!r})", "leave it out: images can be extended")
        base = self._base
        if base_image is not None:
            base = Layer.of("image", uri=_uri("Image.clone", base_image))
        if python_version is not None:
            if base.kind != "debian":
                raise ValueError(
                    "Image.clone: python_version needs a Debian base; another base brings its own Python"
                )
            base = Layer.of("debian", **{**dict(base.fields), "python": python_text(python_version)})
        if name is not None:
            base = Layer.of(base.kind, **{**dict(base.fields), **_named("Image.clone", name)})
        return replace(self, _base=base)

    # -- definition -------------------------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """Address of the image, for images that were not changed after `from_base`.

        Raises:
            FeatureNotAvailableError: The image is made by the platform and has no address yet.
        """
        if self._base.kind == "image" and not self._layers:
            return str(dict(self._base.fields)["uri"])
        raise refuse(
            "Image.uri", "images have an address only in a registry; Image.digest identifies the definition"
        )

    @cached_property
    def definition_json(self) -> str:
        """The definition as canonical JSON. Local files are read now.

        Raises:
            ValueError: A local file cannot be read, or does not hold what the layer needs.
        """
        import json

        base = self._base.definition()
        layers = [layer.definition() for layer in self._layers]
        for layer in layers:
            required = layer.pop("requires_python", "")
            if layer["kind"] == "pip" and "name" in layer:
                name = layer.pop("name")
                if base["python"] is not None or not required:
                    continue
                base["python"] = allowed_python(name, required)
        if base["kind"] == "debian" and base["python"] is None:
            base["python"] = python_text(None)
        layers = [layer for layer in layers if layer["kind"] != "pip" or layer["packages"]]
        return json.dumps(
            {"base": base, "layers": layers}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )

    @cached_property
    def digest(self) -> str:
        """Hex BLAKE2b-128 of the definition: the identity of the image."""
        import hashlib

        return hashlib.blake2b(self.definition_json.encode(), digest_size=16).hexdigest()

    @property
    def files(self) -> tuple[Path, ...]:
        """The local files whose text the definition holds."""
        return tuple(path for layer in (self._base, *self._layers) for path in layer.files())

    def to_spec(self) -> dict[str, str]:
        """The `Image` of the task spec."""
        return {"digest": self.digest, "definition_json": self.definition_json}

    def _with(self, kind: str, **fields: Any) -> Image:
        if self._base.kind == "dockerfile":
            raise ValueError(
                f"an image of a Dockerfile takes no further layers: write the {kind} step into the file"
            )
        return replace(self, _layers=(*self._layers, Layer.of(kind, **fields)))

    def __repr__(self) -> str:
        return f"Image({' + '.join(layer.kind for layer in (self._base, *self._layers))})"


def _refuse(where: str, **parameters: Any) -> None:
    reasons = {
        "registry": _REGISTRY,
        "registry_secret": _REGISTRY,
        "platform": _PLATFORM,
        "secret_mounts": _NO_MOUNTS,
    }
    for name, value in parameters.items():
        if value is not None:
            raise refuse(f"{where}({name}={value!r})", reasons[name])


def _named(where: str, name: str | None) -> dict[str, str]:
    if name is None:
        return {}
    return {"name": string_list(f"{where}(name=…)", [name])[0]}


def _uri(where: str, uri: object) -> str:
    if not isinstance(uri, str):
        raise TypeError(f"{where} takes the address of an image, not {uri!r}")
    if not uri or any(character.isspace() for character in uri):
        raise ValueError(f'{where}: {uri!r} is no address of an image: write one such as "python:3.12-slim"')
    return uri


def _installer(
    where: str,
    index_url: str | None,
    extra_index_urls: Sequence[str] | str | None,
    pre: bool,
    extra_args: str | None,
) -> dict[str, Any]:
    extra = [extra_index_urls] if isinstance(extra_index_urls, str) else list(extra_index_urls or ())
    return {
        "index_url": None if index_url is None else string_list(where, [index_url])[0],
        "extra_index_urls": string_list(where, extra) if extra else [],
        "pre": bool(pre),
        "extra_args": None if extra_args is None else string_list(where, [extra_args])[0],
    }
