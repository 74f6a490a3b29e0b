"""Settings of the builder's host that builds need: package indexes, proxies, certificates, passwords.

They reach build steps as secrets and stay in no layer and no history. The settings of pip count for `uv` as well,
unless `uv` has settings of its own. What names a place on this host's disk cannot be reached from a build: it is left
out and noted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.common.package_settings import (
    CERTIFICATES,
    certificates_file,
    index_settings,
    pip_settings,
    unusable,
    uv_settings_file,
)
from services.common.redaction import Redaction
from services.image_builder.scripts import HOST

_LARGEST = 500 * 1024
"""Largest secret in bytes that BuildKit takes."""
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_CERTIFICATES_INSIDE = (*CERTIFICATES, "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")
_PLACES = ("INDEX_URL", "DEFAULT_INDEX", "UV_INDEX", "FIND_LINKS")
_PASSWORD = re.compile(r"\bpassword\s+(\S+)")


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What goes into builds as secrets.

    Attributes:
        files: Contents by name, of those of `dockerfile.HOST_FILES` that there are.
        notes: What was left out, for people.
        redaction: What of it must not be shown.
    """

    files: Mapping[str, bytes]
    notes: tuple[str, ...] = ()
    redaction: Redaction = field(default_factory=Redaction)


def read_host_settings(environ: Mapping[str, str], index_url: str = "") -> HostSettings:
    """Reads the settings of this host.

    Args:
        environ: Environment variables.
        index_url: Package index in place of the one that the settings name; empty for none.

    Raises:
        FailedPrecondition: A file that they name cannot be used (reason ``HOST_SETTINGS_UNUSABLE``).
    """
    pip = pip_settings(environ)
    variables = index_settings(environ, pip, index_url)
    notes: list[str] = []
    for name in [name for name in variables if name.endswith(_PLACES)]:
        _drop_local(variables, name, notes)
    for name in (*_PROXIES, *(name.upper() for name in _PROXIES)):
        if environ.get(name):
            variables[name] = environ[name]
    files: dict[str, bytes] = {}
    certificates = certificates_file(environ, pip)
    bundle = _read(Path(certificates), "bundle of certificates") if certificates else b""
    if bundle:
        variables |= dict.fromkeys(_CERTIFICATES_INSIDE, f"{HOST}/settings")
    for name, variable, path in _named_files(environ):
        files[name] = _read(path, variable)
        variables[variable] = f"{HOST}/{name}"
    if variables:
        exports = "".join(
            f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())
        )
        # One file for both, since each secret costs a step 7 ms: a shell reads to the return, and who looks for
        # certificates reads on from the first of them.
        files["settings"] = exports.encode() + (b"return 0\n" + bundle if bundle else b"")
        _check_size("settings with their bundle of certificates", files["settings"])
    redaction = Redaction().hiding(_passwords(variables, files.get("netrc", b"")))
    return HostSettings(
        files, tuple(dict.fromkeys(notes)), redaction.hiding_addresses("\n".join(variables.values()))
    )


def _drop_local(variables: dict[str, str], name: str, notes: list[str]) -> None:
    separator = "," if name == "UV_FIND_LINKS" else " "
    places = [place for place in re.split(r"[,\s]+", variables.pop(name)) if place]
    reachable = [place for place in places if "://" in place and "file://" not in place]
    if reachable:
        variables[name] = separator.join(reachable)
    for place in places:
        if place not in reachable:
            notes.append(
                f"settings of this host name {place}, which builds cannot reach: left out. Serve it over HTTP and name "
                "it in HANGAR_IMAGE_BUILDER_INDEX_URL if builds need it"
            )


def _named_files(environ: Mapping[str, str]) -> Iterator[tuple[str, str, Path]]:
    home = Path(environ.get("HOME") or Path.home())
    netrc = Path(environ.get("NETRC") or home / ".netrc")
    if netrc.is_file():
        yield "netrc", "NETRC", netrc
    settings = uv_settings_file(environ)
    if settings is not None:
        yield "uv.toml", "UV_CONFIG_FILE", settings


def _read(path: Path, what: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unusable(f"{what} {path}", str(error.strerror)) from error
    _check_size(f"{what} {path}", content)
    return content


def _check_size(what: str, content: bytes) -> None:
    if len(content) > _LARGEST:
        raise unusable(what, f"it has {len(content)} bytes, and builds take up to {_LARGEST}")


def _passwords(variables: Mapping[str, str], netrc: bytes) -> Iterator[str]:
    for name, value in variables.items():
        if name.endswith("_PASSWORD"):
            yield value
    yield from _PASSWORD.findall(netrc.decode(errors="replace"))
