"""Deployed tasks: called by name from programs, from the command line and from tasks of other code."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from integration_tests.backend import BIN

LIBRARY = """
    from dataclasses import dataclass
    from datetime import datetime

    import flyte

    helper = flyte.TaskEnvironment(name="lib_helper", resources=flyte.Resources(cpu="250m", memory="200Mi"))
    env = flyte.TaskEnvironment(
        name="lib", resources=flyte.Resources(cpu="250m", memory="200Mi"), depends_on=[helper]
    )

    @dataclass
    class Reading:
        at: datetime
        values: list[float]
        label: str = "none"

    @helper.task
    def total(values: list[float]) -> float:
        return sum(values)

    @env.task
    async def describe(reading: Reading, factor: float = 2.0) -> Reading:
        '''Adds up a reading.'''
        total_ = await total.aio(reading.values)
        return Reading(reading.at, [total_ * factor], f"VERSION of {reading.label}")

    @env.task
    def fails() -> None:
        raise ValueError("as asked")
"""

CALLER = """
    import asyncio

    import flyte
    from flyte.remote import Task

    env = flyte.TaskEnvironment(name="caller", resources=flyte.Resources(cpu="250m", memory="200Mi"))
    LATEST = Task.get("lib.describe", auto_version="latest")

    @env.task
    async def main(label: str) -> str:
        found = await LATEST(reading={"at": "2025-01-02T03:04:05", "values": [1, 2], "label": label})
        total = await Task.get("lib_helper.total", auto_version="latest").override(short_name="sum")(values=[4.0])
        return f"{found.at.year} {found['values'][0]} {found.label} {total}"

    @env.task
    def blocking() -> list[float]:
        async def both():
            total = Task.get("lib_helper.total", auto_version="latest")
            return await asyncio.gather(total(values=[1.0]), total(values=[2.0]))
        return asyncio.run(both())

    @env.task
    async def own(x: int) -> str:
        try:
            await Task.get("caller.other", auto_version="current")(x=x)
        except flyte.errors.RemoteTaskNotFoundError as error:
            return f"not found: {error.message}"
        return "found"

    @env.task
    async def careful() -> list[str]:
        seen = []
        for call in (
            lambda: Task.get("lib.no_such", auto_version="latest")(),
            lambda: Task.get("lib.fails", auto_version="latest")(),
            lambda: Task.get("lib.describe", version="v0")(reading={}),
            lambda: LATEST(reading={"values": "many"}),
            lambda: LATEST({"values": []}),
        ):
            try:
                await call()
            except flyte.errors.BaseRuntimeError as error:
                seen.append(f"{type(error).__name__} {error.code}")
        return seen
"""

CLIENT = """
    import sys

    import flyte
    from flyte.remote import Task

    flyte.init_from_config()
    run = flyte.run(
        Task.get("lib.describe", version=sys.argv[1]),
        reading={"at": "2025-01-02T03:04:05", "values": [1, 2], "label": "client"},
    )
    result = run.result()
    print(type(result).__name__, result.at.year, result["values"], result.label)
"""


def deployed(workspace, *arguments):
    """Deploys and returns what the command says of it."""
    return json.loads(workspace.flyte("-of", "json", "deploy", *arguments).out)


@pytest.fixture
def library(workspace):
    """A workspace in which the library is deployed as v1."""
    workspace.write("library.py", LIBRARY.replace("VERSION", "v1"))
    deployed(workspace, "--version", "v1", "library.py", "env")
    return workspace


def test_tasks_of_other_code_are_called_by_name(library):
    """The caller has neither module nor classes; the newest version is the one deployed last; errors are typed."""
    library.write("library.py", LIBRARY.replace("VERSION", "v2"))
    [first] = library.flyte("run", "deployed-task", "lib.describe:v1", "--help").lines[:1]
    assert first.startswith("Usage: flyte run deployed-task lib.describe:v1")
    (library.directory / "library.py").rename(library.directory / "elsewhere.txt")
    library.write("caller.py", CALLER)
    assert library.flyte("run", "caller.py", "main", "--label", "x").lines[-1] == "2025 6.0 v1 of x 4.0"
    (library.directory / "elsewhere.txt").rename(library.directory / "library.py")
    deployed(library, "--version", "v2", "--all", "library.py")
    assert library.flyte("run", "caller.py", "main", "--label", "x").lines[-1] == "2025 6.0 v2 of x 4.0"
    library.write("library.py", LIBRARY.replace("VERSION", "v1"))
    assert sorted(deployed(library, "--version", "v1", "library.py", "env")["changed"]) == [
        "lib.describe", "lib.fails", "lib_helper.total",
    ]  # fmt: skip
    assert deployed(library, "--version", "v1", "library.py", "env")["changed"] == []
    assert library.flyte("run", "caller.py", "main", "--label", "x").lines[-1] == "2025 6.0 v1 of x 4.0"
    assert json.loads(library.flyte("run", "caller.py", "blocking").lines[-1]) == [1.0, 2.0]
    assert json.loads(library.flyte("run", "caller.py", "careful").lines[-1]) == [
        "RemoteTaskNotFoundError RemoteTaskNotFoundError",
        "RuntimeUserError ValueError",
        "RemoteTaskNotFoundError RemoteTaskNotFoundError",
        "RuntimeDataValidationError RuntimeDataValidationError",
        "RemoteTaskUsageError RemoteTaskUsageError",
    ]


def test_current_is_the_version_of_the_caller(workspace):
    """Code that is only run does not find other tasks of its version; once it is deployed it does."""
    other = CALLER + "\n    @env.task\n    def other(x: int) -> int:\n        return x\n"
    workspace.write("caller.py", other)
    ephemeral = workspace.flyte("run", "caller.py", "own", "--x", "1").lines[-1]
    assert ephemeral.startswith("not found: task 'caller.other' in version")
    deployed(workspace, "caller.py", "env")
    assert workspace.flyte("run", "deployed-task", "caller.own", "--x", "1").lines[-1] == "found"


def test_a_program_runs_a_deployed_task(library, backend):
    """flyte.run takes the handle; grpcurl shows the task and its versions; ephemeral runs are not listed."""
    library.write("client.py", CLIENT)
    assert library.python("client.py", "v1").lines[-1] == "Record 2025 [6.0] v1 of client"
    run = library.flyte("run", "deployed-task", "lib_helper.total:v1", "--values", "[1]").lines[0]
    for name, place in (("lib.describe:v1", "one"), (run, "two")):
        shown = library.flyte("get", "code", name, "-o", place).lines[-1]
        assert shown == f"Wrote 1 file to {place}."
        assert "v1 of" in (library.directory / place / "library.py").read_text()
    assert "not an empty directory" in library.flyte("get", "code", run, "-o", "two", code=2).err
    library.write("only.py", ENV.format(name="only_run") + "@env.task\ndef f() -> int:\n    return 1\n")
    library.flyte("run", "only.py", "f")

    def grpcurl(method, **data):
        request = json.dumps({"project": "default", "domain": "development", **data})
        command = [str(BIN / "grpcurl"), "-plaintext", "-d", request, backend.grpc]
        done = subprocess.run(
            [*command, f"hangar.admin.v1.TaskService/{method}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return json.loads(done.stdout)

    names = [task["spec"]["name"] for task in grpcurl("ListTasks")["tasks"]]
    assert {"lib.describe", "lib.fails", "lib_helper.total"} <= set(names)
    assert "only_run.f" not in names
    task = grpcurl("GetTask", name="lib.describe", version="v1")["task"]
    assert task["spec"]["description"] == "Adds up a reading."
    assert "v1" in [
        each["spec"]["code"]["version"] for each in grpcurl("ListTaskVersions", name="lib.describe")["tasks"]
    ]


ENV = """import flyte
env = flyte.TaskEnvironment(name="{name}", resources=flyte.Resources(cpu="250m", memory="200Mi"))
"""

PATTERNS = {
    "single-file": ({"one.py": ENV.format(name="single_file") + "@env.task\ndef f() -> str:\n    return 'one'\n"},
                    ["one.py", "env"], {}),
    "root-dir": ({"pkg/tasks/main.py": "from pkg.names import NAME\n" + ENV.format(name="root_dir")
                  + "@env.task\ndef f() -> str:\n    return NAME\n",
                  "pkg/names.py": "NAME = 'rooted'\n"},
                 ["--root-dir", ".", "pkg/tasks/main.py", "env"], {}),
    "python-path": ({"lib/shared.py": "WORD = 'on the path'\n",
                     "app/main.py": "from shared import WORD\n" + ENV.format(name="python_path")
                     + "@env.task\ndef f() -> str:\n    return WORD\n"},
                    ["--root-dir", ".", "app/main.py", "env"], {"PYTHONPATH": "lib:app"}),
    "src-package": ({"pyproject.toml": "[project]\nname = 'shop'\nversion = '1'\n",
                     "src/shop/__init__.py": "",
                     "src/shop/prices.py": "PRICE = 'src'\n",
                     "src/shop/main.py": "from .prices import PRICE\n" + ENV.format(name="src_package")
                     + "@env.task\ndef f() -> str:\n    return PRICE\n"},
                    ["--root-dir", "src", "src/shop/main.py", "env"], {}),
    "env-var": ({"main.py": "import os\nimport flyte\nSTAGE = os.environ.get('STAGE', 'dev')\n"
                 "env = flyte.TaskEnvironment(name=f'stage_{STAGE}', env_vars={'STAGE': STAGE}, "
                 "resources=flyte.Resources(cpu='250m', memory='200Mi'))\n"
                 "@env.task\ndef f() -> str:\n    return STAGE\n"},
                ["main.py", "env"], {"STAGE": "prod"}),
    "monorepo": ({"packages/common/src/common/__init__.py": "TEXT = 'common'\n",
                  "packages/app/src/app/__init__.py": "",
                  "packages/app/src/app/flows.py": "from common import TEXT\n" + ENV.format(name="monorepo")
                  + "@env.task\ndef f() -> str:\n    return TEXT\n"},
                 ["--recursive", "--root-dir", ".", "packages/app"],
                 {"PYTHONPATH": "packages/common/src:packages/app/src"}),
}  # fmt: skip

EXPECTED = {
    "single-file": ("single_file.f", "one"),
    "root-dir": ("root_dir.f", "rooted"),
    "python-path": ("python_path.f", "on the path"),
    "src-package": ("src_package.f", "src"),
    "env-var": ("stage_prod.f", "prod"),
    "monorepo": ("monorepo.f", "common"),
}


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_layouts_of_projects_deploy_and_run(workspace, pattern):
    """Each documented layout is deployed from its root, and the worker imports it as the author does."""
    files, arguments, environ = PATTERNS[pattern]
    for name, text in files.items():
        workspace.write(name, text)
    workspace.environ.update(environ)
    task, answer = EXPECTED[pattern]
    assert [row["name"] for row in deployed(workspace, *arguments)["entities"]] == [task]
    assert workspace.flyte("run", "deployed-task", task).lines[-1] == answer


def test_one_file_under_two_names_is_refused_with_the_way_out(workspace):
    """The error for a duplicate name that an import under two names caused says how to say where imports start."""
    workspace.write("src/shop/__init__.py", "")
    workspace.write(
        "src/shop/base.py", ENV.format(name="base") + "@env.task\ndef f() -> int:\n    return 1\n"
    )
    workspace.write("src/shop/main.py", "import sys, pathlib\n"
                    "sys.path.insert(0, str(pathlib.Path(__file__).parent))\nimport base\n"
                    "from shop.base import env as other\nimport flyte\n"
                    "env = flyte.TaskEnvironment(name='main', depends_on=[base.env, other])\n"
                    "@env.task\ndef g() -> int:\n    return 1\n")  # fmt: skip
    refused = workspace.flyte("deploy", "--root-dir", "src", "src/shop/main.py", "env", code=2)
    assert "Duplicate environment name 'base'" in refused.err
    assert "--root-dir src" in refused.err


def test_the_guide_works_as_it_is_written(workspace):
    """The files of docs/guides/deploying.md are deployed and called as the guide says."""
    guide = (Path(__file__).parents[1] / "docs" / "guides" / "deploying.md").read_text("utf-8")
    for name, text in re.findall(r"```python\n# (\S+)\n(.*?)```", guide, re.S):
        workspace.write(name, text)
    workspace.flyte("deploy", "prices.py", "env")
    items = '[{"name": "tea", "price": 4.0}]'
    assert workspace.flyte("run", "deployed-task", "shop.total", "--items", items).lines[-1] == "4.0"
    (workspace.directory / "prices.py").unlink()
    assert workspace.python("client.py").lines[-1] == "2.0"
    assert workspace.flyte("run", "order.py", "order", "--names", '["a", "b"]').lines[-1] == "pay 3.0"
