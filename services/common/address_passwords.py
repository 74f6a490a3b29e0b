"""Passwords in addresses: definitions of images are on record and in provenance, so these may have none."""

from __future__ import annotations

import json
import re
from typing import Any

_LOGIN = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<user>[^/\s:@\"'<>\\]*)(?::(?P<password>[^/\s@\"'<>\\]*))?@"
    r"(?P<host>[^/\s\"'<>\\]*)"
)
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|\$[A-Za-z_][A-Za-z0-9_]*")
_SHORTEST_TOKEN = 20
"""Characters of a name before an `@` that is a token rather than the name of a user."""


def address_with_password(value: Any) -> str:
    """Returns an address with a password in a text, a list or an object, without it; empty when there is none.

    References to environment variables are no passwords.
    """
    for match in _LOGIN.finditer(value if isinstance(value, str) else json.dumps(value)):
        secret = match["user"] if match["password"] is None else match["password"]
        is_token = match["password"] is not None or len(secret) >= _SHORTEST_TOKEN
        if secret and is_token and not _VARIABLE.fullmatch(secret):
            return f"{match['scheme']}://****@{match['host']}"
    return ""
