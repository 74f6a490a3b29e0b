"""gRPC channels to an endpoint."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
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
    ("grpc.min_reconnect_backoff_ms", 5_000),  # gRPC's name for how long a connection may take to be made
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
        ca_cert_file: PEM file of the certificates that TLS trusts; None for those of the system.
    """

    target: str
    insecure: bool = False
    ca_cert_file: Path | None = None

    @property
    def address(self) -> str:
        """Host and port, as people write them."""
        return self.target.removeprefix("dns:///")

    @property
    def is_loopback(self) -> bool:
        """True when it is on this machine."""
        host = urlsplit(f"//{self.address}").hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @classmethod
    def parse(cls, text: str, *, insecure: bool = False, ca_cert_file: str | None = None) -> Endpoint:
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
        trusted = Path(ca_cert_file).expanduser() if ca_cert_file else None
        return cls(f"dns:///{host}:{port or _DEFAULT_PORTS[insecure]}", insecure, trusted)


def open_channel(endpoint: Endpoint) -> grpc.aio.Channel:
    """Opens a channel. It connects when it is first used. Call it on the loop that will use it.

    Raises:
        flyte.errors.InitializationError: When the file of trusted certificates cannot be read.
    """
    if endpoint.insecure:
        return grpc.aio.insecure_channel(endpoint.target, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(_trusted(endpoint.ca_cert_file))
    return grpc.aio.secure_channel(endpoint.target, credentials, options=_OPTIONS)


def _trusted(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise errors.InitializationError(
            "CaCertFileError", f"ca_cert_file_path {str(path)!r} cannot be read: {error.strerror}."
        ) from None
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise errors.InitializationError(
            "CaCertFileError", f"ca_cert_file_path {str(path)!r} holds no certificate in PEM form."
        )
    return content
