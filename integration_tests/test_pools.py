"""Reusable environments: the same processes serve many actions."""

import pytest

SCRIPT = """
    import asyncio

    from notes import note, read, worker

    import flyte

    replicas = flyte.TaskEnvironment(
        name="replicas", resources=flyte.Resources(cpu="500m", memory="256Mi"),
        reusable=flyte.ReusePolicy(replicas=2, concurrency=1),
    )
    concurrent = flyte.TaskEnvironment(
        name="concurrent", resources=flyte.Resources(cpu="500m", memory="256Mi"),
        reusable=flyte.ReusePolicy(replicas=1, concurrency=4),
    )
    cold = flyte.TaskEnvironment(name="cold", resources=flyte.Resources(cpu="500m", memory="256Mi"))
    driver = flyte.TaskEnvironment(
        name="driver", resources=flyte.Resources(cpu="250m", memory="256Mi"), depends_on=[replicas, concurrent, cold]
    )

    calls = 0
    together = asyncio.Event()
    inside = 0

    @replicas.task
    async def square(i: int, path: str) -> tuple[int, str, int]:
        '''Returns only when two processes are there.'''
        global calls
        calls += 1
        if calls == 1:
            note(path, worker())
        while len(read(path)) < 2:
            await asyncio.sleep(0.02)
        return i * i, worker(), calls

    @concurrent.task
    async def meet() -> str:
        '''Returns only when four calls are inside at the same time.'''
        global inside
        inside += 1
        if inside == 4:
            together.set()
        await asyncio.wait_for(together.wait(), 60)
        return worker()

    @cold.task
    def name() -> str:
        return worker()

    @driver.task
    async def squares(count: int, path: str) -> list[tuple[int, str, int]]:
        return await asyncio.gather(*(square(i, path) for i in range(count)))

    @driver.task
    async def meeting() -> list[str]:
        return await asyncio.gather(*(meet.override(short_name=f"guest {i}")() for i in range(4)))

    @driver.task
    async def strangers(count: int) -> list[str]:
        return await asyncio.gather(*(name.override(short_name=f"stranger {i}").aio() for i in range(count)))
"""


@pytest.fixture
def user(workspace):
    """A user with the script."""
    workspace.share_notes()
    workspace.write("warm.py", SCRIPT)
    return workspace


def test_replicas_serve_all_actions_and_keep_their_globals(backend, user):
    """Two replicas run ten actions in two processes whose module-level values persist, from run to run."""
    squares = ("warm.py", "squares", "--count", 10, "--path", user.directory / "workers")
    first, second = (backend.api.succeeded(user.launch(*squares)) for _ in range(2))
    assert [value for value, _, _ in first] == [i * i for i in range(10)]
    workers = {worker for _, worker, _ in first}
    assert len(workers) == 2
    assert {worker for _, worker, _ in second} <= workers
    for worker in workers:
        assert sorted(calls for _, each, calls in first if each == worker) == list(
            range(1, 1 + sum(each == worker for _, each, _ in first))
        )
    assert (
        sum(max(calls for _, each, calls in [*first, *second] if each == worker) for worker in workers) == 20
    )


def test_async_actions_share_one_worker_at_the_same_time(backend, user):
    """With concurrency=4 four coroutines are in one process at once: each waits for the other three."""
    assert len(set(backend.api.succeeded(user.launch("warm.py", "meeting")))) == 1


def test_without_a_policy_each_action_has_a_process_of_its_own(backend, user):
    """An environment that is not reusable shares nothing between actions."""
    assert len(set(backend.api.succeeded(user.launch("warm.py", "strangers", "--count", 4)))) == 4
