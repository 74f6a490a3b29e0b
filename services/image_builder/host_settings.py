"""Settings of the builder's host that builds need: package indexes, proxies, certificates, passwords.

They reach build steps as secrets and stay in no layer and no history. The settings of pip count for `uv` as well,
unless `uv` has settings of its own. What names a place on this host's disk cannot be reached from a build: it is left
out and noted.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.common.errors import FailedPrecondition
from services.common.redaction import Redaction
from services.image_builder.scripts import WORK

_LARGEST = 500 * 1024
"""Largest secret in bytes that BuildKit takes."""
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_CERTIFICATES_INSIDE = (*_CERTIFICATES, "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")
_UV = re.compile(
    r"UV_(DEFAULT_INDEX|INDEX_URL|INDEX|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|INDEX_STRATEGY|INSECURE_HOST|NATIVE_TLS"
    r"|SYSTEM_CERTS|HTTP_TIMEOUT|HTTP_CONNECT_TIMEOUT|HTTP_RETRIES|EXCLUDE_NEWER|INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD))"
)
_PIP = (
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "timeout",
    "default-timeout",
    "retries",
)
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
    pip = _pip_settings(environ)
    variables = _index_settings(environ, pip, index_url)
    notes: list[str] = []
    for name in [name for name in variables if name.endswith(_PLACES)]:
        _drop_local(variables, name, notes)
    for name in (*_PROXIES, *(name.upper() for name in _PROXIES)):
        if environ.get(name):
            variables[name] = environ[name]
    files: dict[str, bytes] = {}
    certificates = _certificates(environ, pip)
    if certificates:
        files["ca"] = _read(Path(certificates), "bundle of certificates")
        variables |= dict.fromkeys(_CERTIFICATES_INSIDE, f"{WORK}/host/ca")
    for name, variable, path in _named_files(environ):
        files[name] = _read(path, variable)
        variables[variable] = f"{WORK}/host/{name}"
    if variables:
        exports = (f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))
        files["environ"] = "".join(exports).encode()
    redaction = Redaction().hiding(_passwords(variables, files.get("netrc", b"")))
    return HostSettings(
        files, tuple(dict.fromkeys(notes)), redaction.hiding_addresses("\n".join(variables.values()))
    )


def host_environ(environ: Mapping[str, str], index_url: str = "") -> dict[str, str]:
    """Returns the environment variables with which `uv` finds on this host what builds find.

    Args:
        environ: Environment variables.
        index_url: As in `read_host_settings`.

    Raises:
        FailedPrecondition: As `read_host_settings`.
    """
    pip = _pip_settings(environ)
    kept = {name: value for name, value in environ.items() if not _UV.fullmatch(name)}
    certificates = _certificates(environ, pip)
    return {
        **kept,
        **_index_settings(environ, pip, index_url),
        **({"SSL_CERT_FILE": certificates} if certificates else {}),
    }


def _index_settings(environ: Mapping[str, str], pip: Mapping[str, str], index_url: str) -> dict[str, str]:
    """Variables of `uv` and pip that say where packages come from."""
    variables = {name: value for name, value in environ.items() if _UV.fullmatch(name) and value}
    variables |= {
        f"PIP_{name.upper().replace('-', '_')}": value for name, value in pip.items() if name in _PIP
    }
    _let_uv_follow_pip(variables)
    if index_url:
        variables.pop("UV_INDEX_URL", None)
        variables |= {"UV_DEFAULT_INDEX": index_url, "PIP_INDEX_URL": index_url}
    return variables


def _certificates(environ: Mapping[str, str], pip: Mapping[str, str]) -> str:
    """File of certificates that this host trusts; empty when no setting names one."""
    return next((environ[name] for name in _CERTIFICATES if environ.get(name)), pip.get("cert", ""))


def _pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Settings of pip by their name in its files; later ones win."""
    home = Path(environ.get("HOME") or Path.home())
    given = environ.get("PIP_CONFIG_FILE", "")
    paths = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
        *([Path(given)] if given else []),
    ]
    found: dict[str, str] = {}
    for path in [] if given == os.devnull else paths:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path)
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            raise _unusable(f"pip's settings in {path}", str(error)) from error
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update(
                    {
                        name.replace("_", "-"): " ".join(value.split())
                        for name, value in parser[section].items()
                    }
                )
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = " ".join(value.split())
    return found


def _let_uv_follow_pip(variables: dict[str, str]) -> None:
    follows = (
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", ("UV_DEFAULT_INDEX", "UV_INDEX_URL")),
        ("PIP_EXTRA_INDEX_URL", "UV_INDEX", ("UV_INDEX", "UV_EXTRA_INDEX_URL")),
        ("PIP_FIND_LINKS", "UV_FIND_LINKS", ("UV_FIND_LINKS",)),
        ("PIP_TRUSTED_HOST", "UV_INSECURE_HOST", ("UV_INSECURE_HOST",)),
    )
    for source, target, own in follows:
        if source in variables and not any(name in variables for name in own):
            comma = "," if target == "UV_FIND_LINKS" else " "
            variables[target] = comma.join(variables[source].split())


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
    configuration = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    netrc = Path(environ.get("NETRC") or home / ".netrc")
    if netrc.is_file():
        yield "netrc", "NETRC", netrc
    own = environ.get("UV_CONFIG_FILE")
    for path in [Path(own)] if own else [configuration / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]:
        if path.is_file():
            yield "uv.toml", "UV_CONFIG_FILE", path
            return


def _read(path: Path, what: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unusable(f"{what} {path}", str(error.strerror)) from error
    if len(content) > _LARGEST:
        raise _unusable(f"{what} {path}", f"it has {len(content)} bytes, and builds take up to {_LARGEST}")
    return content


def _unusable(what: str, why: str) -> FailedPrecondition:
    message = f"{what} cannot be handed to image builds: {why}. Mend or unset it on the image builder's host"
    return FailedPrecondition(message, reason="HOST_SETTINGS_UNUSABLE")


def _passwords(variables: Mapping[str, str], netrc: bytes) -> Iterator[str]:
    for name, value in variables.items():
        if name.endswith("_PASSWORD"):
            yield value
    yield from _PASSWORD.findall(netrc.decode(errors="replace"))
