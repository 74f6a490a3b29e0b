"""Parents that wait for their children on hosts that are small."""

import json

import pytest

from integration_tests.api import phase_of
from integration_tests.polling import until

CHAIN = """
    import asyncio

    import flyte

    small = flyte.TaskEnvironment(name="small", resources=flyte.Resources(cpu=1, memory="300Mi"))
    large = flyte.TaskEnvironment(name="large", resources=flyte.Resources(cpu=1, memory="700Mi"))
    huge = flyte.TaskEnvironment(name="huge", resources=flyte.Resources(cpu=64, memory="1Gi"))
    root = flyte.TaskEnvironment(
        name="root", resources=flyte.Resources(cpu=1, memory="700Mi"), depends_on=[small, large, huge]
    )
    pool = flyte.TaskEnvironment(
        name="pool", resources=flyte.Resources(cpu=1, memory="200Mi"),
        reusable=flyte.ReusePolicy(replicas=1, concurrency=1),
    )

    @small.task
    def leaf(x: int) -> int:
        return x + 1

    @small.task
    def nested(depth: int) -> int:
        return nested(depth - 1) + 1 if depth else leaf(0)

    @small.task
    async def wide(width: int) -> int:
        return sum(await asyncio.gather(*(middle(x) for x in range(width))))

    @small.task
    async def middle(x: int) -> int:
        return await leaf.aio(x)

    @large.task
    def hungry(x: int) -> int:
        return x

    @root.task
    def too_much(x: int) -> int:
        return hungry(x)

    @huge.task
    def impossible(x: int) -> int:
        return x

    @pool.task
    async def countdown(n: int) -> int:
        return 0 if n == 0 else 1 + await countdown(n - 1)
"""


@pytest.fixture
def user(one_core, make_workspace):
    """A user of that host."""
    workspace = make_workspace(one_core)
    workspace.write("chain.py", CHAIN)
    return workspace


def test_parents_and_children_of_the_same_size_share_one_core(one_core, user):
    """A parent that waits gives its core to its child, sync or async, deep or wide, and gets it back."""
    deep = user.launch("chain.py", "nested", "--depth", 1)
    assert one_core.api.succeeded(deep, 60) == 2
    wide = user.launch("chain.py", "wide", "--width", 4)
    assert one_core.api.succeeded(wide, 120) == 10


def test_a_pool_of_one_slot_runs_a_task_that_calls_itself(one_core, user):
    """The slot of a waiting parent goes to its child, even when it is the only one of the pool."""
    run = user.launch("chain.py", "countdown", "--n", 5)
    assert one_core.api.succeeded(run, 60) == 5


def test_memory_that_a_chain_can_never_have_fails_with_the_explanation(one_core, user):
    """A child that fits on no host beside what its waiting parent holds fails at once and says why."""
    run = user.launch("chain.py", "too_much", "--x", 1)
    ended = one_core.api.wait(run)
    child = one_core.api.children(run)[0]
    assert (phase_of(ended), phase_of(child)) == ("failed", "failed")
    for text in ("large.hungry", "wait", "no host can ever take it"):
        assert text in child.failure.message, child.failure.message
    assert child.failure.message in ended.failure.message


def test_a_request_larger_than_every_host_is_refused_and_names_the_largest(one_core, user):
    """A task that no host could ever take fails at once and names the largest host; nothing waits for ever."""
    run = user.launch("chain.py", "impossible", "--x", 1)
    ended = one_core.api.wait(run)
    assert phase_of(ended) == "failed"
    for text in ("huge.impossible", "64 cores", "the largest is", "1 cores", "1 GiB"):
        assert text in ended.failure.message, ended.failure.message
    done = user.flyte("run", "chain.py", "impossible", "--x", 1, code=None)
    assert done.code != 0
    assert "the largest is" in done.err


def test_what_waits_says_why(one_core, make_workspace):
    """An action that a busy host cannot take now is waiting for resources and says so for that host."""
    workspace = make_workspace(one_core)
    workspace.write(
        "busy.py",
        """
        import time
        from pathlib import Path

        import flyte

        env = flyte.TaskEnvironment(name="busy", resources=flyte.Resources(cpu=1, memory="200Mi"))

        @env.task
        def hold(path: str) -> str:
            while not Path(path).exists():
                time.sleep(0.05)
            return "released"
    """,
    )
    release = workspace.directory / "release"
    first = workspace.launch("busy.py", "hold", "--path", release)
    until(lambda: phase_of(one_core.api.run(first)) == "running", "the first task runs")
    second = workspace.launch("busy.py", "hold", "--path", release)
    until(lambda: phase_of(one_core.api.run(second)) == "waiting_for_resources", "the second task waits")
    reason = one_core.api.action(second).wait_reason
    assert "core" in reason.lower() or "cpu" in reason.lower(), reason
    assert json.loads(workspace.flyte("-of", "json", "get", "action", second).out)[0]["wait_reason"] == reason
    release.touch()
    assert [one_core.api.succeeded(run) for run in (first, second)] == ["released", "released"]
