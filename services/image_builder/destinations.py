"""Where images go: nowhere but the engine, to the platform's registry, or to one that the author names. Pure."""

from __future__ import annotations

from services.common.errors import InvalidArgument
from services.common.image_definition import Definition
from services.common.registry_secrets import registry_of
from services.image_builder.settings import Settings

_EVERYWHERE = "*"


def destination(name: str, definition: Definition, settings: Settings) -> str:
    """Returns the address of an image.

    Args:
        name: Identity of the image.
        definition: What it is made of, and where its author wants it.
        settings: What the operator allows.

    Raises:
        InvalidArgument: It may not go there (reason ``REGISTRY_NOT_ALLOWED``).
    """
    registry = definition.registry
    if not registry:
        return f"{settings.registry}/hangar/{name}" if settings.registry else f"hangar/{name}"
    if not _is_listed(registry, settings.registries):
        _check_authors_own(definition, settings)
    return f"{registry}/{definition.repository or 'hangar'}:{name}"


def needs_own_login(definition: Definition, settings: Settings) -> bool:
    """True for an image that the author's own credentials only may push: the builder's have no business there."""
    return bool(definition.registry) and not _is_listed(definition.registry, settings.registries)


def _check_authors_own(definition: Definition, settings: Settings) -> None:
    registry, listed = definition.registry, settings.registries
    if not definition.registry_secret:
        known = f"those that may be used are {', '.join(listed)}" if listed else "there is none yet"
        raise _refused(
            registry,
            f"which this image builder may not push to with its own credentials ({known}): leave it out, give "
            "registry_secret= with credentials of yours, or let the operator name it in "
            "HANGAR_IMAGE_BUILDER_REGISTRIES",
        )
    if settings.registry and registry_of(f"{registry}/") == registry_of(f"{settings.registry}/"):
        raise _refused(
            registry,
            "which is the platform's own registry: leave it out, or let the operator name it in "
            "HANGAR_IMAGE_BUILDER_REGISTRIES",
        )
    if not _is_listed(registry, settings.author_registries):
        raise _refused(
            registry,
            f"which authors may not push to (they may to {', '.join(settings.author_registries) or 'none'}): let the "
            "operator name it in HANGAR_IMAGE_BUILDER_AUTHOR_REGISTRIES",
        )


def _is_listed(registry: str, prefixes: tuple[str, ...]) -> bool:
    return any(
        prefix in (_EVERYWHERE, registry) or registry.startswith(prefix.rstrip("/") + "/")
        for prefix in prefixes
    )


def _refused(registry: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"image definition: base.registry is {registry!r}, {why}",
        reason="REGISTRY_NOT_ALLOWED",
        field="definition_json.base.registry",
    )
