"""`backend.json`: where the backend of a data directory is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from services.common.data_directory import write_atomically

_NAME = "backend.json"


@dataclass(frozen=True)
class BackendFile:
    """What the backend says of itself, for those on the same machine."""

    pid: int
    """Its process."""
    grpc: str
    """Host and port of its gRPC services."""
    http: str
    """URL of its pages."""
    version: str
    """Its version."""
    started_at: str
    """When it started, RFC 3339."""
    token_file: str = ""
    """File of the token that it demands, for those who may read it; empty when it demands none from a file."""
    identity: str = ""
    """What tells the settings of an author's image builder from others; empty for a backend."""

    def write(self, data_dir: Path) -> None:
        """Writes the file."""
        write_atomically(data_dir / _NAME, json.dumps(asdict(self), indent=2) + "\n")


def read_backend_file(data_dir: Path) -> BackendFile | None:
    """Returns what the backend of a data directory said of itself, None when nothing was left there."""
    try:
        return BackendFile(**json.loads((data_dir / _NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def remove_backend_file(data_dir: Path) -> None:
    """Removes the file: nothing is served any more."""
    (data_dir / _NAME).unlink(missing_ok=True)
