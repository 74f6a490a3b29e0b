"""Page tokens: opaque, and good only for the list that they came from."""

from __future__ import annotations

import base64
import hashlib
import json

from google.protobuf.message import Message

from services.common.errors import InvalidArgument

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000


def page_size(asked: int, *, default: int = DEFAULT_SIZE, largest: int = LARGEST_SIZE) -> int:
    """Returns how many entries a page has.

    Args:
        asked: What the request says; 0 for the default. More than the largest gives the largest.
        default: Entries when nothing is asked for.
        largest: Most entries.

    Raises:
        InvalidArgument: It is negative.
    """
    if asked < 0:
        raise InvalidArgument(
            f"page_size is {asked}: use 0 for {default}, or up to {largest}", field="page_size"
        )
    return min(asked or default, largest)


def page_token(request: Message, last: str | int) -> str:
    """Returns the token for the page after the one that ends with `last`.

    Args:
        request: The request; its page size and token do not matter.
        last: Key of the last entry.
    """
    text = json.dumps([_fingerprint(request), last], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def last_entry(request: Message, token: str, kind: type[str] | type[int]) -> str | int | None:
    """Returns the key of the last entry of the page before, None for the first page.

    Args:
        request: The request that carries the token.
        token: The token; empty for the first page.
        kind: Type of the key.

    Raises:
        InvalidArgument: The token is not one of this list (reason ``PAGE_TOKEN_INVALID``).
    """
    if not token:
        return None
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        fingerprint, last = json.loads(text)
    except ValueError:
        fingerprint, last = "", None
    if fingerprint != _fingerprint(request) or type(last) is not kind:
        message = "page_token is not one that this list gave: start without a token, with the same filter"
        raise InvalidArgument(message, reason="PAGE_TOKEN_INVALID", field="page_token")
    found: str | int = last
    return found


def _fingerprint(request: Message) -> str:
    plain = type(request)()
    plain.CopyFrom(request)
    for name in ("page_size", "page_token"):
        plain.ClearField(name)
    text = f"{plain.DESCRIPTOR.full_name}\n".encode() + plain.SerializeToString(deterministic=True)
    return hashlib.blake2b(text, digest_size=6).hexdigest()
