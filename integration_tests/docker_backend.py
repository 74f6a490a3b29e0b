"""What backends on the Docker engine need for tests."""

from __future__ import annotations

from pathlib import Path

from integration_tests.backend import Backend
from integration_tests.workspace import Workspace

_BUILD_SECONDS = 500

_HELLO = """
    import flyte

    env = flyte.TaskEnvironment(name="hello", resources=flyte.Resources(cpu="250m", memory="256Mi"))

    @env.task
    def hello() -> str:
        return "hello"
"""


def docker_settings(docker_url: str) -> dict[str, str]:
    """Settings of an executor that choose the Docker engine."""
    return {"HANGAR_EXECUTOR_ENGINE": "docker", "HANGAR_EXECUTOR_DOCKER": docker_url}


def make_default_image(backend: Backend, directory: Path) -> None:
    """Runs a task in the default image, which is built when the engine does not have it."""
    user = Workspace(directory, backend.grpc)
    user.write("hello.py", _HELLO)
    run = user.launch("hello.py", "hello")
    assert backend.api.succeeded(run, _BUILD_SECONDS) == "hello"
    assert backend.host is not None
    assert backend.host.identity, "the executor used its Docker engine"
