"""Where notifications may go: addresses that the operators have named, and nothing else.

Whoever may start runs could otherwise let the scheduler, which stands inside the network, send requests to any host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

SETTING = "HANGAR_SCHEDULER_NOTIFICATION_DESTINATIONS"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Destinations:
    """The addresses that are allowed.

    Args:
        prefixes: Each allows itself and what is below its path, such as "https://hooks.example.com/ci/".
    """

    prefixes: tuple[str, ...] = ()

    def refusal(self, url: str) -> str | None:
        """Returns why nothing is sent to an address, None when it is allowed."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            return f"is {url[:200]!r}: it must begin with https:// or http:// and name a host"
        if parts.username is not None or "\\" in url or any(ord(character) <= 32 for character in url):
            return (
                f"is {url[:200]!r}: it must have no user, backslash or space; put credentials into a header"
            )
        if ".." in unquote(unquote(parts.path)).split("/"):
            return f"is {url[:200]!r}: its path must not go up with '..'"
        if any(_allows(urlsplit(prefix), parts) for prefix in self.prefixes):
            return None
        allowed = ", ".join(self.prefixes) or "none"
        return f"is {url[:200]!r}, which is not allowed; the operators allow with {SETTING}: {allowed}"


def checked(prefixes: Sequence[str]) -> tuple[str, ...]:
    """Prefixes of addresses.

    Raises:
        ValueError: One of them is no address.
    """
    for prefix in prefixes:
        parts = urlsplit(prefix)
        if (
            parts.scheme not in _PORTS
            or not parts.hostname
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise ValueError(
                f"{prefix!r} must be the beginning of an address, such as 'https://hooks.example.com/ci/'"
            )
    return tuple(prefixes)


def _allows(prefix: SplitResult, url: SplitResult) -> bool:
    if (prefix.scheme, prefix.hostname) != (url.scheme, url.hostname):
        return False
    if (prefix.port or _PORTS[prefix.scheme]) != (url.port or _PORTS[url.scheme]):
        return False
    base = prefix.path.rstrip("/")
    return url.path.rstrip("/") == base or url.path.startswith(f"{base}/")
