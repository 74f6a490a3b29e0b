"""`kill -9` of every part in the middle of work: nothing is lost, nothing runs twice, nothing is left."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from integration_tests.api import phase_of
from integration_tests.polling import until

FAN_OUT = """
    import asyncio
    import time

    from notes import exists, note, worker

    import flyte

    pool = flyte.TaskEnvironment(
        name="pool", resources=flyte.Resources(cpu=1, memory="256Mi"),
        reusable=flyte.ReusePolicy(replicas=2, concurrency=1),
    )
    shared = flyte.TaskEnvironment(
        name="shared", resources=flyte.Resources(cpu=1, memory="256Mi"),
        reusable=flyte.ReusePolicy(replicas=1, concurrency=4),
    )
    cold = flyte.TaskEnvironment(name="cold", resources=flyte.Resources(cpu="500m", memory="256Mi"))
    driver = flyte.TaskEnvironment(
        name="driver", resources=flyte.Resources(cpu="500m", memory="256Mi"), depends_on=[pool, shared, cold]
    )

    def append(path: str, number: int) -> int:
        note(path, f"{number} {worker()}")
        return number

    @pool.task
    def warm_child(path: str, number: int) -> int:
        time.sleep(0.03)
        return append(path, number)

    @cold.task
    def cold_child(path: str, number: int) -> int:
        return append(path, number)

    @driver.task
    async def fan_out(path: str, count: int, warm: bool) -> int:
        append(path + ".parents", 0)
        child = warm_child if warm else cold_child
        return sum(await asyncio.gather(*(child.aio(path, number) for number in range(count))))

    async def gate(path: str, number: int) -> int:
        append(path, number)
        while not exists(path + ".open"):
            await asyncio.sleep(0.05)
        return number

    @pool.task
    async def one_at_a_time(path: str, number: int) -> int:
        return await gate(path, number)

    @shared.task
    async def together(path: str, number: int) -> int:
        return await gate(path, number)

    @driver.task
    async def gated(path: str, count: int, in_one_worker: bool) -> int:
        child = together if in_one_worker else one_at_a_time
        return sum(await asyncio.gather(*(child(path, number) for number in range(count))))

    @driver.task
    async def parent(path: str, count: int) -> int:
        '''Half of its children have ended, the other half waits at the gate.'''
        append(path + ".parents", 0)
        first = await asyncio.gather(*(warm_child.aio(path, number) for number in range(count)))
        second = await asyncio.gather(*(together(path, count + number) for number in range(count)))
        return sum([*first, *second])
"""

WIDTH = 200


def numbers(path: Path) -> Counter[int]:
    """How often each child has written its line."""
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(int(line.split()[0]) for line in lines)


def workers(path: Path) -> list[str]:
    """Names of the workers that have written lines, in their order."""
    return [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def user_of(make_workspace):
    """Makes a user of a backend, with the script; returns it and the file that children write to."""

    def make(backend):
        workspace = make_workspace(backend)
        workspace.share_notes()
        workspace.write("fan_out.py", FAN_OUT)
        return workspace, workspace.directory / "lines"

    return make


def reaches(path: Path, count: int) -> None:
    """Waits until so many lines are written."""
    until(lambda: numbers(path).total() >= count, f"{count} lines in {path}", 120)


def check_each_once(backend, run: str, path: Path, count: int) -> None:
    """The run succeeded, and every child ran once, in one attempt."""
    assert backend.api.succeeded(run, 150) == sum(range(count))
    assert numbers(path) == dict.fromkeys(range(count), 1)
    actions = backend.api.actions(run)
    assert len(actions) == count + 1
    assert {(phase_of(action), action.attempt_count) for action in actions} == {("succeeded", 1)}


@pytest.mark.parametrize(("warm", "count"), [(True, WIDTH), (False, WIDTH // 2)], ids=["warm", "cold"])
def test_the_backend_in_the_middle_of_a_fan_out(make_backend, user_of, warm, count):
    """Killed twice, the backend finishes the run; workers lived on, and every child ran once."""
    backend = make_backend(used=True)
    user, path = user_of(backend)
    run = user.launch("fan_out.py", "fan_out", "--path", path, "--count", count, "--warm", warm)
    for share in (0.2, 0.5):
        reaches(path, int(count * share))
        backend.kill()
        assert numbers(path).total() < count
        assert backend.processes(), "workers outlive the backend"
        backend.start()
    check_each_once(backend, run, path, count)
    assert numbers(Path(f"{path}.parents")) == {0: 1}


def test_a_client_that_waits_through_a_kill(make_backend, user_of):
    """`flyte run` that waits survives the restart of the backend and prints the result."""
    backend = make_backend(used=True)
    user, path = user_of(backend)
    client = user.popen("run", "fan_out.py", "fan_out", "--path", path, "--count", 60, "--warm", "true")
    reaches(path, 10)
    backend.kill()
    backend.start()
    out, err = client.communicate(timeout=120)
    assert client.returncode == 0, err
    assert out.splitlines()[2:] == ["Run 'a0' completed successfully.", str(sum(range(60)))]


@pytest.mark.parametrize("killed", ["executor", "services"])
def test_one_of_two_processes_in_the_middle_of_a_fan_out(make_backend, user_of, killed):
    """With the executor apart, killing it or the other services uses no attempt and repeats nothing."""
    backend = make_backend(apart=True, used=True)
    user, path = user_of(backend)
    run = user.launch("fan_out.py", "fan_out", "--path", path, "--count", WIDTH, "--warm", "true")
    reaches(path, WIDTH // 4)
    if killed == "executor":
        backend.kill_executor()
    else:
        backend.kill()
    assert numbers(path).total() < WIDTH
    backend.start()
    check_each_once(backend, run, path, WIDTH)


def test_a_worker_of_a_pool(make_backend, user_of):
    """The action of a killed worker is tried again without a user retry; its sibling is not touched."""
    backend = make_backend(used=True)
    user, path = user_of(backend)
    run = user.launch("fan_out.py", "gated", "--path", path, "--count", 6, "--in-one-worker", "false")
    reaches(path, 2)
    victim, neighbour = workers(path)
    assert victim != neighbour
    backend.kill_worker(victim)
    reaches(path, 3)
    Path(f"{path}.open").touch()
    assert backend.api.succeeded(run) == sum(range(6))
    counts = numbers(path)
    assert sorted(counts.values()) == [1, 1, 1, 1, 1, 2]
    children = [backend.api.action(run, each.id.name) for each in backend.api.children(run)]
    assert sorted(child.attempt_count for child in children) == [1, 1, 1, 1, 1, 2]
    [again] = [child for child in children if child.attempt_count == 2]
    assert again.attempts[0].failure.code == "WorkerKilled"
    assert victim not in workers(path)[2:]
    assert neighbour in workers(path)[2:], "the other worker went on"


def test_a_worker_with_several_actions_in_it(make_backend, user_of):
    """All actions of a killed worker are tried again, each once, and every result is counted once."""
    backend = make_backend(used=True)
    user, path = user_of(backend)
    run = user.launch("fan_out.py", "gated", "--path", path, "--count", 8, "--in-one-worker", "true")
    reaches(path, 4)
    [victim] = set(workers(path))
    hit = set(numbers(path))
    backend.kill_worker(victim)
    Path(f"{path}.open").touch()
    assert backend.api.succeeded(run) == sum(range(8))
    counts = numbers(path)
    assert counts == {number: 2 if number in hit else 1 for number in range(8)}
    children = backend.api.children(run)
    assert len(children) == 8
    for child in children:
        number = backend.api.inputs(run, child.id.name)["number"]
        attempts = backend.api.action(run, child.id.name).attempts
        assert sum(attempt.HasField("started_at") for attempt in attempts) == counts[number]
    assert not backend.worker_lives(victim)


def test_the_worker_of_a_parent(make_backend, user_of):
    """A parent whose worker is killed replays: its children go on or are not repeated."""
    backend = make_backend(used=True)
    user, path = user_of(backend)
    run = user.launch("fan_out.py", "parent", "--path", path, "--count", 4)
    reaches(path, 8)
    [victim] = workers(Path(f"{path}.parents"))
    backend.kill_worker(victim)
    reaches(Path(f"{path}.parents"), 2)
    Path(f"{path}.open").touch()
    assert backend.api.succeeded(run) == sum(range(8))
    assert numbers(path) == dict.fromkeys(range(8), 1)
    root, *children = backend.api.actions(run)
    assert root.attempt_count == 2
    assert [child.attempt_count for child in children] == [1] * 8


def test_a_supervisor(make_backend, user_of):
    """A worker does not outlive its supervisor; its action is tried again elsewhere."""
    backend = make_backend(used=True)
    user, path = user_of(backend)
    run = user.launch("fan_out.py", "gated", "--path", path, "--count", 1, "--in-one-worker", "true")
    reaches(path, 1)
    [worker] = workers(path)
    pids = {
        backend.worker_pid(each.worker_id): each.pid for each in backend.workers() if each.state != "exited"
    }
    os.kill(pids[int(worker)], signal.SIGKILL)
    until(lambda: not backend.worker_lives(worker), "the worker ends with its supervisor", 15)
    reaches(path, 2)
    Path(f"{path}.open").touch()
    assert backend.api.succeeded(run) == 0
    assert numbers(path) == {0: 2}


def test_workers_whose_backend_never_returns_end_by_themselves(make_backend, user_of):
    """After the orphan time to live no process of the data directory is left."""
    backend = make_backend(HANGAR_EXECUTOR_ORPHAN_TTL="3")
    user, path = user_of(backend)
    user.launch("fan_out.py", "gated", "--path", path, "--count", 2, "--in-one-worker", "false")
    reaches(path, 2)
    backend.kill()
    until(lambda: not backend.processes(), "nothing is left of the backend", 30)
