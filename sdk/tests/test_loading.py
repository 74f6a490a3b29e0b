"""Scripts that start runs at module level can be imported for their tasks."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = """
import flyte

env = flyte.TaskEnvironment(name="my_env")

@env.task
def greet(name: str) -> str:
    return f"Hello, {name}!"

flyte.init_from_config()
result = flyte.run(greet, name="World")
print(result)

@env.task
def below() -> None:
    pass
"""


def load(folder: Path, code: str, *, worker: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a process that imports from `folder` as a worker does."""
    program = f"""
    import sys
    sys.path.insert(0, {str(folder)!r})
    from flyte import _loading
    if {worker}:
        _loading.set_worker()
    """
    text = textwrap.dedent(program) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("worker", [True, False])
def test_the_import_ends_at_the_first_run(tmp_path: Path, worker: bool) -> None:
    """The sample of the documentation as printed: its task is there, its run is not started once more."""
    (tmp_path / "script.py").write_text(SCRIPT)
    code = """
    module = _loading.load_module("script")
    print(module.greet("World"), hasattr(module, "below"), sys.modules["script"] is module)
    """
    done = load(tmp_path, code, worker=worker)
    assert (done.stdout, done.stderr) == ("Hello, World! False True\n", "")


def test_a_run_in_another_module_is_refused_with_the_reason(tmp_path: Path) -> None:
    """A module that starts a run when somebody else imports it says what to do instead."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "user.py").write_text("import script\n")
    done = load(tmp_path, '_loading.load_module("user")')
    assert "ModuleLoadError" in done.stderr
    assert '__name__ == "__main__"' in done.stderr


def test_a_running_task_cannot_start_runs(tmp_path: Path) -> None:
    """In a worker there is no backend to talk to: the error says to call the task itself."""
    code = """
    import flyte
    env = flyte.TaskEnvironment(name="e")
    @env.task
    def f() -> int:
        return 1
    flyte.init(endpoint="localhost:1")
    for mode in ("remote", None):
        try:
            flyte.with_runcontext(mode=mode).run(f)
        except flyte.errors.FeatureNotAvailableError as error:
            print(error)
    """
    done = load(tmp_path, code)
    assert done.stdout.count("call the task itself") == 2, done.stderr
