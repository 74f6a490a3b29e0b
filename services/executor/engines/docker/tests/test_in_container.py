"""An executor that runs in a container itself, with the engine's socket and its state on the host."""

from __future__ import annotations

import json
import secrets
import site
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from integration_tests.components.images import PYTHON

_ROOT = Path(__file__).parents[5]
_SOCKET = "/var/run/docker.sock"
_STATE = "/var/lib/hangar-test/executor"


@pytest.fixture
def volume(docker_url: str) -> Iterator[str]:
    """A named volume of the test's own."""
    client = docker.DockerClient(base_url=docker_url)
    made = client.volumes.create(f"hangar-test-{secrets.token_hex(4)}")
    try:
        yield made.name
    finally:
        made.remove(force=True)
        client.close()


@pytest.mark.parametrize("kind", ["volume", "directory"])
def test_workers_of_an_executor_in_a_container_find_its_files(
    docker_url: str, worker_image: str, volume: str, tmp_path: Path, kind: str
) -> None:
    """What the host calls the state directory is found out, for a named volume and for a directory of the host."""
    if docker_url != f"unix://{_SOCKET}":
        pytest.skip("the engine's socket is not where a container can have it")
    source = volume if kind == "volume" else str(tmp_path)
    packages = site.getsitepackages()[0]
    client = docker.DockerClient(base_url=docker_url)
    container = client.containers.create(
        PYTHON,
        ["python3", "-m", "services.executor.engines.tests.in_container", _STATE, worker_image],
        network_mode="none",
        environment={
            "PYTHONPATH": f"{_ROOT}:{_ROOT}/sdk:{_ROOT}/protos/gen:{packages}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        volumes={
            _SOCKET: {"bind": _SOCKET, "mode": "rw"},
            source: {"bind": str(Path(_STATE).parent), "mode": "rw"},
            str(_ROOT): {"bind": str(_ROOT), "mode": "ro"},
            packages: {"bind": packages, "mode": "ro"},
        },
    )
    try:
        container.start()
        code = container.wait(timeout=120)["StatusCode"]
        said = container.logs().decode()
        assert code == 0, said
        answer = json.loads(said.splitlines()[-1])
        assert answer == {"answer": f"{_STATE}/workers/1/work", "killed": True, "left": False}
    finally:
        container.remove(force=True, v=True)
        client.close()
