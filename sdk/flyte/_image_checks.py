"""Checks of what authors pass to methods of `flyte.Image`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flyte._availability import refuse
from flyte._image_layers import Layer, SecretMount, string_list
from flyte._platforms import platform_names
from flyte._version import __version__

_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*")
_REPOSITORY = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*")
_SECRET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def named(
    where: str,
    name: str | None,
    registry: str | None = None,
    registry_secret: Any = None,
    platform: Any = None,
) -> dict[str, Any]:
    """The fields of a base that say how the image is called, where it goes, and for which machines it is.

    Raises:
        TypeError: One of them has a wrong type.
        ValueError: One of them cannot be read.
    """
    found: dict[str, Any] = {}
    if registry_secret is not None:
        found["registry_secret"] = _secret(where, registry_secret, "registry_secret")
    if name is not None:
        found["name"] = string_list(f"{where}(name=…)", [name])[0]
    if registry is not None:
        address = string_list(f"{where}(registry=…)", [registry])[0].rstrip("/")
        if not _REGISTRY.fullmatch(address):
            raise ValueError(
                f"{where}: registry={registry!r} cannot be read: write a host and a path, such as 'ghcr.io/team'"
            )
        if name is not None and not _REPOSITORY.fullmatch(found["name"]):
            raise ValueError(
                f"{where}: name={name!r} cannot be a name in a registry: use small letters, digits and '-'"
            )
        found["registry"] = address
    if platform is not None:
        found["platform"] = platform_names(where, platform)
    return found


def check_version(where: str, version: object) -> None:
    """Refuses another version of the SDK than that of the platform.

    Raises:
        FeatureNotAvailableError: It is another one.
    """
    if version is not None and version != __version__:
        raise refuse(
            f"{where}(flyte_version={version!r})",
            f"leave it out, or give {__version__!r}: tasks run with the SDK of their platform",
        )


def added_layers(where: str, addition: object) -> tuple[Layer, ...]:
    """The layers that a clone gets: those of an image, one layer, or none for None.

    Raises:
        TypeError: It is something else.
        ValueError: It is an image without layers.
    """
    if addition is None:
        return ()
    if isinstance(addition, Layer):
        return (addition,)
    layers = getattr(addition, "_layers", None)
    if not isinstance(layers, tuple) or not all(isinstance(each, Layer) for each in layers):
        raise TypeError(
            f"{where}(addl_layer=…) takes a flyte.Image, whose layers are added, or a layer, not {addition!r}"
        )
    if not layers:
        raise ValueError(
            f"{where}(addl_layer=…): the image has no layers: make one with a with_… method, such as "
            'flyte.Image.from_debian_base().with_pip_packages("pandas")'
        )
    return layers


def address(where: str, uri: object) -> str:
    """The address of an image.

    Raises:
        TypeError: It is no string.
        ValueError: It is empty or has spaces.
    """
    if not isinstance(uri, str):
        raise TypeError(f"{where} takes the address of an image, not {uri!r}")
    if not uri or any(character.isspace() for character in uri):
        raise ValueError(f'{where}: {uri!r} is no address of an image: write one such as "python:3.12-slim"')
    return uri


def installer(
    where: str,
    index_url: str | None,
    extra_index_urls: Sequence[str] | str | None,
    pre: bool,
    extra_args: str | None,
) -> dict[str, Any]:
    """The fields of a layer that say how packages are installed."""
    extra = [extra_index_urls] if isinstance(extra_index_urls, str) else extra_index_urls
    several = string_list(f"{where}(extra_index_urls=…)", extra) if extra or isinstance(extra, int) else []
    return {
        "index_url": None if index_url is None else string_list(where, [index_url])[0],
        "extra_index_urls": several,
        "pre": flag(f"{where}(pre=…)", pre),
        "extra_args": None if extra_args is None else words(where, extra_args),
    }


def words(where: str, extra_args: object) -> str:
    """Arguments as one text, whose quotes are closed.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, or a quote is open.
    """
    [text] = string_list(f"{where}(extra_args=…)", [extra_args])
    try:
        shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{where}: extra_args={text!r} cannot be read ({error}): mend the quotes") from None
    return text


def flag(what: str, value: object) -> bool:
    """True or False, or a `TypeError` for what would only count as one of them."""
    if not isinstance(value, bool):
        raise TypeError(f"{what} takes True or False, not {value!r}")
    return value


def secrets(where: str, mounts: Any) -> dict[str, Any]:
    """The field of a layer that names secrets, none when there are none.

    Args:
        where: What was called, for messages.
        mounts: A key, an object with `key` and `as_env_var`, or a list of those.

    Raises:
        TypeError: It is something else.
        ValueError: A key cannot be one.
    """
    if mounts is None or mounts == []:
        return {}
    several = isinstance(mounts, Iterable) and not isinstance(mounts, (str, Mapping))
    each_of = mounts if several else [mounts]
    return {"secret_mounts": tuple(_secret(where, each, "secret_mounts") for each in each_of)}


def _secret(where: str, value: Any, parameter: str) -> SecretMount:
    key = value if isinstance(value, str) else getattr(value, "key", None)
    if not isinstance(key, str):
        raise TypeError(f"{where}: {parameter} takes keys, or objects with a key, not {value!r}")
    group = getattr(value, "group", None)
    full = f"{group}_{key}" if group else key
    if not _SECRET.fullmatch(full):
        raise ValueError(f"{where}: {parameter}: {full!r} is no key of a secret")
    variable = getattr(value, "as_env_var", None) or re.sub(r"[-.]", "_", full).upper()
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise ValueError(
            f"{where}: {parameter}: {full!r} makes no name of an environment variable: name the secret otherwise"
        )
    is_file = getattr(value, "mount", None) is not None
    return SecretMount(full, None if is_file else variable, variable)
