"""The examples in the docstrings of public names run."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from contextlib import nullcontext
from datetime import timedelta

import pytest

import flyte
from flyte._context import ActionID, TaskContext, running
from flyte._initialize import uninstall
from flyte._local import LocalAction, LocalRun, run_local

_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
_MODULES = {"errors", "extras", "models", "notify", "remote", "report"}
# What needs a backend is tested where the backend is.
_NEEDS_BACKEND = {
    "run_python_script",
    "Deployment",
    "DryRun",
    "build",
    "build_images",
    "deploy",
    "init",
    "init_from_config",
    "init_in_cluster",
    "rerun",
    "run",
    "with_runcontext",
}


class NoController:
    """A controller that runs nothing."""

    report = None

    async def submit(self, task, args, kwargs):
        """Unused."""
        raise AssertionError

    def submit_sync(self, task, args, kwargs):
        """Unused."""
        raise AssertionError


def _examples() -> list[tuple[str, str]]:
    """Names and code of the examples of public names and their methods."""
    owners: dict[str, object] = {name: getattr(flyte, name) for name in flyte.__all__ if name not in _MODULES}
    owners = {name: owner for name, owner in owners.items() if name not in _NEEDS_BACKEND}
    owners |= {
        "Webhook": flyte.notify.Webhook,
        "Slack": flyte.notify.Slack,
        "report": flyte.report,
        "errors": flyte.errors,
        "LocalRun": LocalRun,
        "LocalAction": LocalAction,
        "run_local": run_local,
    }
    for name, owner in list(owners.items()):
        if inspect.isclass(owner):
            members = {key: getattr(owner, key) for key in vars(owner) if not key.startswith("_")}
            owners |= {f"{name}.{key}": member for key, member in members.items()}
    found = []
    for name, owner in owners.items():
        for code in _BLOCK.findall(inspect.getdoc(owner) or ""):
            found.append((name, textwrap.dedent(code)))
    return found


def _namespace() -> dict[str, object]:
    """What the examples take for granted."""
    env = flyte.TaskEnvironment("examples")

    @env.task
    async def train(rows: int) -> float:
        return rows / 2

    @env.task
    def load(path: str) -> int:
        return len(path)

    @env.task
    def clean(path: str) -> int:
        return 0

    @env.task
    def sync_task(x: int) -> int:
        return x

    @env.task
    def pipeline(x: int) -> int:
        return x * 4

    return {
        "__file__": __file__,
        "__name__": __name__,
        "asyncio": asyncio,
        "clean": clean,
        "driver": flyte.TaskEnvironment("driver"),
        "env": env,
        "flyte": flyte,
        "image": flyte.Image.from_debian_base(),
        "load": load,
        "pipeline": pipeline,
        "rates": [1, 2],
        "rows": 3,
        "run": run_local(pipeline, 5),
        "run_local": run_local,
        "sync_task": sync_task,
        "timedelta": timedelta,
        "train": train,
        "worker": flyte.TaskEnvironment("worker"),
    }


@pytest.mark.parametrize(("name", "code"), _examples(), ids=[name for name, _ in _examples()])
async def test_examples_run(name, code, tmp_path, monkeypatch):
    """What a docstring shows works as shown."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    namespace = _namespace()
    compiled = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    inside = running(TaskContext(ActionID("a0", "r")), NoController()) if "ctx()" in code else nullcontext()
    try:
        with inside:
            result = eval(compiled, namespace)
            if inspect.iscoroutine(result):
                await result
    finally:
        uninstall()  # some begin a session, which other tests must not have


def test_every_public_class_and_function_has_an_example():
    """Names that people call show how."""
    without = [
        name
        for name in flyte.__all__
        if name not in _MODULES | _NEEDS_BACKEND | {"__version__", "logger"}
        and "```python" not in (inspect.getdoc(getattr(flyte, name)) or "")
    ]
    assert without == []
