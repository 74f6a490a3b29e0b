"""flyte.deploy and deployed tasks, against admin's API over real gRPC."""

from __future__ import annotations

import asyncio
import json

import pytest

import flyte
from flyte.remote import Task

TASKS = """
    from dataclasses import dataclass
    import flyte
    helper = flyte.TaskEnvironment(name="helper_env")
    env = flyte.TaskEnvironment(name="my_env", depends_on=[helper], env_vars={"A": "1"})
    other = flyte.TaskEnvironment(name="other_env")

    @dataclass
    class Point:
        x: int
        y: int = 0

    @helper.task
    def double(x: int) -> int:
        return 2 * x

    @env.task(retries=1)
    def move(point: Point, by: int = 1) -> Point:
        return point
"""


@pytest.fixture
def tasks(admin, user_module):
    """User code, with the SDK connected to the backend."""
    flyte.init(endpoint=admin.endpoint, insecure=True, project="default")
    return user_module("deployed_tasks", TASKS)


def test_a_deployment_has_everything_that_the_environment_depends_on(admin, tasks):
    """All tasks get one version, the code goes along, and the tables say what there is."""
    [deployment] = flyte.deploy(tasks.env)
    assert list(deployment.envs) == ["my_env", "helper_env"]
    assert {task.spec.name: task.spec.code.version for task in admin.deployed} == {
        "my_env.move": deployment.version,
        "helper_env.double": deployment.version,
    }
    assert [dict(row)["environment"] for row in deployment.env_repr()] == ["my_env", "helper_env"]
    assert [dict(row) for row in deployment.table_repr()] == [
        {"type": "task", "name": name, "version": deployment.version, "triggers": ""}
        for name in ("my_env.move", "helper_env.double")
    ]
    summary = f"Deployed 2 tasks of 2 environments to default/development as version {deployment.version} (2 changed)"
    assert deployment.summary_repr() == summary
    digest = admin.deployed[0].spec.code.bundle_digest
    assert f"code/{digest}.tar.gz" in admin.blobs


def test_the_version_follows_from_the_content(admin, tasks, user_module):
    """Deploying what has not changed changes nothing; other code, settings or images are another version."""
    first = flyte.deploy(tasks.env)[0]
    again = flyte.deploy(tasks.env)[0]
    assert (again.version, "nothing changed" in again.summary_repr(), len(admin.deployed)) == (
        first.version,
        True,
        2,
    )
    tasks.helper.env_vars = {"B": "2"}
    settings = flyte.deploy(tasks.env)[0]
    tasks.env._image = flyte.Image.from_debian_base().with_pip_packages("pandas")
    image = flyte.deploy(tasks.env)[0]
    path = user_module.root / "deployed_tasks.py"
    path.write_text(path.read_text() + "\n# changed")
    code = flyte.deploy(tasks.env)[0]
    assert len({first.version, settings.version, image.version, code.version}) == 4


def test_a_dry_run_sends_nothing(admin, tasks):
    """It says what would be deployed, under both spellings; no backend is asked."""
    for spelling in ({"dryrun": True}, {"dry_run": True}):
        [deployment] = flyte.deploy(tasks.env, version="v9", **spelling)
        assert deployment.summary_repr().startswith("Would deploy 2 tasks of 2 environments")
        assert [task.version for task in deployment.tasks] == ["v9", "v9"]
    assert not admin.deployed
    assert not admin.blobs


def test_what_cannot_be_deployed_is_refused(admin, tasks):
    """No tasks, no version for code that is not sent, other content under one version, no environment."""
    with pytest.raises(flyte.errors.DeploymentError, match="nothing to deploy: other_env has no tasks"):
        flyte.deploy(tasks.other)
    with pytest.raises(flyte.errors.DeploymentError, match="nothing to deploy"):
        flyte.deploy()
    with pytest.raises(flyte.errors.DeploymentError, match='copy_style="none" needs version'):
        flyte.deploy(tasks.env, copy_style="none")
    with pytest.raises(ValueError, match="version='a b/c' is not valid"):
        flyte.deploy(tasks.env, version="a b/c")
    with pytest.raises(TypeError, match="takes environments"):
        flyte.deploy(tasks.move)
    with pytest.raises(ValueError, match="Duplicate environment name 'helper_env'"):
        flyte.deploy(tasks.env, flyte.TaskEnvironment(name="helper_env"))
    flyte.deploy(tasks.env, version="v1")
    tasks.env.env_vars = {"A": "2"}
    with pytest.raises(flyte.errors.DeploymentError, match="other content"):
        flyte.deploy(tasks.env, version="v1")


def test_a_deployed_task_is_run_by_name_without_its_classes(admin, tasks):
    """Inputs are dicts, checked against the definition; outputs are records; the run has the deployed version."""
    flyte.deploy(tasks.env, version="v1")
    flyte.deploy(tasks.env, version="v2")
    handle = Task.get("my_env.move", auto_version="latest")
    run = flyte.run(handle, point={"x": 1})
    request = admin.runs[run.name].request
    assert (request.task.code.version, json.loads(request.inputs.inline)) == (
        "v2",
        {"point": {"x": 1}, "by": 1},
    )
    admin.change(lambda: admin.succeed(admin.runs[run.name], b'{"o0":{"x":1,"y":7}}'))
    result = run.result()
    assert (result.x, result["y"]) == (1, 7)
    older = flyte.run(Task.get("my_env.move", version="v1").fetch(), point={"x": 1}, by=3)
    assert admin.runs[older.name].request.task.code.version == "v1"
    with pytest.raises(flyte.errors.RuntimeDataValidationError, match="missing x"):
        flyte.run(handle, point={"y": 1})
    with pytest.raises(TypeError, match="unexpected keyword argument 'to'"):
        flyte.run(handle, point={"x": 1}, to=5)


class Board:
    """A page elsewhere."""

    name = "Board"

    def get_link(self, run_name, **_):
        """Its address."""
        return f"https://board/{run_name}"


def test_an_override_changes_the_definition_that_is_run(admin, tasks):
    """Settings are checked at once and go over those of the deployment; the handle itself stays as it was."""
    flyte.deploy(tasks.env)
    handle = Task.get("my_env.move", auto_version="latest")
    changed = handle.override(
        retries=3,
        timeout=60,
        env_vars={"C": "3"},
        resources=flyte.Resources(cpu=2),
        cache=flyte.Cache("override", version_override="1"),
        short_name="moved",
        links=[Board()],
        entrypoint=True,
    )
    spec = admin.runs[flyte.run(changed, point={"x": 1}).name].request.task
    assert (spec.retry.count, spec.timeout.max_runtime_millis, dict(spec.env_vars)) == (3, 60_000, {"C": "3"})
    assert (spec.resources.cpu_millis, spec.short_name, bool(spec.cache.version)) == (2000, "moved", True)
    link = spec.links[0]
    assert (link.name, link.url, spec.entrypoint) == ("Board", "https://board/__hangar_run_name__", True)
    plain = admin.runs[flyte.run(handle, point={"x": 1}).name].request.task
    assert (plain.retry.count, dict(plain.env_vars), plain.HasField("cache")) == (1, {"A": "1"}, False)
    with pytest.raises(flyte.errors.RemoteTaskUsageError, match="needs the function"):
        handle.override(cache="auto")
    with pytest.raises(TypeError, match="unexpected keyword argument 'image'"):
        handle.override(image="x")
    with pytest.raises(TypeError, match="resources"):
        handle.override(resources="2 cores")
    with pytest.raises(TypeError, match="links"):
        handle.override(links=["https://board"])
    with pytest.raises(TypeError, match="entrypoint"):
        handle.override(entrypoint="yes")


def test_a_handle_is_lazy_and_says_what_is_wrong_when_it_is_used(admin, tasks):
    """Exactly one way to name the version; what does not exist or cannot be called so is a typed error at the call."""
    for wrong in (
        {},
        {"version": "v1", "auto_version": "latest"},
        {"version": ""},
        {"auto_version": "newest"},
    ):
        with pytest.raises(ValueError, match=r"version"):
            Task.get("my_env.move", **wrong)
    with pytest.raises(ValueError, match="environment and task"):
        Task.get("move", auto_version="latest")
    handle = Task.get("my_env.no", auto_version="latest")
    with pytest.raises(flyte.errors.RemoteTaskNotFoundError, match=r"my_env\.no"):
        flyte.run(handle)
    with pytest.raises(flyte.errors.RemoteTaskNotFoundError, match=r"my_env\.no"):
        handle.fetch()
    with pytest.raises(flyte.errors.RemoteTaskUsageError, match="not by position"):
        flyte.run(handle, 1)
    with pytest.raises(flyte.errors.RemoteTaskUsageError, match=r"flyte\.run"):
        handle(x=1)
    with pytest.raises(flyte.errors.RemoteTaskUsageError, match="cannot run locally"):
        flyte.with_runcontext(mode="local").run(handle, x=1)
    with pytest.raises(flyte.errors.RemoteTaskUsageError, match="version of the calling task"):
        flyte.run(Task.get("my_env.move", auto_version="current"))
    with pytest.raises(ValueError, match="has no effect"):
        flyte.with_runcontext(version="v1").run(handle)


def test_deployed_tasks_are_listed(admin, tasks):
    """By name in their newest version, or the versions of one; filters apply; every way has its twin."""
    flyte.deploy(tasks.env, version="v1")
    flyte.deploy(tasks.env, version="v2")
    assert [(t.name, t.version) for t in Task.listall()] == [
        ("helper_env.double", "v2"),
        ("my_env.move", "v2"),
    ]
    assert [task.version for task in Task.listall(by_task_name="my_env.move")] == ["v2", "v1"]
    assert [task.name for task in Task.listall(by_task_env="my_env", limit=1)] == ["my_env.move"]
    assert not list(Task.listall(entrypoint=True))

    async def twins():
        handle = await Task.get.aio("my_env.move", version="v1")
        task = await handle.fetch.aio()
        return task.version, [each.name async for each in Task.listall.aio()]

    assert asyncio.run(twins()) == ("v1", ["helper_env.double", "my_env.move"])
    task = Task.get("my_env.move", auto_version="latest").fetch()
    assert (task.inputs, task.environment, task.deployed_at is not None) == (
        {"point": "JSON", "by": "INTEGER"},
        "my_env",
        True,
    )


def test_a_task_that_calls_a_deployed_one_is_refused_in_local_mode():
    """There is nothing deployed in a process, and the error says so."""
    env = flyte.TaskEnvironment(name="local_env")

    @env.task
    async def caller() -> int:
        return await Task.get("my_env.move", auto_version="latest")(x=1)

    run = flyte.with_runcontext(mode="local").run(caller)
    with pytest.raises(flyte.errors.RemoteTaskUsageError, match="local mode"):
        run.result()
