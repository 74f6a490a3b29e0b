"""Values written by a script run as ``__main__`` are read by a worker that imports it as a module."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import flyte

SCRIPT = """
import enum, sys
from dataclasses import dataclass
from typing import Any, Union
from flyte import _types

class Color(enum.Enum):
    RED = "red"

@dataclass
class Left:
    x: int

@dataclass
class Right:
    x: int

class Free:
    def __init__(self, n): self.n = n

def paint(color: Color, side: Union[Left, Right], loose: Any, free: Any) -> Color:
    return color

interface = _types.Interface.from_function(paint)

if __name__ == "__main__":
    values = {"color": Color.RED, "side": Right(1), "loose": [Left(2)], "free": Free(3)}
    sys.stdout.buffer.write(interface.dump_inputs(values))
"""
READER = """
import sys, script
values = script.interface.load_inputs(sys.stdin.buffer.read())
assert values["color"] is script.Color.RED, values
assert values["side"] == script.Right(1) and type(values["side"]) is script.Right, values
assert values["loose"][0].x == 2 and values["free"].n == 3, values
print("read")
"""


def test_a_script_and_a_worker_understand_each_other(tmp_path: Path) -> None:
    """Typed values need no module name; untyped instances of ``__main__`` travel by value."""
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(flyte.__file__).parent.parent), str(tmp_path)]),
    }
    written = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    read = subprocess.run(
        [sys.executable, "-c", READER],
        input=written.stdout,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert read.stdout.strip() == b"read", read.stderr.decode()


def test_types_need_no_pydantic_until_a_user_does() -> None:
    """Reading and writing plain values imports neither Pydantic nor cloudpickle."""
    code = (
        "import sys\nfrom dataclasses import dataclass\nfrom flyte import _types\n"
        "@dataclass\nclass P:\n    x: int\n"
        "def f(a: int, p: P) -> list[str]: ...\ni = _types.Interface.from_function(f)\n"
        "i.load_inputs(i.dump_inputs({'a': 1, 'p': P(1)}))\n"
        "print(sorted({'pydantic', 'cloudpickle', 'yaml', 'grpc'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(flyte.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
