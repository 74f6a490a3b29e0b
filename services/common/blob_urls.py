"""Signed URLs for a local blob directory, which admin's HTTP port serves."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

from services.common.clock import Clock, SystemClock
from services.common.errors import PermissionDenied

PATH = "/v1/blobs/"
"""Path on admin's HTTP port, before the key."""


class UrlSigner:
    """Makes and checks URLs that allow one method on one key until a time.

    Args:
        base_url: Address of admin's HTTP port, such as ``"http://127.0.0.1:8080"``.
        key: Secret of at least 32 bytes.
        clock: Tells the time.
    """

    def __init__(self, base_url: str, key: bytes, clock: Clock | None = None) -> None:
        if len(key) < 32:
            raise ValueError("a signing key needs at least 32 bytes")
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._clock = clock or SystemClock()

    def sign(self, method: str, blob_key: str, expires_in: timedelta) -> str:
        """Returns a URL for ``"GET"`` or ``"PUT"`` of a blob."""
        expires = int((self._clock.now() + expires_in).timestamp())
        query = {
            "expires": expires,
            "method": method,
            "signature": self._signature(method, blob_key, expires),
        }
        return f"{self._base_url}{PATH}{quote(blob_key)}?{urlencode(query)}"

    def check(self, method: str, blob_key: str, expires: str, signature: str) -> None:
        """Accepts a request, or not.

        Args:
            method: Method of the request.
            blob_key: Key that the request is for.
            expires: Parameter of the same name, as it came.
            signature: Parameter of the same name, as it came.

        Raises:
            PermissionDenied: The signature is not for this, or its time is over.
        """
        number = int(expires) if expires.isascii() and expires.isdecimal() and len(expires) < 16 else 0
        expected = self._signature(method, blob_key, number)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            message = f"the signature of this URL does not allow {method} of this object: ask for a new URL"
            raise PermissionDenied(message, reason="SIGNATURE_INVALID")
        if number < self._clock.now().timestamp():
            raise PermissionDenied("this URL has expired: ask for a new one", reason="SIGNATURE_EXPIRED")

    def _signature(self, method: str, blob_key: str, expires: int) -> str:
        text = f"{method}\n{blob_key}\n{expires}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()


def load_signing_key(path: Path) -> bytes:
    """Returns the key in a file; makes the file, for its owner only, when it does not exist."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_bytes(secrets.token_hex(32).encode())
        try:
            path.hardlink_to(fresh)  # whoever is first wins, and nobody sees half a key
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_bytes().strip()
