"""The API through a real grpcurl: reflection, health, calls."""

import json
import subprocess

import pytest

from integration_tests.backend import BIN

SERVICES = {
    "grpc.health.v1.Health",
    "hangar.admin.v1.DataService",
    "hangar.admin.v1.LogService",
    "hangar.admin.v1.ProjectService",
    "hangar.admin.v1.RunService",
    "hangar.admin.v1.TaskService",
    "hangar.app.v1.AppService",
    "hangar.executor.v1.ExecutorService",
    "hangar.image.v1.ImageService",
    "hangar.scheduler.v1.NodeService",
    "hangar.scheduler.v1.SchedulerService",
}

HELLO = """
    import flyte

    env = flyte.TaskEnvironment(name="env")

    @env.task
    def hello(name: str) -> str:
        return f"Hello, {name}!"
"""


@pytest.fixture
def grpcurl(backend):
    """Runs grpcurl against the backend and returns what it ended as."""

    def call(*arguments, data=None):
        body = ["-d", json.dumps(data)] if data is not None else []
        command = [str(BIN / "grpcurl"), "-plaintext", "-max-time", "20", *body, backend.grpc, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return call


def test_services_are_listed_and_described(grpcurl):
    """Reflection shows every service, its methods, and the comments-free shape of its messages."""
    listed = set(grpcurl("list").stdout.split())
    assert listed >= SERVICES
    assert (
        "hangar.admin.v1.RunService.CreateRun" in grpcurl("list", "hangar.admin.v1.RunService").stdout.split()
    )
    described = grpcurl("describe", "hangar.admin.v1.Run").stdout
    assert "hangar.core.v1.Phase phase" in described


def test_health_of_all_and_of_each_service(grpcurl):
    """Health is SERVING for the process and for each service; an unknown one is not found."""
    for name in ["", *(service for service in SERVICES if service.startswith("hangar."))]:
        done = grpcurl("grpc.health.v1.Health/Check", data={"service": name})
        assert json.loads(done.stdout) == {"status": "SERVING"}, name
    assert "NotFound" in grpcurl("grpc.health.v1.Health/Check", data={"service": "nobody"}).stderr


def test_projects(grpcurl):
    """The default project is there, with its three domains."""
    [project] = json.loads(grpcurl("hangar.admin.v1.ProjectService/ListProjects", data={}).stdout)["projects"]
    assert project["id"] == "default"
    assert project["domains"] == ["development", "staging", "production"]


def test_a_run_its_actions_and_data(grpcurl, workspace):
    """A run that the SDK made is readable without the SDK, down to its inputs and outputs."""
    workspace.write("hello.py", HELLO)
    name = workspace.flyte("run", "hello.py", "hello", "--name", "World").lines[0]
    identifier = {"project": "default", "domain": "development", "name": name}
    run = json.loads(grpcurl("hangar.admin.v1.RunService/GetRun", data={"id": identifier}).stdout)["run"]
    assert (run["phase"], run["task_name"], run["action_count"]) == ("PHASE_SUCCEEDED", "env.hello", "1")
    listed = json.loads(grpcurl("hangar.admin.v1.RunService/ListActions", data={"run": identifier}).stdout)
    assert [action["id"]["name"] for action in listed["actions"]] == ["a0"]
    missing = grpcurl(
        "hangar.admin.v1.RunService/GetRun", data={"id": {**identifier, "name": "nothing-here"}}
    )
    assert "Code: NotFound" in missing.stderr
    assert "nothing-here" in missing.stderr
