"""The command line on a terminal: the live tree, and what Ctrl-C asks."""

import contextlib
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from integration_tests.api import phase_of
from integration_tests.backend import BIN
from integration_tests.polling import until

SCRIPT = """
    import time
    from pathlib import Path

    import flyte

    env = flyte.TaskEnvironment(name="env", resources=flyte.Resources(cpu="250m", memory="256Mi"))

    @env.task
    def double(x: int) -> int:
        return 2 * x

    @env.task
    def pipeline(x: int, gate: str) -> int:
        result = double(x)
        while not Path(gate).exists():
            time.sleep(0.05)
        return result
"""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A command on a terminal.

    Args:
        command: The command.
        cwd: Its working directory.
        environ: Its environment variables.
    """

    def __init__(self, command, cwd, environ) -> None:
        self._master, slave = pty.openpty()
        os.set_blocking(self._master, False)
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environ
        )
        os.close(slave)
        self._data = b""

    @property
    def text(self) -> str:
        """All that was written so far, without colours and movements."""
        with contextlib.suppress(BlockingIOError, OSError):  # nothing new, or the other side is closed
            while data := os.read(self._master, 65536):
                self._data += data
        return _CONTROL.sub("", self._data.decode(errors="replace"))

    def shows(self, text: str) -> None:
        """Waits until it has written a text."""
        until(lambda: text in self.text, f"{text!r} on the terminal", 30)

    def type(self, text: str) -> None:
        """Types."""
        os.write(self._master, text.encode())

    def wait(self) -> int:
        """Waits for the end of the command; its exit code."""
        until(lambda: (self.text, self.process.poll())[1] is not None, "the end of the command", 60)
        return self.process.returncode

    def close(self) -> None:
        """Ends the command when it has not ended."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(workspace) -> Iterator[Terminal]:
    """`flyte run` of a task that waits at a gate."""
    workspace.write("script.py", SCRIPT)
    command = [str(BIN / "flyte"), "run", "script.py", "pipeline", "--x", "5", "--gate"]
    command.append(str(workspace.directory / "gate"))
    environ = {key: value for key, value in workspace.environ.items() if key != "NO_COLOR"}
    shown = Terminal(command, workspace.directory, {**environ, "TERM": "xterm", "COLUMNS": "100"})
    yield shown
    shown.close()


def test_the_tree_is_live(backend, terminal, workspace):
    """While the run goes on its actions are shown as a tree; at the end stand the completion and the output."""
    terminal.shows("✓ double")
    terminal.shows("● pipeline")
    (workspace.directory / "gate").touch()
    assert terminal.wait() == 0
    assert "✓ pipeline" in terminal.text
    assert terminal.text.splitlines()[-2:] == ["Run 'a0' completed successfully.", "10"]


@pytest.mark.parametrize(("answer", "code"), [("y", 130), ("n", 0)])
def test_ctrl_c_asks(backend, terminal, workspace, answer, code):
    """Ctrl-C asks whether to detach; yes leaves the run alone, no goes on to its end."""
    terminal.shows("✓ double")
    name = next(line for line in terminal.text.splitlines() if not line.startswith("image of "))
    terminal.process.send_signal(signal.SIGINT)
    terminal.shows(f"Detach from run {name}?")
    terminal.type(f"{answer}\n")
    if answer == "y":
        assert terminal.wait() == code
        assert f"flyte abort {name}" in terminal.text
        assert phase_of(backend.api.run(name)) == "running"
    (workspace.directory / "gate").touch()
    assert terminal.wait() == code
    assert backend.api.succeeded(name) == 10
    assert "Traceback" not in terminal.text
