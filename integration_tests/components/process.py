"""A server that a component runs: started in the background with its output in a file, and ended for sure."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from integration_tests.polling import until

_STOP_SECONDS = 30


class ServerProcess:
    """A process in a session of its own.

    Args:
        command: What to run.
        log: File that its output is appended to.
        environ: Its whole environment.
        cwd: Its working directory.
        user: Name of the user to run as; None for the one of the tests.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen: subprocess.Popen[bytes] = subprocess.Popen(
                [*become(user), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if environ is None else dict(environ),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def wait_ready(self, probe: Callable[[], bool], what: str, seconds: float) -> None:
        """Waits until the probe is true.

        Raises:
            AssertionError: The process has ended, or the time is over; shows the end of its log.
        """

        def is_ready() -> bool:
            code = self._popen.poll()
            assert code is None, f"{what}: the process ended with {code}\n{self.log_tail()}"
            return probe()

        until(is_ready, what, seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Sends the signal, waits for the end, and ends the whole session by force when it does not come."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)
        try:
            self._popen.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()

    def log_tail(self, lines: int = 40) -> str:
        """The end of what it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def become(user: str | None) -> list[str]:
    """What a command begins with that runs as another user.

    Not `subprocess`'s own `user`: it forks then, and what gRPC does at a fork ends the child now and then.
    """
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
