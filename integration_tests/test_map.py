"""`flyte.map` on a backend, on a host with one core: who waits gives its place to what it waits for."""

import pytest

MAPPING = """
    import functools
    import os

    import flyte

    env = flyte.TaskEnvironment(name="mapping", resources=flyte.Resources(cpu=1, memory="200Mi"))
    warm = flyte.TaskEnvironment(
        name="warm",
        resources=flyte.Resources(cpu=1, memory="200Mi"),
        reusable=flyte.ReusePolicy(replicas=1, concurrency=8),
    )
    driver = flyte.TaskEnvironment(
        name="driver", resources=flyte.Resources(cpu=1, memory="200Mi"), depends_on=[env, warm]
    )

    @env.task
    def scaled(x: int, factor: int) -> int:
        if x == 2:
            raise ValueError("two")
        return x * factor

    @warm.task
    async def square(x: int) -> int:
        return x * x

    @driver.task
    def sync_parent() -> list[str]:
        results = flyte.map(functools.partial(scaled, factor=10), range(4), group_name="scaled")
        return [f"{type(r).__name__} {r.code}" if isinstance(r, Exception) else str(r) for r in results]

    @driver.task
    def lazy_parent(n: int) -> list[int]:
        found = []
        for result in flyte.map(square, range(n), concurrency=3):
            found.append(square_root(result))
        return found

    @env.task
    def square_root(x: int) -> int:
        return int(x**0.5)

    @driver.task
    async def async_parent(n: int) -> list[int]:
        return [x async for x in flyte.map.aio(square, range(n), return_exceptions=False)]

    @driver.task
    async def blocking_parent(n: int) -> list[int]:
        return list(flyte.map(square, range(n)))

    @driver.task
    async def strict_parent() -> list[int]:
        return [x async for x in flyte.map.aio(scaled, range(4), [1] * 4, return_exceptions=False)]
"""


@pytest.fixture
def user(one_core, make_workspace):
    """A user of that host."""
    workspace = make_workspace(one_core)
    workspace.write("mapping.py", MAPPING)
    return workspace


def test_a_sync_parent_maps_in_order_and_keeps_what_failed(one_core, user):
    """A sync task on the only core maps cold children, whose errors take the place of results, in one group."""
    run = user.launch("mapping.py", "sync_parent")
    assert one_core.api.succeeded(run) == ["0", "10", "RuntimeUserError ValueError", "30"]
    children = one_core.api.children(run)
    assert {child.group for child in children} == {"scaled_scaled"}
    assert len(children) == 4


def test_results_can_be_used_while_the_rest_runs(one_core, user):
    """Each result is there as soon as its turn comes; the body of the loop may call tasks itself."""
    run = user.launch("mapping.py", "lazy_parent", "--n", 7)
    assert one_core.api.succeeded(run, 90) == list(range(7))


@pytest.mark.parametrize("parent", ["async_parent", "blocking_parent"])
def test_asynchronous_parents_map_either_way(one_core, user, parent):
    """The asynchronous form and the blocking one give the same from an async task."""
    run = user.launch("mapping.py", parent, "--n", 50)
    assert one_core.api.succeeded(run, 90) == [x * x for x in range(50)]


def test_the_first_error_ends_the_parent_when_asked_for(one_core, user):
    """With return_exceptions=False the error of a call fails the parent, and nothing of it lives on."""
    run = user.launch("mapping.py", "strict_parent")
    ended = one_core.api.wait(run)
    assert "two" in ended.failure.message
    assert all(child.HasField("ended_at") for child in one_core.api.children(run))
