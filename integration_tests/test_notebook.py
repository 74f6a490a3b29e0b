"""Notebooks: a real kernel whose cells define, run and redefine tasks on a real backend."""

import os
import re
import textwrap
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from integration_tests.backend import BIN

CELLS = [
    """
    import flyte

    flyte.init_from_config()
    """,
    """
    from __future__ import annotations

    from dataclasses import dataclass

    env = flyte.TaskEnvironment(name="notebook", resources=flyte.Resources(cpu="250m", memory="250Mi"))

    @dataclass
    class Reading:
        name: str
        values: list[float]

    FACTOR = 2

    def scaled(values):
        return [value * FACTOR for value in values]
    """,
    """
    @env.task(cache="auto")
    async def total(reading: Reading) -> float:
        print("adding up", reading.name)
        return float(sum(scaled(reading.values)))

    @env.task
    async def main(names: list[str]) -> dict[str, float]:
        import asyncio
        totals = await asyncio.gather(*[total(Reading(name, [1.0, 2.0])) for name in names])
        return dict(zip(names, totals))
    """,
    """
    run = await flyte.run.aio(main, ["a", "b"])
    await run.wait.aio()
    print(run.inputs()["names"], run.outputs()[0], run.url)
    found = flyte.remote.Run.get(run.name)
    actions = flyte.remote.Action.listall(for_run_name=run.name)
    child = next(action for action in actions if action.task_name == "notebook.total")
    print([line.text for line in child.get_logs()])
    listed = [each.name for each in flyte.remote.Run.listall(task_name="notebook.main")]
    print(found.details().action_details.phase.value, run.name in listed)
    """,
    """
    def scaled(values):  # this cell changes a function of an earlier one
        return [value * 10 for value in values]
    """,
    """
    run = flyte.run(main, names=["c"])
    run.wait()
    print(run.result())
    """,
    """
    [deployment] = flyte.deploy(env)
    task = flyte.remote.Task.get("notebook.total", auto_version="latest")
    print(flyte.run(task, reading={"name": "d", "values": [3]}).result())
    """,
    """
    @env.task
    async def fails(x: int) -> int:
        raise ValueError(f"{x} is too small")

    try:
        flyte.run(fails, 1).result()
    except flyte.errors.RuntimeUserError as error:
        print(error.code, "raise ValueError" in error.user_traceback)
    """,
    """
    import threading

    LOCK = threading.Lock()

    @env.task
    def locked() -> None:
        with LOCK:
            pass

    try:
        flyte.run(locked)
    except flyte.errors.CodeBundleError as error:
        print(error.message)
    del env._tasks["notebook.locked"]

    included = flyte.TaskEnvironment(name="included", include=("data.csv",))

    @included.task
    def reads() -> str:
        return "x"

    try:
        flyte.run(reads)
    except ValueError as error:
        print(error)
    """,
]


@pytest.fixture
def notebook(workspace):
    """Runs cells in a kernel that works in the workspace, and gives what each of them printed."""

    def run(cells, **environ):
        made = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in cells]
        )
        client = NotebookClient(
            made,
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(workspace.directory)}},
        )
        client.execute(env={**workspace.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **environ})
        return [
            "".join(
                output.get("text", "") for output in cell.outputs if output.get("name") == "stdout"
            ).strip()
            for cell in made.cells
        ]

    return run


def test_cells_define_run_and_redefine_tasks(notebook):
    """Cells and what they refer to run on the backend; a redefined cell counts; metadata, logs and errors are there."""
    printed = notebook(CELLS)
    inputs, logs, details = printed[3].splitlines()[-3:]
    assert inputs.startswith("['a', 'b'] {'a': 6.0, 'b': 6.0} http://")
    assert logs in ("['adding up a']", "['adding up b']")
    assert details == "succeeded True"
    assert printed[5].splitlines() == ["Run 'a0' completed successfully.", "{'c': 30.0}"]
    assert printed[6] == "30.0"
    assert printed[7] == "ValueError True"
    refused, included = printed[8].splitlines()
    assert "task notebook.locked cannot be pickled" in refused
    assert included.startswith(
        "include=('data.csv',) of environment 'included' has no effect in interactive mode"
    )


def test_a_failing_cell_shows_the_error(notebook):
    """What cannot be found is the SDK's own error in the cell."""
    with pytest.raises(CellExecutionError, match="RemoteTaskNotFoundError"):
        notebook([CELLS[0], "flyte.run(flyte.remote.Task.get('no.such', auto_version='latest'))"])


def test_the_guide_works_as_it_is_written(notebook):
    """The cells of docs/guides/notebooks.md run as they are shown."""
    guide = (Path(__file__).parents[1] / "docs" / "guides" / "notebooks.md").read_text("utf-8")
    printed = notebook(re.findall(r"```python\n(.*?)```", guide, re.S))
    lines = printed[-1].splitlines()
    assert lines[:2] == ["Run 'a0' completed successfully.", lines[1]]
    assert lines[1].startswith("[0, 1, 4, 9] 4 http://")
    assert lines[-1] == "working"
