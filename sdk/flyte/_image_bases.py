"""Bases of images: the ways to begin one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flyte._caller import caller
from flyte._image_checks import address, check_version, flag, installer, named, secrets
from flyte._image_layers import Layer, LocalFile, LocalFiles, StrPath, local_path, string_list
from flyte._image_stack import Stack
from flyte._python_version import PythonVersion, python_text

if TYPE_CHECKING:
    from typing_extensions import Self


class Bases(Stack):
    """The constructors of `flyte.Image`."""

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
        platform: str | Sequence[str] | None = None,
    ) -> Self:
        """Debian slim with a Python version and this SDK.

        Args:
            python_version: `(3, 12)` or "3.12"; the version that runs this code unless set.
            flyte_version: The version of this SDK, `flyte.__version__`: tasks run with the SDK of their platform, and
                no other is available.
            install_flyte: False for an image without this SDK, which container tasks only can use.
            registry: Registry to push to, such as "ghcr.io/team", instead of the platform's own.
            registry_secret: Secret with credentials of registries: its key, or an object with a `key`. The text of a
                Docker `config.json`, or `user:password` for `registry`. Values come from an environment variable of
                the caller, or from the hosts that need it.
            name: Name shown to people.
            platform: Platform of the hosts that run it, such as "linux/amd64", or several: it is made for each, and
                tasks go to hosts of one of them only. Any host, each with an image of its own platform, unless set.

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
            Layer.of("debian", python=python_text(python_version), **base),
            _has_sdk=flag(f"{where}(install_flyte=…)", install_flyte),
        )

    @classmethod
    def from_base(cls, image_uri: str) -> Self:
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
    def from_ref_name(cls, name: str = "default") -> Self:
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
        platform: str | Sequence[str] | None = None,
        secret_mounts: Any = None,
    ) -> Self:
        """Debian slim with the packages of a script's header (PEP 723).

        Args:
            script: The script, usually `__file__`.
            name: Name shown to people.
            registry: Registry to push to, such as "ghcr.io/team", instead of the platform's own.
            registry_secret: Secret with credentials of registries: its key, or an object with a `key`. The text of a
                Docker `config.json`, or `user:password` for `registry`. Values come from an environment variable of
                the caller, or from the hosts that need it.
            python_version: `(3, 12)` or "3.12"; the version that runs this code unless set. The header's
                `requires-python` must allow it.
            index_url: Package index instead of the default one.
            extra_index_urls: Further package indexes.
            pre: True to allow pre-releases.
            extra_args: Further arguments of the installer.
            platform: Platform of the hosts that run it, such as "linux/amd64", or several: it is made for each, and
                tasks go to hosts of one of them only. Any host, each with an image of its own platform, unless set.
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
        cls,
        file: StrPath,
        registry: str | None = None,
        name: str | None = None,
        platform: str | Sequence[str] | None = None,
    ) -> Self:
        """An image made of a Dockerfile. No layers can be added. Needs an engine with containers.

        What it copies is taken from its directory, as `docker build` does, `.dockerignore` included; compiled Python
        files and `.git` are left out. Python 3.10 or newer must be in it; this SDK is added as a last layer.

        Args:
            file: The Dockerfile.
            registry: Registry to push to, such as "ghcr.io/team", instead of the platform's own.
            name: Name shown to people.
            platform: Platform of the hosts that run it, such as "linux/amd64", or several: it is made for each, and
                tasks go to hosts of one of them only. Any host, each with an image of its own platform, unless set.

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
