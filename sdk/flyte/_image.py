"""Images: the software that tasks run in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from flyte._image_bases import Bases
from flyte._image_checks import added_layers, address, named
from flyte._image_definition import Resolved, resolve
from flyte._image_layers import Layer, SecretMount, Setting
from flyte._image_packages import Packages
from flyte._image_steps import Steps
from flyte._python_version import PythonVersion, python_text


@dataclass(frozen=True)
class Image(Bases, Packages, Steps):
    """An immutable definition of software: a base and ordered layers. Every method returns a new image.

    Its identity is the digest of the definition: an unchanged definition is made once. The process engine
    makes a Python environment of it and refuses, by name, layers that need a container.

    Example:
        ```python
        image = flyte.Image.from_debian_base(python_version=(3, 12)).with_pip_packages("pandas")
        env = flyte.TaskEnvironment("ml", image=image)
        ```
    """

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
        platform: str | Sequence[str] | None = None,
    ) -> Image:
        """The same layers on another base, Python version or under another name.

        Args:
            registry: Registry to push to, such as "ghcr.io/team", instead of the platform's own.
            registry_secret: Secret with credentials of registries: its key, or an object with a `key`. The text of a
                Docker `config.json`, or `user:password` for `registry`. Values come from an environment variable of
                the caller, or from the hosts that need it.
            name: Name shown to people.
            base_image: Address of another base image.
            python_version: Another Python version, for images with a Debian base.
            addl_layer: Layers that come behind those of this image: an image, whose base does not count, or one layer
                of an image.
            extendable: False to refuse further layers.
            platform: Platforms of the hosts that run it in place of the present ones, such as "linux/arm64".

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
            fields = ("name", "registry", "registry_secret", "platform")
            kept = {field: base.get(field) for field in fields if base.get(field)}
            base = Layer.of("image", uri=address(where, base_image), **kept)
        if python_version is not None:
            if base.kind != "debian":
                raise ValueError(
                    f"{where}: python_version needs a Debian base; another base brings its own Python"
                )
            base = Layer.of("debian", **{**dict(base.fields), "python": python_text(python_version)})
        new = named(
            where,
            name if name is not None else base.get("name"),
            registry if registry is not None else base.get("registry"),
            registry_secret,
            platform,
        )
        base = Layer.of(base.kind, **{**dict(base.fields), **new})
        return replace(
            self,
            _base=base,
            _layers=(*self._layers, *added),
            _extendable=self._extendable if extendable is None else bool(extendable),
        )

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
    def ref_name(self) -> str | None:
        """Name that the configuration has an address for, None for an image that is no such name."""
        return self._base.get("ref") if self._base.kind == "ref" else None

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
        """The secrets that layers see while they are made, and that its registry wants."""
        found = [mount for layer in self._layers for mount in layer.get("secret_mounts") or ()]
        registry = self._base.get("registry_secret")
        return tuple(dict.fromkeys([*found, registry] if registry is not None else found))

    def to_spec(self) -> dict[str, Any]:
        """The `Image` of the task spec."""
        return self.resolve(Setting()).to_spec()

    def __repr__(self) -> str:
        return f"Image({' + '.join(layer.kind for layer in (self._base, *self._layers))})"
