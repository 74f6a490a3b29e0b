"""Images: the software that tasks run in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from flyte._caller import caller
from flyte._image_checks import added_layers, address, check_version, installer, named, secrets
from flyte._image_definition import Resolved, resolve
from flyte._image_layers import (
    Layer,
    LocalFile,
    LocalFiles,
    Pairs,
    SecretMount,
    Setting,
    local_path,
    string_list,
)
from flyte._python_version import PythonVersion, python_text

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
    _has_sdk: bool = True
    _extendable: bool = True

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
            flyte_version: The version of this SDK, `flyte.__version__`: tasks run with the SDK of their platform, and
                no other is available.
            install_flyte: False for an image without this SDK, which container tasks only can use.
            registry: Registry to push to, such as "ghcr.io/team", instead of the platform's own.
            registry_secret: Not available: the image builder has credentials of its own.
            name: Name shown to people.
            platform: Platforms of the hosts that run it, such as "linux/amd64".

        Raises:
            ValueError: The Python version cannot be read or is older than 3.10.
            FeatureNotAvailableError: A parameter is set that is not available.

        Example:
            ```python
            image = flyte.Image.from_debian_base(python_version=(3, 12))
            ```
        """
        where = "Image.from_debian_base"
        check_version(where, flyte_version)
        base = named(where, name, registry, registry_secret, platform)
        return cls(
            Layer.of("debian", python=python_text(python_version), **base), _has_sdk=bool(install_flyte)
        )

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
        return cls(Layer.of("image", uri=address("Image.from_base", image_uri)))

    @classmethod
    def from_ref_name(cls, name: str = "default") -> Image:
        """An image that the configuration names.

        Args:
            name: Its name below `image.image_refs` of the configuration, or in `flyte run --image NAME=ADDRESS`.

        Raises:
            ValueError: The name is empty; or, when the definition is needed, nothing has that name.

        Example:
            ```python
            image = flyte.Image.from_ref_name("gpu")
            ```
        """
        return cls(Layer.of("ref", ref=string_list("Image.from_ref_name", [name])[0]))

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
            registry: Registry to push to, such as "ghcr.io/team", instead of the platform's own.
            registry_secret: Not available: the image builder has credentials of its own.
            python_version: `(3, 12)` or "3.12"; the version that runs this code unless set. The header's
                `requires-python` must allow it.
            index_url: Package index instead of the default one.
            extra_index_urls: Further package indexes.
            pre: True to allow pre-releases.
            extra_args: Further arguments of the installer.
            platform: Platforms of the hosts that run it, such as "linux/amd64".
            secret_mounts: Secrets that are seen while the layer is made, and are in no layer: keys, or
                objects with `key` and `as_env_var`. Values come from environment variables of the caller, or from the
                builder's host.

        Raises:
            ValueError: When the definition is needed: the script has no header, or a broken one.
            FeatureNotAvailableError: A parameter is set that is not available.

        Example:
            ```python
            image = flyte.Image.from_uv_script(__file__, name="hello")
            ```
        """
        where = "Image.from_uv_script"
        header = LocalFile(local_path(script, caller()[0]), "script")
        base = Layer.of(
            "debian",
            python=None if python_version is None else python_text(python_version),
            **named(where, name, registry, registry_secret, platform),
        )
        layer = Layer.of(
            "pip",
            header=header,
            **installer(where, index_url, extra_index_urls, pre, extra_args),
            **secrets(where, secret_mounts),
        )
        return cls(base, (layer,))

    @classmethod
    def from_dockerfile(
        cls, file: StrPath, registry: str | None = None, name: str | None = None, platform: Any = None
    ) -> Image:
        """An image made of a Dockerfile. No layers can be added. Needs an engine with containers.

        What it copies is taken from its directory, as `docker build` does, `.dockerignore` included; compiled Python
        files and `.git` are left out. Python 3.10 or newer must be in it; this SDK is added as a last layer.

        Args:
            file: The Dockerfile.
            registry: Registry to push to, such as "ghcr.io/team", instead of the platform's own.
            name: Name shown to people.
            platform: Platforms of the hosts that run it, such as "linux/amd64".

        Raises:
            FeatureNotAvailableError: A parameter is set that is not available.

        Example:
            ```python
            image = flyte.Image.from_dockerfile("Dockerfile", name="custom")
            ```
        """
        where = "Image.from_dockerfile"
        path = local_path(file, caller()[0])
        return cls(
            Layer.of(
                "dockerfile",
                dockerfile=LocalFile(path, "text"),
                context=LocalFiles((path,), "context"),
                **named(where, name, registry, None, platform),
            )
        )

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
            secret_mounts: Secrets that are seen while the layer is made, and are in no layer: keys, or
                objects with `key` and `as_env_var`. Values come from environment variables of the caller, or from the
                builder's host.

        Raises:
            TypeError: A package is not a string.
            ValueError: There is no package, or an empty one.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_pip_packages("pandas", "scikit-learn>=1.5")
            ```
        """
        where = "Image.with_pip_packages"
        how = installer(where, index_url, extra_index_urls, pre, extra_args)
        return self._with(
            "pip", packages=string_list(where, packages), **how, **secrets(where, secret_mounts)
        )

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
        """Add the locked packages of a uv project, without its development dependencies.

        Args:
            pyproject_file: The `pyproject.toml`.
            uvlock: The lock file; `uv.lock` beside it unless set.
            index_url: Package index instead of the default one.
            extra_index_urls: Further package indexes.
            pre: True to allow pre-releases.
            extra_args: Further arguments of `uv export`, such as "--extra gpu".
            secret_mounts: As in `with_pip_packages`.
            project_install_mode: "dependencies_only", or "install_project" to install the project too.

        Raises:
            ValueError: The install mode is unknown.

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
    ) -> Image:
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
            lock=LocalFile(lock, "text"),
            extra_args=extra_args,
            **secrets("Image.with_poetry_project", secret_mounts),
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
        from flyte._texts import check_env_vars

        return self._with("env", vars=Pairs(tuple(check_env_vars(env_vars).items())))

    def with_apt_packages(self, *packages: str, secret_mounts: Any = None) -> Image:
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
        return self._with("apt", packages=string_list(where, packages), **secrets(where, secret_mounts))

    def with_commands(self, commands: Sequence[str], secret_mounts: Any = None) -> Image:
        """Run shell commands while the image is made. Needs an engine with containers.

        Args:
            commands: One command per entry.
            secret_mounts: Secrets that are seen while the layer is made, and are in no layer: keys, or
                objects with `key` and `as_env_var`. Values come from environment variables of the caller, or from the
                builder's host.

        Raises:
            TypeError: It is a string instead of a list.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_commands(["useradd worker"])
            ```
        """
        where = "Image.with_commands"
        if isinstance(commands, str):
            raise TypeError(f"{where} takes a list: with_commands([{commands!r}])")
        return self._with("commands", commands=string_list(where, commands), **secrets(where, secret_mounts))

    def with_workdir(self, workdir: str) -> Image:
        """Set the working directory, for later layers and for tasks. Needs an engine with containers.

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
        """Copy files into the image. Tasks find them in their working directory. See also `include=`.

        Args:
            src: File or files.
            dst: Directory inside the image, relative to the working directory. An absolute one needs an engine
                with containers.

        Raises:
            ValueError: When the definition is needed: a file does not exist, or two have one name.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_source_file("settings.toml")
            ```
        """
        sources = [src] if isinstance(src, (str, os.PathLike)) else list(src)
        paths = tuple(local_path(source, caller()[0]) for source in sources)
        if not paths:
            raise ValueError("Image.with_source_file needs at least one file")
        return self._with(
            "source_file",
            names=[path.name for path in paths],
            archive=LocalFiles(paths, "files"),
            dst=string_list("Image.with_source_file(dst=…)", [dst])[0],
        )

    def with_source_folder(self, src: StrPath, dst: str = ".", copy_contents_only: bool = False) -> Image:
        """Copy a directory into the image, without caches, compiled Python files and `.git`.

        Args:
            src: Directory.
            dst: Directory inside the image, relative to the working directory. An absolute one needs an engine
                with containers.
            copy_contents_only: True to copy what is in the directory, not the directory itself.

        Raises:
            ValueError: When the definition is needed: it is no directory.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_source_folder("models", dst="/models")
            ```
        """
        folder = local_path(src, caller()[0])
        form = "contents" if copy_contents_only else "folder"
        return self._with(
            "source_folder",
            names=[folder.name],
            archive=LocalFiles((folder,), form),
            dst=string_list("Image.with_source_folder(dst=…)", [dst])[0],
        )

    def with_code_bundle(
        self, copy_style: Literal["loaded_modules", "all"] = "loaded_modules", dst: str = "."
    ) -> Image:
        """Put the code into the image, for runs with `copy_style="none"`; with others it is sent along.

        Args:
            copy_style: "loaded_modules" for the imported modules, "all" for everything below the root directory.
            dst: Directory inside the image, relative to the working directory.

        Raises:
            ValueError: The copy style is unknown.

        Example:
            ```python
            image = flyte.Image.from_debian_base().with_code_bundle()
            ```
        """
        if copy_style not in ("loaded_modules", "all"):
            raise ValueError(
                f'Image.with_code_bundle: copy_style={copy_style!r} must be "loaded_modules" or "all"'
            )
        code = LocalFiles((Path(copy_style),), "code")
        return self._with(
            "code_bundle", archive=code, dst=string_list("Image.with_code_bundle(dst=…)", [dst])[0]
        )

    def with_dockerignore(self, path: StrPath) -> Image:
        """Name a file of patterns, as in a `.dockerignore`, that copies of files and folders leave out.

        Args:
            path: The file.

        Raises:
            ValueError: When the definition is needed: it cannot be read.

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
            registry: Registry to push to, such as "ghcr.io/team", instead of the platform's own.
            registry_secret: Not available: the image builder has credentials of its own.
            name: Name shown to people.
            base_image: Address of another base image.
            python_version: Another Python version, for images with a Debian base.
            addl_layer: Layers that come behind those of this image: an image, whose base does not count, or one layer
                of an image.
            extendable: False to refuse further layers.

        Raises:
            TypeError: What is added is neither an image nor a layer.
            ValueError: A Python version is given for a base that is not Debian; or the image takes no more layers.

        Example:
            ```python
            newer = image.clone(python_version=(3, 13))
            ```
        """
        where = "Image.clone"
        added = added_layers(where, addl_layer)
        if added:
            self._check_extendable(added[0].kind)
        base = self._base
        if base_image is not None:
            kept = {field: base.get(field) for field in ("name", "registry", "platform") if base.get(field)}
            base = Layer.of("image", uri=address(where, base_image), **kept)
        if python_version is not None:
            if base.kind != "debian":
                raise ValueError(
                    f"{where}: python_version needs a Debian base; another base brings its own Python"
                )
            base = Layer.of("debian", **{**dict(base.fields), "python": python_text(python_version)})
        fields = named(where, name if name is not None else base.get("name"), registry, registry_secret)
        base = Layer.of(base.kind, **{**dict(base.fields), **fields})
        return replace(
            self,
            _base=base,
            _layers=(*self._layers, *added),
            _extendable=self._extendable if extendable is None else bool(extendable),
        )

    # -- definition -------------------------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """Address of the image. Of one that the platform makes, the backend is asked, and nothing is built.

        Raises:
            flyte.errors.BaseRuntimeError: The backend does not answer, or refuses the definition.
        """
        if self._base.kind == "image" and not self._layers:
            return str(self._base.get("uri"))
        from flyte._build import build

        return build(self, dry_run=True).uri

    @property
    def definition_json(self) -> str:
        """The definition as canonical JSON. Local files are read now.

        Raises:
            ValueError: A local file cannot be read, or does not hold what the layer needs.
        """
        return self.resolve(Setting()).definition_json

    @property
    def digest(self) -> str:
        """Hex BLAKE2b-128 of the definition: the identity of the image."""
        return self.resolve(Setting()).digest

    def resolve(self, setting: Setting) -> Resolved:
        """The definition, and the archives of local files that it names.

        Args:
            setting: What it depends on beside the image.

        Raises:
            ValueError: As `definition_json`; or a name is not in the configuration.
        """
        return resolve(self._base, self._layers, setting, has_sdk=self._has_sdk)

    @property
    def has_sdk(self) -> bool:
        """False for an image that container tasks only can use."""
        return self._has_sdk

    @property
    def code_directory(self) -> str:
        """Directory that the code is in when it is not sent along, relative to the working directory."""
        return next((str(layer.get("dst")) for layer in self._layers if layer.kind == "code_bundle"), ".")

    def without_sdk(self) -> Image:
        """The image for a container task: as it is, without Python and this SDK."""
        return replace(self, _has_sdk=False)

    @property
    def secrets(self) -> tuple[SecretMount, ...]:
        """The secrets that layers see while they are made."""
        found = (mount for layer in self._layers for mount in layer.get("secret_mounts") or ())
        return tuple(dict.fromkeys(found))

    def to_spec(self) -> dict[str, str]:
        """The `Image` of the task spec."""
        return self.resolve(Setting()).to_spec()

    def _with(self, kind: str, **fields: Any) -> Image:
        self._check_extendable(kind)
        return replace(self, _layers=(*self._layers, Layer.of(kind, **fields)))

    def _check_extendable(self, kind: str) -> None:
        if self._base.kind == "dockerfile":
            raise ValueError(
                f"an image of a Dockerfile takes no further layers: write the {kind} step into the file"
            )
        if not self._extendable:
            raise ValueError("this image takes no further layers: it was cloned with extendable=False")

    def __repr__(self) -> str:
        return f"Image({' + '.join(layer.kind for layer in (self._base, *self._layers))})"
