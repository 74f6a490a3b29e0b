"""Code of interactive sessions: pickled by value in one process, loaded in another."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from flyte import errors
from flyte._runtime.pickled import PickledCode

SESSION = """
    from __future__ import annotations
    import sys
    from dataclasses import dataclass
    import flyte
    from flyte._bundle._pickled import interactive_modules, pickled_code

    env = flyte.TaskEnvironment(name="session")
    other = flyte.TaskEnvironment(name="other")

    @dataclass
    class Point:
        x: int

    def helper(point):
        return point.x * FACTOR

    FACTOR = 3

    @env.task(cache=flyte.Cache("override", version_override="1"))
    def work(point: Point) -> list[Point]:
        return [Point(helper(point)), Point(other_task.forward(1))]

    @other.task
    def other_task(x: int) -> int:
        return x + 1

    modules = interactive_modules([work], None)
    assert modules == {"__main__"}, modules
    sys.stdout.buffer.write(pickled_code([env], modules))
"""

LOAD = """
    import sys
    from pathlib import Path
    from flyte import _code
    from flyte._runtime.pickled import PickledCode

    code = PickledCode(Path(sys.argv[1]))
    task = code.task("session.work")
    inputs = task.interface.load_inputs(b'{"point":{"x":2}}')
    print(task.interface.dump_outputs(task.func(**inputs)).decode())
    with _code.using(_code.CodeIdentity(pickle="p", pickled_modules=code.modules)):
        for name in ("session.work", "other.other_task"):
            place = code.task(name).to_spec()["code"]
            print(place["module"], place["attribute"], place["pickle"])
"""


def python(*arguments, text=""):
    """Runs Python and returns what it printed, as bytes."""
    done = subprocess.run(
        [sys.executable, *arguments],
        input=textwrap.dedent(text).encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def pickle(tmp_path_factory):
    """The pickle of a session that was typed into Python."""
    path = tmp_path_factory.mktemp("pickled") / "code.pkl"
    path.write_bytes(python("-", text=SESSION))
    return path


def test_a_session_is_loaded_elsewhere_with_what_it_refers_to(pickle):
    """Helpers, classes, globals, annotations that are text, and tasks of other environments travel."""
    lines = python("-c", textwrap.dedent(LOAD), str(pickle)).decode().splitlines()
    assert json.loads(lines[0]) == {"o0": [{"x": 6}, {"x": 2}]}
    assert lines[1:] == ["__main__ session.work p", "__main__ other.other_task p"]


def test_another_python_is_refused_with_the_way_out(pickle, tmp_path):
    """Code of another version of Python is not even tried, and the error says what to do."""
    header, _, body = pickle.read_bytes().partition(b"\n")
    changed = {**json.loads(header), "python": [3, 8]}
    other = tmp_path / "other.pkl"
    other.write_bytes(json.dumps(changed).encode() + b"\n" + body)
    with pytest.raises(errors.ModuleLoadError, match=r'pickled by Python 3\.8.*python_version="3\.8"'):
        PickledCode(other)


@pytest.mark.parametrize("content", [b"", b"no json\n", b"{"])
def test_what_is_no_pickled_code_is_refused(tmp_path, content):
    """A damaged file is an error of its own."""
    path = tmp_path / "code.pkl"
    path.write_bytes(content)
    with pytest.raises(errors.ModuleLoadError, match="cannot be read"):
        PickledCode(path)
