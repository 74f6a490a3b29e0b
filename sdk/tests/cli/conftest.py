"""Fixtures of the command line's tests: a backend in this process, commands in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from hangar.core.v1 import phase_pb2
from sdk.tests.client.fake_admin import FakeAdmin

TASKS = '''
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Optional

import flyte

env = flyte.TaskEnvironment(name="my_env")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


@env.task
def greet(name: str) -> str:
    """Greet somebody.

    Args:
        name: Whom to greet.
    """
    return f"Hello, {name}!"


@env.task
def everything(
    data_path: str,
    count: int = 3,
    rate: float = 0.5,
    debug: bool = False,
    cache: bool = True,
    values: list[int] = [1, 2],
    point: Optional[Point] = None,
    color: Color = Color.RED,
    delay: timedelta = timedelta(seconds=5),
) -> dict:
    return {"n": count}


@env.task
def fails(x: int) -> int:
    raise ValueError(f"{x} is too small")
'''


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self):
        return json.loads(self.out)


def on_create(admin, run):
    """Ends runs by the name of their task's first input."""
    name = json.loads(run.request.inputs.inline or b"{}").get("name")
    if name == "fail":
        admin.fail(
            run,
            "ValueError",
            "bad name",
            'Traceback\n  File "flow.py", line 3, in greet\nValueError: bad name',
        )
    elif name == "abort":
        admin.abort(run, "wrong data")
    elif name == "timeout":
        admin.move(run, phase_pb2.PHASE_TIMED_OUT)
    elif name == "hang":
        run.lines.append("I hang")
        admin.move(run, phase_pb2.PHASE_RUNNING)
    elif name == "log":
        run.lines += ["one", "two"]
        run.report = "<p>é</p>".encode()
        admin.succeed(run)
    else:
        admin.succeed(run, json.dumps({"o0": f"Hello, {name}!"}).encode())


@pytest.fixture(scope="module")
def backend():
    """A backend that ends runs at once."""
    with FakeAdmin(on_create) as admin:
        yield admin


@pytest.fixture
def work(tmp_path):
    """The directory that commands run in, with a file of tasks."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "flow.py").write_text(TASKS)
    return folder


@pytest.fixture
def environment(tmp_path):
    """The environment of commands: nothing of this machine's configuration."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FLYTE", "HANGAR", "UCTL"))
    }
    return {
        **kept,
        "HOME": str(home),
        "HANGAR_DATA_DIR": str(tmp_path / "data"),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[3]), *filter(None, sys.path)]),
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }


def command(*arguments):
    """A command line that runs the CLI with this Python."""
    return [sys.executable, "-m", "flyte.cli.main", *arguments]


@pytest.fixture
def alone(work, environment):
    """Runs a command without any configuration."""

    def run(*arguments, env=None, stdin=""):
        done = subprocess.run(
            command(*arguments),
            cwd=work,
            env={**environment, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def flyte_command(alone, backend):
    """Runs a command that is configured for the backend."""

    def run(*arguments, env=None, stdin=""):
        configured = {"FLYTE_ADMIN_ENDPOINT": backend.endpoint, "FLYTE_ADMIN_INSECURE": "true"}
        return alone(*arguments, env={**configured, **(env or {})}, stdin=stdin)

    return run


@pytest.fixture
def write(work):
    """Writes a file of user code."""

    def make(name, text):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(textwrap.dedent(text))

    return make
