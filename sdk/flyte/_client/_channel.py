"""gRPC channels to an endpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

# gRPC's core reports broken connections on standard error, and reads this when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc
import grpc.aio

from flyte import errors

_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
)

_DEFAULT_PORTS = {True: 80, False: 443}


@dataclass(frozen=True)
class Endpoint:
    """Where a backend listens.

    Attributes:
        target: Name for gRPC, such as ``dns:///flyte.example.com:443``.
        insecure: True for plain text, False for TLS.
    """

    target: str
    insecure: bool = False

    @property
    def address(self) -> str:
        """Host and port, as people write them."""
        return self.target.removeprefix("dns:///")

    @classmethod
    def parse(cls, text: str, *, insecure: bool = False) -> Endpoint:
        """Reads ``dns:///HOST[:PORT]``, ``HOST[:PORT]``, ``http://HOST`` or ``https://HOST``.

        Raises:
            flyte.errors.InitializationError: When there is no host, or the port is not a number.
        """
        rest = text.strip()
        if rest.startswith("http://"):
            insecure = True
        address = rest.removeprefix("dns:///").removeprefix("https://").removeprefix("http://").rstrip("/")
        try:
            parts = urlsplit(f"//{address}")
            port, host = parts.port, parts.hostname
        except ValueError:
            port, host = None, None
        if not host or parts.path or any(character.isspace() for character in address):
            raise errors.InitializationError(
                "InvalidEndpointError",
                f"endpoint {text!r} is not an address. Write it as dns:///HOST or HOST:PORT, "
                "such as localhost:8090.",
            )
        host = f"[{host}]" if ":" in host else host
        return cls(f"dns:///{host}:{port or _DEFAULT_PORTS[insecure]}", insecure)


def open_channel(endpoint: Endpoint) -> grpc.aio.Channel:
    """Opens a channel. It connects when it is first used. Call it on the loop that will use it."""
    if endpoint.insecure:
        return grpc.aio.insecure_channel(endpoint.target, options=_OPTIONS)
    return grpc.aio.secure_channel(endpoint.target, grpc.ssl_channel_credentials(), options=_OPTIONS)
