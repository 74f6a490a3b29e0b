"""Labels, annotations, custom context, environment variables: texts by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,254}")
"""What the services accept, too."""
_MOST, _LONGEST_KEY = 64, 128
_LONGEST_VALUES = {"labels": 256}
_LONGEST_VALUE = 4096


def texts(what: str, values: Mapping[str, str] | None) -> dict[str, str]:
    """A copy of texts by name that every backend takes.

    Args:
        what: The argument that they were given as: "labels", "annotations" or "custom_context".
        values: The texts.

    Raises:
        TypeError: They are no dict, or a name or value is no text.
        ValueError: There are more than 64, or a name or value is too long or no valid Unicode.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise TypeError(f"{what} must be a dict of texts, not {values!r}")
    if len(values) > _MOST:
        raise ValueError(f"{what} has {len(values)} entries: use up to {_MOST}")
    longest = _LONGEST_VALUES.get(what, _LONGEST_VALUE)
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"{what}: {name!r}={value!r} must be text; write {str(value)!r}")
        if not 1 <= len(name) <= _LONGEST_KEY:
            raise ValueError(
                f"{what}: the key {name[:40]!r} has {len(name)} characters: use 1 to {_LONGEST_KEY}"
            )
        if len(value) > longest:
            raise ValueError(f"{what}: {name!r} has {len(value)} characters: use up to {longest}")
        if not is_sendable(name + value):
            raise ValueError(f"{what}: {name!r}={value!r} is no valid Unicode text, or has the character NUL")
    return dict(values)


def check_env_vars(env_vars: object) -> Mapping[str, str]:
    """A copy of environment variables, or a `TypeError` or `ValueError` that names the wrong one."""
    if not isinstance(env_vars, Mapping):
        raise TypeError(f"env_vars must be a dict of strings, not {env_vars!r}")
    for name, value in env_vars.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(
                f"env_vars must be a dict of strings: {name!r} has the value {value!r}; write str(value)"
            )
        if not name or "=" in name or not is_sendable(name + value):
            raise ValueError(f"env_vars: {name!r}={value!r} is no valid environment variable")
    return dict(env_vars)


def check_version(version: str | None) -> None:
    """Refuses a version of code that cannot be part of an address.

    Raises:
        TypeError: It is no text.
        ValueError: It has other characters than letters, digits and ``.``, ``_``, ``-``, ``+``, or too many of them.
    """
    if version is None:
        return
    if not isinstance(version, str):
        raise TypeError(f"version must be text, not {version!r}: write version={str(version)!r}")
    if not _VERSION.fullmatch(version):
        raise ValueError(
            f"version={version!r} is not valid, since versions are parts of addresses: use 1 to 255 letters, digits "
            "and . _ - +, the first a letter or digit, such as '1.4' or 'main-3f2a1c'"
        )


def is_sendable(text: str) -> bool:
    """Whether a text goes through messages, databases and environments: Unicode without NUL."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
