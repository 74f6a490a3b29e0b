"""Ctrl-C, with a real terminal and without one."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from sdk.tests.cli.conftest import command

SECONDS = 40
# Makes standard input the controlling terminal, so that Ctrl-C reaches the command, and becomes the command.
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, arguments, cwd, env) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command(*arguments)],
            cwd=cwd,
            env={**env, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def expect(self, text: str) -> None:
        """Reads until a text has appeared."""
        deadline = time.monotonic() + SECONDS
        while text not in self.text:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} did not appear in:\n{self.text}")
        self.text = self.text[self.text.index(text) + len(text) :]

    def send(self, text: str) -> None:
        """Types."""
        os.write(self.master, text.encode())

    def wait(self) -> int:
        """The exit code."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(time.monotonic() + 0.1)
        return self.process.wait(1)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return False
        try:
            content = os.read(self.master, 65536)
        except OSError:  # the other end is closed
            return False
        self.text += content.decode(errors="replace")
        return bool(content)

    def close(self) -> None:
        """Ends the command when it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(work, environment, backend):
    """Starts commands on pseudo-terminals."""
    env = {**environment, "FLYTE_ADMIN_ENDPOINT": backend.endpoint, "FLYTE_ADMIN_INSECURE": "true"}
    with contextlib.ExitStack() as stack:

        def start(*arguments):
            made = Terminal(arguments, work, env)
            stack.callback(made.close)
            return made

        yield start


def test_first_interrupt_asks_and_detaches(terminal, backend):
    """Ctrl-C asks; yes detaches, says that the run goes on and how to abort it; exit code 130."""
    shell = terminal("run", "--name", "asked", "flow.py", "greet", "--name", "hang")
    shell.expect("● greet")
    shell.send("\x03")
    shell.expect("Detach from run asked?")
    shell.send("y\r")
    shell.expect("Run asked goes on")
    shell.expect("flyte abort asked")
    assert shell.wait() == 130
    assert not backend.runs["asked"].ended


def test_no_goes_on_waiting(terminal, backend):
    """Answering no waits on, and the end is shown as ever."""
    shell = terminal("run", "--name", "stayed", "flow.py", "greet", "--name", "hang")
    shell.expect("● greet")
    shell.send("\x03")
    shell.expect("Detach from run stayed?")
    shell.send("n\r")
    shell.expect("● greet")
    run = backend.runs["stayed"]
    backend.change(lambda: backend.succeed(run, b'{"o0":"still here"}'))
    shell.expect("Run 'a0' completed successfully.")
    shell.expect("still here")
    assert shell.wait() == 0


def test_second_interrupt_leaves_at_once(terminal, backend):
    """Ctrl-C at the question leaves with exit code 130; the run goes on."""
    shell = terminal("run", "--name", "left", "flow.py", "greet", "--name", "hang")
    shell.expect("● greet")
    shell.send("\x03")
    shell.expect("Detach from run left?")
    shell.send("\x03")
    assert shell.wait() == 130
    assert not backend.runs["left"].ended


def test_live_tree_ends_with_the_outputs(terminal, backend):
    """On a terminal the tree shows the actions, then the completion line and the output."""
    shell = terminal("run", "flow.py", "greet", "--name", "World")
    shell.expect("✓ greet")
    shell.expect("Run 'a0' completed successfully.")
    shell.expect("Hello, World!")
    assert shell.wait() == 0


def test_without_a_terminal_an_interrupt_detaches(work, environment, backend):
    """SIGINT detaches without asking, says that the run goes on and how to abort it; exit code 130."""
    env = {**environment, "FLYTE_ADMIN_ENDPOINT": backend.endpoint, "FLYTE_ADMIN_INSECURE": "true"}
    arguments = command("run", "--name", "piped", "flow.py", "greet", "--name", "hang")
    watches = backend.calls.count("WatchActions")
    with subprocess.Popen(
        arguments,
        cwd=work,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + SECONDS
            # Its own watch, not that of an earlier test: before it waits it imports, where an interrupt may get lost.
            while backend.calls.count("WatchActions") == watches:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert out.startswith("piped\n")
    assert process.returncode == 130
    assert "Run piped goes on" in err
    assert "flyte abort piped" in err
    assert "Traceback" not in err
    assert not backend.runs["piped"].ended


HELD = """
import pathlib

import flyte

env = flyte.TaskEnvironment(name="held_env")

@env.task
def held(path: str) -> str:
    print("I wait")
    while not pathlib.Path(path).exists():
        pass
    return "held back"
"""


@pytest.mark.parametrize("persistent", [False, True])
def test_the_text_interface_of_a_local_run(terminal, write, work, persistent):
    """`--tui` shows the run and its log while it goes on; after q the command waits, and prints how it ended."""
    write("held.py", HELD)
    if persistent:
        write("config.yaml", "local: {persistence: true}")
    shell = terminal("run", "--local", "--tui", "--name", "watched", "held.py", "held", "--path", "go")
    shell.expect("● held")
    shell.send("l")
    shell.expect("I wait")
    shell.send("q")
    shell.expect("Run watched goes on in this process")
    (work / "go").touch()
    shell.expect("Completed Local Run watched")
    shell.expect("held back")
    assert shell.wait() == 0
    if persistent:
        browser = terminal("start", "tui")
        browser.expect("watched")
        browser.send("\r")
        browser.expect("✓ held")
        browser.send("q")
        assert browser.wait() == 0


def test_the_text_interface_of_a_remote_run(terminal, backend):
    """`--tui` shows its actions; after q the progress goes on as ever."""
    shell = terminal("run", "--tui", "--name", "looked-at", "flow.py", "greet", "--name", "hang")
    shell.expect("● greet")
    shell.send("l")
    shell.expect("I hang")
    run = backend.runs["looked-at"]
    backend.change(lambda: backend.succeed(run, b'{"o0":"seen"}'))
    shell.expect("✓ greet")
    shell.send("q")
    shell.expect("Run 'a0' completed successfully.")
    shell.expect("seen")
    assert shell.wait() == 0


def test_the_text_interface_needs_a_terminal(flyte_command):
    """Elsewhere it is refused, before anything runs."""
    refused = flyte_command("run", "--tui", "flow.py", "greet", "--name", "x")
    assert (refused.code, "--tui needs a terminal" in refused.err) == (2, True)
