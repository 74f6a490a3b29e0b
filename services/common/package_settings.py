"""Settings of a host that say where packages come from, for `uv`: its own, those of pip, and the environment's.

Those of pip count for `uv` as well, unless `uv` has settings of its own.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from services.common.errors import FailedPrecondition

CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name a file of certificates, the first one first."""
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
_OF_INDEXES = frozenset(("index", "index-url", "extra-index-url", "find-links", "no-index"))
_OF_PROJECTS = re.compile(
    r"VIRTUAL_ENV|PYTHONPATH|UV_(PROJECT.*|WORKING_DIR.*|CONSTRAINT|OVERRIDE|EXCLUDE|BUILD_CONSTRAINT|ENV_FILE|NO_CONFIG)"
)
"""Variables that speak of the directory in which this process happens to run."""


def host_environ(environ: Mapping[str, str], index_url: str = "") -> dict[str, str]:
    """Returns the environment variables with which `uv` finds on this host what builds find.

    Args:
        environ: Environment variables.
        index_url: Package index in place of the one that the settings name; empty for none.

    Raises:
        FailedPrecondition: A file of settings cannot be used (reason ``HOST_SETTINGS_UNUSABLE``).
    """
    pip = pip_settings(environ)
    kept = {
        name: value
        for name, value in environ.items()
        if not _UV.fullmatch(name) and not _OF_PROJECTS.fullmatch(name)
    }
    certificates, settings = certificates_file(environ, pip), uv_settings_file(environ)
    return {
        **kept,
        **index_settings(environ, pip, index_url),
        **({"SSL_CERT_FILE": certificates} if certificates else {}),
        # Without one of them it would look for the settings of projects in its directory and those above.
        **({"UV_CONFIG_FILE": str(settings)} if settings is not None else {"UV_NO_CONFIG": "1"}),
        "NO_COLOR": "1",
    }


def uv_settings_file(environ: Mapping[str, str]) -> Path | None:
    """Returns the file of settings that `uv` has on this host, of its user or else of the system; None for none."""
    own = environ.get("UV_CONFIG_FILE")
    home = Path(environ.get("HOME") or Path.home())
    configuration = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    paths = [Path(own)] if own else [configuration / "uv" / "uv.toml", Path("/etc/uv/uv.toml")]
    return next((path for path in paths if path.is_file()), None)


def index_settings(environ: Mapping[str, str], pip: Mapping[str, str], index_url: str) -> dict[str, str]:
    """Returns variables of `uv` and pip that say where packages come from.

    Args:
        environ: Environment variables.
        pip: Settings of pip.
        index_url: Package index in place of the one that they name; empty for none.

    Raises:
        FailedPrecondition: The settings of `uv` cannot be read.
    """
    variables = {name: value for name, value in environ.items() if _UV.fullmatch(name) and value}
    variables |= {
        f"PIP_{name.upper().replace('-', '_')}": value for name, value in pip.items() if name in _PIP
    }
    if not _has_own_indexes(environ):
        _let_uv_follow_pip(variables)
    if index_url:
        variables.pop("UV_INDEX_URL", None)
        variables |= {"UV_DEFAULT_INDEX": index_url, "PIP_INDEX_URL": index_url}
    return variables


def certificates_file(environ: Mapping[str, str], pip: Mapping[str, str]) -> str:
    """Returns the file of certificates that this host trusts; empty when no setting names one."""
    return next((environ[name] for name in CERTIFICATES if environ.get(name)), pip.get("cert", ""))


def pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns settings of pip by their name in its files; later ones win.

    Raises:
        FailedPrecondition: A file of them cannot be read.
    """
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
            raise unusable(f"pip's settings in {path}", str(error)) from error
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


def _has_own_indexes(environ: Mapping[str, str]) -> bool:
    """True when the settings file of `uv` says where packages come from."""
    path = uv_settings_file(environ)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError) as error:
        raise unusable(f"uv's settings in {path}", str(error)) from error
    pip = found.get("pip")
    return not _OF_INDEXES.isdisjoint(found.keys() | (pip.keys() if isinstance(pip, dict) else set()))


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


def unusable(what: str, why: str) -> FailedPrecondition:
    """Returns the error for settings that cannot be used."""
    message = f"{what} cannot be handed to image builds: {why}. Mend or unset it on the image builder's host"
    return FailedPrecondition(message, reason="HOST_SETTINGS_UNUSABLE")
