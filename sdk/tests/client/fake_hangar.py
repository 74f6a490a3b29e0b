"""Stands for ``hangar``: a real process that serves health checks and says so in backend.json."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from sdk.tests.client.fake_admin import FakeAdmin


def main() -> int:
    """Serves until it is told to stop; fails at once when asked to."""
    directory = Path(os.environ["HANGAR_DATA_DIR"])
    if os.environ.get("FAKE_HANGAR_FAILS"):
        sys.stdout.write("database is newer than the program\n")
        return 3
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with FakeAdmin(lambda admin, run: admin.succeed(run)) as admin:
        content = {"pid": os.getpid(), "grpc": admin.endpoint, "http": "127.0.0.1:1", "version": "0"}
        if "--while-used" in sys.argv:
            content["identity"] = sys.argv[-1]
        partial = directory / "backend.json.new"
        partial.write_text(json.dumps(content))
        partial.rename(directory / "backend.json")
        stopped.wait(120)
    (directory / "backend.json").unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
