"""Kills and crowds that only containers know: many at once, the engine itself, memory, images, aborted families."""

from __future__ import annotations

from pathlib import Path

import pytest

from hangar.core.v1 import failure_pb2
from integration_tests import test_kills
from integration_tests.api import phase_of
from integration_tests.docker_backend import docker_settings
from integration_tests.polling import until
from integration_tests.test_bad_input import check_refused, hangar_up
from integration_tests.test_kills import numbers, reaches, user_of, workers

__all__ = ["user_of"]

CROWD = 50

SCRIPT = """
    import asyncio
    import os
    import subprocess
    import sys
    import time

    from notes import exists, note, worker

    import flyte

    tiny = flyte.TaskEnvironment(name="tiny", resources=flyte.Resources(cpu="100m", memory="128Mi"))
    driver = flyte.TaskEnvironment(
        name="driver", resources=flyte.Resources(cpu="100m", memory="256Mi"), depends_on=[tiny]
    )

    @tiny.task
    def one_of_many(path: str, number: int) -> int:
        note(path, f"{number} {worker()}")
        while not exists(path + ".open"):
            time.sleep(0.2)
        return number

    @driver.task
    async def crowd(path: str, count: int) -> int:
        return sum(await asyncio.gather(*(one_of_many.aio(path, number) for number in range(count))))

    @tiny.task
    def parent_of_processes(path: str) -> int:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        note(path, f"0 {worker()}")
        time.sleep(600)
        return 1

    @driver.task
    async def family(path: str) -> int:
        note(path, f"0 {worker()}")
        return sum(await asyncio.gather(*(parent_of_processes.aio(path) for _ in range(2))))

    @tiny.task
    def touches(mebibytes: int) -> int:
        data = bytearray(mebibytes * 2**20)
        for place in range(0, len(data), 4096):
            data[place] = 1
        return len(data)

    @tiny.task
    def feeds_a_process(mebibytes: int) -> str:
        '''The one that takes too much is not the worker.'''
        code = f"data = bytearray({mebibytes} * 2**20)\\nfor place in range(0, len(data), 4096): data[place] = 1"
        return f"survived {subprocess.run([sys.executable, '-c', code]).returncode}"
"""

IMAGES = """
    import flyte

    unknown = flyte.TaskEnvironment(
        name="unknown", image=flyte.Image.from_base("no-such-image-anywhere:1"),
        resources=flyte.Resources(cpu="100m", memory="128Mi"),
    )
    refused = flyte.TaskEnvironment(
        name="refused", image=flyte.Image.from_base("127.0.0.1:1/nobody/listens:1"),
        resources=flyte.Resources(cpu="100m", memory="128Mi"),
    )
    without_python = flyte.TaskEnvironment(
        name="without_python", image=flyte.Image.from_base("busybox:latest"),
        resources=flyte.Resources(cpu="100m", memory="128Mi"),
    )
    starved = flyte.TaskEnvironment(name="starved", resources=flyte.Resources(cpu="100m", memory="4Mi"))
    tight = flyte.TaskEnvironment(name="tight", resources=flyte.Resources(cpu="100m", memory="8Mi"))
    accelerated = flyte.TaskEnvironment(
        name="accelerated", resources=flyte.Resources(cpu="100m", memory="128Mi", gpu="A100:1")
    )

    @unknown.task(retries=2)
    def in_unknown() -> int:
        return 1

    @refused.task(retries=2)
    def in_refused() -> int:
        return 1

    @without_python.task(retries=2)
    def in_without_python() -> int:
        return 1

    @starved.task
    def in_starved() -> int:
        return 1

    @tight.task
    def in_tight() -> int:
        return 1

    @accelerated.task
    def in_accelerated() -> int:
        return 1
"""


@pytest.fixture
def user(make_workspace, backend):
    """A user of the shared backend with the scripts."""
    workspace = make_workspace(backend)
    workspace.share_notes()
    workspace.write("many.py", SCRIPT)
    workspace.write("images.py", IMAGES)
    return workspace


def test_the_backend_in_the_middle_of_a_warm_fan_out(make_backend, user_of):
    """Killed twice, the backend finishes the run; containers lived on, and every child ran once."""
    test_kills.test_the_backend_in_the_middle_of_a_fan_out(make_backend, user_of, True, 150)


def test_the_backend_in_the_middle_of_a_cold_fan_out(make_backend, user_of):
    """The same with a container for each child: none is started twice, and none is forgotten."""
    test_kills.test_the_backend_in_the_middle_of_a_fan_out(make_backend, user_of, False, 24)


@pytest.mark.timeout(400)
def test_fifty_containers_at_once(make_backend, make_workspace):
    """Fifty actions placed at once on two cores all run at the same time, each once, and leave nothing."""
    backend = make_backend(HANGAR_EXECUTOR_CPU="16", HANGAR_EXECUTOR_MEMORY="32Gi")
    user = make_workspace(backend)
    user.share_notes()
    user.write("many.py", SCRIPT)
    path = user.directory / "lines"
    run = user.launch("many.py", "crowd", "--path", path, "--count", CROWD)
    until(lambda: numbers(path).total() >= CROWD, "all of them run", 300)
    assert len(backend.host.running()) == CROWD + 1, (
        "all at the same time, beside the one that waits for them"
    )
    Path(f"{path}.open").touch()
    assert backend.api.succeeded(run, 120) == sum(range(CROWD))
    assert numbers(path) == dict.fromkeys(range(CROWD), 1)
    assert len(set(workers(path))) == CROWD, "a container each"
    assert {each.attempt_count for each in backend.api.actions(run)} == {1}
    until(lambda: not backend.host.containers(), "no container is left", 60)


def test_an_abort_ends_containers_with_all_that_is_in_them(backend, user):
    """A run is aborted only when the containers of parent and children, and what they started, are gone."""
    path = user.directory / "lines"
    run = user.launch("many.py", "family", "--path", path)
    reaches(path, 3)
    backend.api.abort(run, "enough")
    backend.api.wait(run)
    until(lambda: {phase_of(each) for each in backend.api.actions(run)} == {"aborted"}, "all is aborted")
    names = set(workers(path))
    until(lambda: not names & {each.name for each in backend.host.containers()}, "no container is left", 30)


def test_an_abort_survives_a_kill(make_backend, make_workspace):
    """A run that is aborted just before the backend is killed is aborted after the restart, containers and all."""
    backend = make_backend()
    user = make_workspace(backend)
    user.share_notes()
    user.write("many.py", SCRIPT)
    path = user.directory / "lines"
    run = user.launch("many.py", "family", "--path", path)
    reaches(path, 3)
    backend.api.abort(run, "just in time")
    backend.kill()
    backend.start()
    ended = backend.api.wait(run)
    assert (phase_of(ended), ended.abort_reason) == ("aborted", "just in time")
    until(lambda: not backend.host.containers(), "no container is left", 30)


def test_memory_of_a_container(backend, user):
    """A container over its memory limit is an OOM failure with the peak, and a user retry is not used for it."""
    run = user.launch("many.py", "touches", "--mebibytes", 300)
    ended = backend.api.wait(run)
    assert (phase_of(ended), ended.failure.code) == ("failed", "OutOfMemory"), ended
    [attempt] = backend.api.action(run).attempts
    assert attempt.peak_memory_bytes > 100 * 2**20


def test_memory_of_a_process_in_a_container(backend, user):
    """When a process of the task takes too much, either it alone ends or the whole container: never another one."""
    run = user.launch("many.py", "feeds_a_process", "--mebibytes", 300)
    ended = backend.api.wait(run)
    if phase_of(ended) == "succeeded":
        assert backend.api.outputs(run)["o0"] == "survived -9"
    else:
        assert ended.failure.code == "OutOfMemory", ended


def test_workers_whose_backend_never_returns_end_by_themselves(make_backend, user_of):
    """After the orphan time to live no container of the executor runs."""
    backend = make_backend(HANGAR_EXECUTOR_ORPHAN_TTL="3")
    user, path = user_of(backend)
    user.launch("fan_out.py", "gated", "--path", path, "--count", 2, "--in-one-worker", "false")
    reaches(path, 2)
    backend.kill()
    until(lambda: not backend.host.running(), "no container runs", 30)
    assert backend.processes() == []


@pytest.mark.parametrize(
    ("task", "kind", "texts"),
    [
        ("in_without_python", "IMAGE", ["no python3", "base image"]),
        ("in_starved", "OOM", ["memory"]),
        ("in_tight", "OOM", ["memory"]),
        ("in_accelerated", "", ["A100"]),
    ],
)
def test_what_cannot_run_says_why(backend, user, task, kind, texts):
    """An image without Python, too little memory, devices that nobody has."""
    before = {each.name for each in backend.host.containers()}
    run = user.launch("images.py", task)
    ended = backend.api.wait(run, 120)
    assert phase_of(ended) == "failed"
    for text in texts:
        assert text in ended.failure.message, ended.failure.message
    if kind:
        assert (
            ended.failure.DESCRIPTOR.fields_by_name["kind"]
            .enum_type.values_by_number[ended.failure.kind]
            .name.endswith(kind)
        ), ended.failure
    assert "Traceback" not in ended.failure.message
    until(lambda: {each.name for each in backend.host.containers()} <= before, "nothing of it is left", 30)


@pytest.mark.parametrize(
    ("task", "text"),
    [("in_unknown", "no-such-image-anywhere:1"), ("in_refused", "127.0.0.1:1/nobody/listens:1")],
)
def test_a_registry_that_is_away_is_no_fault_of_the_task(backend, user, task, text):
    """An image whose registry cannot be reached is tried again; the attempt says which image and why."""
    run = user.launch("images.py", task)

    def failures():
        return [each.failure for each in backend.api.action(run).attempts if each.HasField("failure")]

    until(failures, "an attempt has failed", 120)
    first = failures()[0]
    assert text in first.message
    assert first.kind == failure_pb2.FAILURE_KIND_SYSTEM, first
    backend.api.abort(run, "the registry stays away")
    assert phase_of(backend.api.wait(run, 60)) == "aborted"


@pytest.mark.parametrize(
    ("name", "value", "texts"),
    [
        ("HANGAR_EXECUTOR_DOCKER", "unix:///no/such/socket", ["/no/such/socket"]),
        ("HANGAR_EXECUTOR_DOCKERS", "1", ["HANGAR_EXECUTOR_DOCKERS", "HANGAR_EXECUTOR_DOCKER"]),
        ("HANGAR_EXECUTOR_ENGINE", "podman", ["HANGAR_EXECUTOR_ENGINE", "podman", "docker"]),
        ("HANGAR_EXECUTOR_NETWORK", "everything", ["HANGAR_EXECUTOR_NETWORK", "everything", "outside"]),
        (
            "HANGAR_EXECUTOR_NETWORK_ALLOW",
            '["10.0.0.300/8"]',
            ["HANGAR_EXECUTOR_NETWORK_ALLOW", "10.0.0.300/8"],
        ),
        ("HANGAR_EXECUTOR_USER", "0:0", ["HANGAR_EXECUTOR_USER", "0:0"]),
        ("HANGAR_EXECUTOR_TMP", "lots", ["HANGAR_EXECUTOR_TMP", "lots"]),
    ],
)
def test_wrong_settings_of_the_engine(place, docker_url, name, value, texts):
    """A setting of the engine that is wrong or unknown is named at the start, and nothing starts."""
    settings = {**docker_settings(docker_url), name: value}
    check_refused(hangar_up(place / "wrong-docker-settings", **settings), *texts)
