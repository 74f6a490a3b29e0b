"""Process 1 of a worker's container: `python3 -m flyte._runtime.container <directory of the worker>`.

It is the worker's supervisor. The engine that made the container limits it, and whatever lives in it ends
with this process; so no control group is touched here. `worker.json` in the directory says which worker it is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from flyte._runtime.order import WorkerOrder
from flyte._runtime.supervisor import Handler, Supervisor

_FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGWINCH,
)
"""Signals to the container that are meant for the worker. Process 1 itself would never get most of them."""
_OOM_FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_PEAK_FILES = ("/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes")
_NO_RECORD = 78


class ContainerSupervisor(Supervisor):
    """The supervisor of the only worker of a container."""

    @property
    def code(self) -> int:
        """Exit code of the container: the worker's own, or 128 and the number of the signal that ended it."""
        code = os.waitstatus_to_exitcode(self._status or 0)
        return code if code >= 0 else 128 - code

    def _handlers(self) -> dict[int, Handler]:
        return {**super()._handlers(), **dict.fromkeys(_FORWARDED, self._forward)}

    def _forward(self, number: int, *_: object) -> None:
        if self._worker and self._status is None:
            os.kill(self._worker, number)

    def _finish(self) -> None:
        # The other way round than on a host: nothing of the worker is left that could write to the record.
        self._sweep()
        self._record()
        self._say_exit()

    def _sweep(self) -> None:
        """Ends every other process of the container, also those that did not start below this one."""
        while True:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                return
            self._reap()


def read_order(directory: Path) -> WorkerOrder:
    """What the engine wrote into the worker's directory, with what the container itself says.

    Raises:
        OSError: There is no such record.
        ValueError: It is damaged.
    """
    record = json.loads((directory / "worker.json").read_text())
    return WorkerOrder.from_json(
        {
            **record,
            "directory": str(directory),
            "environ": dict(os.environ),
            "oom_file": _first(_OOM_FILES),
            "peak_file": _first(_PEAK_FILES),
        }
    )


def _first(paths: tuple[str, ...]) -> str:
    return next((path for path in paths if os.path.exists(path)), "")


def main() -> NoReturn:
    """Supervises the worker whose directory is the first argument."""
    code = _NO_RECORD
    here = os.getcwd()
    sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
    try:
        supervisor = ContainerSupervisor(read_order(Path(sys.argv[1])))
        supervisor.run()
        code = supervisor.code
    except BaseException as error:  # noqa: BLE001 - the end of the process
        os.write(2, f"supervisor: {error!r}\n".encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
