"""Where programs of the platform on this machine keep their files, and what they say of themselves."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


def data_directory() -> Path:
    """The embedded backend's data directory: ``$HANGAR_DATA_DIR`` or the user's data directory."""
    configured = os.environ.get("HANGAR_DATA_DIR")
    if configured:
        return Path(configured).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("hangar"))


@dataclass(frozen=True)
class BackendFile:
    """What a running embedded backend, or image builder, says of itself in ``backend.json``.

    Attributes:
        pid: Its process.
        grpc: Address of its gRPC port, ``HOST:PORT``.
        http: URL of its pages.
        version: Its version.
        started_at: When it started, RFC 3339.
        token_file: File of the token that it demands; empty for none, or one that is not in a file.
        identity: What tells the settings of an image builder of this machine from others; empty for a backend.
    """

    pid: int
    grpc: str
    http: str
    version: str = ""
    started_at: str = ""
    token_file: str = ""
    identity: str = ""

    def token(self) -> str:
        """The token that it demands, for those who may read it; empty when that is not known."""
        try:
            return Path(self.token_file).read_text("ascii").strip() if self.token_file else ""
        except (OSError, UnicodeDecodeError):
            return ""


def read_backend_file(directory: Path) -> BackendFile | None:
    """Reads ``backend.json``; None when it is missing or half-written."""
    try:
        content = json.loads((directory / "backend.json").read_text("utf-8"))
        return BackendFile(
            pid=int(content["pid"]),
            grpc=_address(content["grpc"]),
            http=_url(content["http"]),
            version=str(content.get("version", "")),
            started_at=str(content.get("started_at", "")),
            token_file=str(content.get("token_file", "")),
            identity=str(content.get("identity", "")),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _address(value: object) -> str:
    return f"127.0.0.1:{value}" if isinstance(value, int) else str(value)


def _url(value: object) -> str:
    address = _address(value)
    return address if "://" in address else f"http://{address}"
