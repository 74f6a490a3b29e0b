"""From an image to its definition: canonical JSON, the same on every machine."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from flyte._image_files import Archive
from flyte._image_layers import Layer, Setting, read
from flyte._python_version import allowed_python, python_text

_INSTALL_KINDS = frozenset(("pip", "requirements", "uv_project", "poetry_project"))
_LOGIN = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<user>[^/\s:@\"'<>\\]*)(?::(?P<password>[^/\s@\"'<>\\]*))?@"
    r"(?P<host>[^/\s\"'<>\\]*)"
)
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|\$[A-Za-z_][A-Za-z0-9_]*")
_SHORTEST_TOKEN = 20
"""Characters of a name before an `@` that is a token rather than the name of a user."""


@dataclass(frozen=True)
class Resolved:
    """A definition, and what has to be sent with it.

    Attributes:
        definition_json: The definition as canonical JSON.
        archives: Archives of local files that it names.
        has_sdk: False for an image without this SDK.
        registry: Registry that it goes to; empty for that of the platform, if any.
        registry_secret: Key of the secret with credentials of that registry; empty for none.
        is_built: True for an image that exists and is used as it is.
    """

    definition_json: str
    archives: tuple[Archive, ...] = ()
    has_sdk: bool = True
    registry: str = ""
    registry_secret: str = ""
    is_built: bool = False

    @property
    def digest(self) -> str:
        """Hex BLAKE2b-128 of the definition."""
        import hashlib

        return hashlib.blake2b(self.definition_json.encode(), digest_size=16).hexdigest()

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms that it names, such as "linux/amd64"; empty for any."""
        if '"platform":' not in self.definition_json:  # a definition may have a megabyte of a lock file in it
            return ()
        return tuple(json.loads(self.definition_json)["base"].get("platform") or ())

    def to_spec(self) -> dict[str, Any]:
        """The `Image` of the task spec."""
        spec: dict[str, Any] = {"digest": self.digest, "definition_json": self.definition_json}
        return {**spec, "platforms": list(self.platforms)} if self.platforms else spec


def resolve(base: Layer, layers: tuple[Layer, ...], setting: Setting, *, has_sdk: bool = True) -> Resolved:
    """The definition of a base and layers. Local files are read now.

    Args:
        base: The base.
        layers: The layers.
        setting: What it depends on beside them.
        has_sdk: False for an image without this SDK.

    Raises:
        ValueError: A local file cannot be read, or a name is not in the configuration.
    """
    patterns = [line for layer in layers if layer.kind == "dockerignore" for line in _patterns(layer)]
    setting = replace(setting, dockerignore=tuple(patterns), archives=[])
    start = _named(base, setting) if base.kind == "ref" else base.definition(setting)
    found: list[dict[str, Any]] = []
    for layer in layers:
        if layer.kind == "dockerignore" or (layer.kind == "code_bundle" and not setting.bakes_code):
            continue
        definition = layer.definition(setting)
        _check_passwords(definition)
        required = definition.pop("requires_python", "")
        if definition["kind"] == "pip" and "name" in definition:
            name = definition.pop("name")
            if start["kind"] == "debian" and required:
                start["python"] = allowed_python(name, required, start["python"])
        if definition["kind"] != "pip" or definition["packages"]:
            found.append(definition)
    if start["kind"] == "debian" and start["python"] is None:
        start["python"] = python_text(None)
    if setting.registry and not start.get("registry"):
        start["registry"] = setting.registry
    text = _canonical(start, found, has_sdk=has_sdk)
    place = start.get("registry") or "", start.get("registry_secret") or ""
    return Resolved(text, tuple(setting.archives), has_sdk, *place)


def built(definition: Resolved, uri: str, name: str, sdk: str, platform: str) -> Resolved:
    """The definition of an image that exists, and is used as it is.

    Args:
        definition: What it was made of.
        uri: Its address with its digest, or its identity in the engine that has it.
        name: Its name as a build.
        sdk: Digest of the SDK in it; empty for none.
        platform: Its platform, such as "linux/amd64".
    """
    base: dict[str, Any] = {"kind": "built", "uri": uri, "name": name, "platform": [platform]}
    if sdk:
        base["sdk"] = sdk
    if definition.registry_secret:  # hosts that pull it show that
        base |= {"registry": definition.registry, "registry_secret": definition.registry_secret}
    return Resolved(_canonical(base, [], has_sdk=bool(sdk)), has_sdk=bool(sdk), is_built=True)


def _canonical(base: dict[str, Any], layers: list[dict[str, Any]], *, has_sdk: bool) -> str:
    content: dict[str, Any] = {"base": base, "layers": layers}
    if not has_sdk:
        content["sdk"] = False
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _check_passwords(definition: dict[str, Any]) -> None:
    """Refuses passwords in addresses of packages: definitions are sent, stored and shown as they are."""
    if definition["kind"] not in _INSTALL_KINDS:
        return
    text = json.dumps(definition)
    for match in _LOGIN.finditer(text):
        secret = match["user"] if match["password"] is None else match["password"]
        is_token = match["password"] is not None or len(secret) >= _SHORTEST_TOKEN
        if secret and is_token and not _VARIABLE.fullmatch(secret):
            address = f"{match['scheme']}://****@{match['host']}"
            raise ValueError(
                f"image: layer {definition['kind']!r} has a password in the address {address}: definitions are on "
                "record, where it must not be. Name the index and give the password as a secret: "
                "index_url='corp=https://…', and secret_mounts= with as_env_var='UV_INDEX_CORP_PASSWORD'"
            )


def _patterns(layer: Layer) -> list[str]:
    return read(layer.get("file").path).splitlines()


def _named(base: Layer, setting: Setting) -> dict[str, Any]:
    """The base that stands for a name of the configuration."""
    name = base.get("ref")
    uri = setting.refs.get(name)
    if uri is None:
        known = f"it has {', '.join(sorted(setting.refs))}" if setting.refs else "it names no images"
        raise ValueError(
            f"Image name {name!r} not found in config ({known}): add it below image.image_refs of the "
            f"configuration, or give --image {name}=ADDRESS (flyte.init(images=…) in Python)"
        )
    fields = {key: value for key, value in base.definition(setting).items() if key not in {"kind", "ref"}}
    return {"kind": "image", "uri": uri, **fields}
