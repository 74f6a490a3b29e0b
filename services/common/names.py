"""Names of projects, domains and runs: what is allowed, and random ones."""

from __future__ import annotations

import re
import secrets
import string

from services.common.errors import InvalidArgument

DOMAINS = ("development", "staging", "production")
"""The domains of every project."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_RANDOM_LENGTH = 20


def check_name(field: str, value: str) -> str:
    """Returns a name of a project or a run that is fit to be one.

    Args:
        field: What the name is, for the message, such as ``"run name"``.
        value: The name.

    Raises:
        InvalidArgument: The name is empty, too long, or has other characters than lower-case letters, digits
            and inner hyphens.
    """
    if _NAME.fullmatch(value):
        return value
    if not value:
        raise InvalidArgument(f"{field} must not be empty", reason="NAME_INVALID", field=field)
    raise InvalidArgument(
        f"{field} {_shortened(value)} is not valid: use 1 to 63 lower-case letters, digits and hyphens, "
        "starting and ending with a letter or digit",
        reason="NAME_INVALID",
        field=field,
    )


def check_domain(value: str) -> str:
    """Returns a domain that is one of `DOMAINS`.

    Raises:
        InvalidArgument: There is no such domain.
    """
    if value in DOMAINS:
        return value
    given = f"domain {_shortened(value)} does not exist" if value else "domain must not be empty"
    raise InvalidArgument(
        f"{given}: use one of {', '.join(DOMAINS)}", reason="DOMAIN_INVALID", field="domain"
    )


def random_run_name() -> str:
    """Returns a new run name: 20 random lower-case letters and digits, starting with a letter."""
    rest = string.ascii_lowercase + string.digits
    return secrets.choice(string.ascii_lowercase) + "".join(
        secrets.choice(rest) for _ in range(_RANDOM_LENGTH - 1)
    )


def _shortened(value: str) -> str:
    return repr(value if len(value) <= 80 else value[:77] + "...")
