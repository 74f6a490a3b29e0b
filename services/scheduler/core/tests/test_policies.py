"""Retries that wait, deadlines, queues and recovery, under faults: what was promised holds whatever breaks."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.model import (
    DEFAULT_QUEUE,
    SECOND,
    Backoff,
    Inventory,
    Placement,
    PoolPolicy,
    Resources,
    State,
    Task,
)
from services.scheduler.core.pools import placement_of_pool, pool_key
from services.scheduler.core.retry import MAX_USER_BACKOFF, user_backoff

from .simulated_host import MS, Program
from .simulation import Simulation

GIB = 1 << 30
SMALL = Resources(1000, GIB)
HOSTS = {"a": Inventory(2000, 4 * GIB, 0), "b": Inventory(1000, 4 * GIB, 0)}
SORTED_HOSTS = {
    "plain": Inventory(2000, 4 * GIB, 0),
    "gpu": Inventory(2000, 4 * GIB, 0, queues=("gpu", "batch")),
    "spot": Inventory(2000, 4 * GIB, 0, queues=(DEFAULT_QUEUE, "gpu"), interruptible=True),
}
POOL = PoolPolicy("pool", 1, 2, 2, 30 * SECOND, 30 * SECOND)


def connected(seed: int, hosts: dict[str, Inventory], faults: float = 0.0) -> Simulation:
    """A simulation in which all hosts are known: what none of them can ever take is refused."""
    sim = Simulation(seed, hosts, faults=faults, doubling=0.1)
    sim.advance_until(lambda: len(sim.scheduler.world.nodes) == len(hosts))
    return sim


def task(name: str, **settings: object) -> Task:
    """A task whose actions have a worker each, unless the settings say otherwise."""
    made = Task("", f"env.{name}", SMALL)
    return replace(made, digest=f"{name}-{sorted(settings.items(), key=str)}", **settings)  # type: ignore[arg-type]


@given(
    st.integers(0, 3600 * SECOND),
    st.floats(1, 1000),
    st.integers(0, 3600 * SECOND),
    st.floats(0, 1),
    st.integers(0, 100),
    st.integers(1, 2**62),
)
def test_waits_grow_to_their_cap_and_vary_by_no_more_than_their_jitter(
    base: int, factor: float, cap: int, jitter: float, failures: int, lease: int
) -> None:
    """A wait is between the exact one less the jitter and the exact one, which is never above the cap."""
    policy = Backoff(base, factor, cap, jitter)
    exact = user_backoff(policy._replace(jitter=0.0), failures, lease)
    assert exact <= (cap or MAX_USER_BACKOFF)
    assert exact >= min(base, cap or MAX_USER_BACKOFF)
    assert exact * (1 - jitter) - 1 <= user_backoff(policy, failures, lease) <= exact
    assert exact <= user_backoff(policy._replace(jitter=0.0), failures + 1, lease)


def test_leases_that_failed_together_do_not_start_together() -> None:
    """The waits of a hundred leases in a row are spread over the whole jitter."""
    waits = sorted(user_backoff(Backoff(10 * SECOND, jitter=0.5), 0, lease) for lease in range(1, 101))
    assert max(later - earlier for earlier, later in itertools.pairwise(waits)) < SECOND / 5
    assert waits[0] < 5.2 * SECOND
    assert waits[-1] > 9.8 * SECOND


def test_each_retry_waits_longer_and_says_so() -> None:
    """Three retries of base 2 s and factor 3 wait 2, 6 and at most 10 s; the reason names the failure and the wait."""
    flaky = task("flaky", retries=3, backoff=Backoff(2 * SECOND, 3.0, 10 * SECOND))
    sim = Simulation(1, HOSTS)
    sim.submit("run", Program("root", flaky, user_failures=3))
    sim.advance_until(lambda: any(a.state is State.BACKOFF for a in sim.scheduler.world.actions.values()))
    moved = sim.ledger.by_name("run")["a0"].moved
    assert moved.detail == "attempt 0 failed (user): ValueError; the next one starts 2 s later"
    sim.run()
    attempts = [row for _, row in sorted(sim.ledger.attempts.items())]
    assert sim.ledger.by_name("run")["a0"].state is State.SUCCEEDED
    gaps = [
        round((later.granted.at - earlier.closed.at) / SECOND)  # type: ignore[union-attr]
        for earlier, later in itertools.pairwise(attempts)
    ]
    assert gaps == [2, 6, 10]


@pytest.mark.parametrize("seed", range(40))
def test_no_action_outlives_its_deadline_whatever_breaks(seed: int) -> None:
    """Running, retried or waiting to be retried: with its deadline an action is over, and runs no more after it."""
    hanging = Program("hang", task("hang", retries=9, deadline=5 * SECOND), hangs=True)
    failing = Program(
        "fail",
        task("fail", retries=50, deadline=20 * SECOND, backoff=Backoff(SECOND, 2.0, 8 * SECOND)),
        user_failures=99,
    )
    short = Program("short", task("short", retries=9, max_runtime=SECOND, deadline=6 * SECOND), hangs=True)
    quick = Program("quick", task("quick", deadline=600 * SECOND), duration=30 * MS)
    root = Program("root", task("root", retries=5), ((hanging, failing, short, quick),), catches=True)
    sim = Simulation(seed, HOSTS, faults=0.03 if seed else 0.0, doubling=0.1)
    sim.submit("run", root)
    sim.run()
    actions = sim.ledger.by_name("run")
    assert actions["a0"].state is State.SUCCEEDED
    assert actions["quick"].state is State.SUCCEEDED
    for name in ("hang", "fail", "short"):
        row = actions[name]
        assert row.state is State.TIMED_OUT, name
        assert row.moved.failure.code == "DeadlineExceeded"
        limit = row.created.at + row.created.task.deadline
        granted = [
            attempt.granted.at
            for attempt in sim.ledger.attempts.values()
            if attempt.granted.action_id == row.created.action_id
        ]
        assert all(at < limit for at in granted), name
    assert seed or actions["fail"].moved.attempts == 5, "after 0, 1, 3, 7 and 15 s"


@pytest.mark.parametrize("seed", range(30))
def test_actions_run_only_where_their_queue_and_their_host_allow_it(seed: int) -> None:
    """The task's queue goes before the run's; what is not interruptible never runs on a host that may be taken away."""
    children = (
        Program("plain", task("plain")),
        Program("gpu", task("gpu", queue="gpu")),
        Program("spot", task("spot", interruptible=True)),
        Program("warm", task("warm", queue="batch", pool=POOL)),
        Program("anywhere", task("anywhere", queue="gpu", interruptible=True, pool=POOL)),
    )
    sim = connected(seed, SORTED_HOSTS, faults=0.03 if seed else 0.0)
    sim.submit("run", Program("root", task("root"), (children,)))
    sim.submit("batch", Program("root", task("root"), (children,)), queue="batch", interruptible=False)
    sim.run()
    assert set(sim.ledger.run_phases.values()) == {"succeeded"}
    allowed = {
        "run": {"root": "plain", "plain": "plain", "gpu": "gpu", "spot": "plain spot", "warm": "gpu"},
        "batch": {
            "root": "gpu",
            "plain": "gpu",
            "gpu": "gpu",
            "spot": "gpu",
            "warm": "gpu",
            "anywhere": "gpu",
        },
    }
    for attempt in sim.ledger.attempts.values():
        made = sim.ledger.actions[attempt.granted.action_id].created
        run = sim.ledger.runs[made.run_id].name
        hosts = allowed[run].get(made.task.name.removeprefix("env."), "gpu spot")
        assert attempt.granted.node in hosts.split(), (run, made.task.name)
    if not seed:
        spot = sim.ledger.by_name("run")["spot"].created.action_id
        assert [a.granted.node for a in sim.ledger.attempts.values() if a.granted.action_id == spot] == [
            "spot"
        ]


@pytest.mark.parametrize("seed", range(30))
def test_images_run_only_on_hosts_of_their_platforms(seed: int) -> None:
    """Whatever breaks, by itself or in a pool; what names no platform runs on either."""
    hosts = {
        "amd": Inventory(2000, 4 * GIB, 0, platform="linux/amd64"),
        "arm": Inventory(2000, 4 * GIB, 0, platform="linux/arm64"),
        "unknown": Inventory(2000, 4 * GIB, 0),
    }
    for_arm, for_both = SMALL._replace(platforms=("linux/arm64",)), ("linux/amd64", "linux/arm64")
    children = (
        Program("plain", task("plain")),
        Program("arm", task("arm", resources=for_arm)),
        Program("warm", task("warm", resources=for_arm, pool=POOL)),
        Program("both", task("both", resources=SMALL._replace(platforms=for_both))),
    )
    sim = connected(seed, hosts, faults=0.03 if seed else 0.0)
    sim.submit("run", Program("root", task("root"), (children, children[1:])))
    sim.run()
    assert set(sim.ledger.run_phases.values()) == {"succeeded"}
    allowed = {"arm": "arm", "warm": "arm", "both": "amd arm"}
    for attempt in sim.ledger.attempts.values():
        made = sim.ledger.actions[attempt.granted.action_id].created
        where = allowed.get(made.task.name.removeprefix("env."), "amd arm unknown")
        assert attempt.granted.node in where.split(), made.task.name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"queue": "tpu"},
            "is for queue tpu, which no host serves; the hosts serve queues batch, default, gpu.",
        ),
        (
            {"queue": "only-spot"},
            "is not interruptible, and every host of queue only-spot may be taken away.",
        ),
    ],
)
def test_a_placement_that_no_host_allows_is_refused_at_once(settings: dict[str, str], said: str) -> None:
    """Nobody waits for a host that does not exist; the failure names the queue and the way out."""
    hosts = {**SORTED_HOSTS, "other": Inventory(1000, GIB, 0, queues=("only-spot",), interruptible=True)}
    if settings["queue"] == "tpu":
        del hosts["other"]
    sim = connected(1, hosts)
    sim.submit("run", Program("root", task("root", **settings)))
    sim.run(limit=10 * SECOND)
    failure = sim.ledger.by_name("run")["a0"].moved.failure
    assert failure.code == "InsufficientCapacity"
    assert said in failure.message


@pytest.mark.parametrize("queue", [DEFAULT_QUEUE, "gpu"])
@pytest.mark.parametrize("interruptible", [False, True])
def test_the_key_of_a_pool_says_where_it_may_run(queue: str, interruptible: bool) -> None:
    """A pool that is known again after a restart has the placement that it had."""
    placement = Placement(queue, interruptible)
    assert placement_of_pool(pool_key("p", "d", "env-1", placement)) == placement


@pytest.mark.parametrize("seed", range(40))
def test_what_succeeded_is_taken_over_and_nothing_else(seed: int) -> None:
    """A recovered run repeats no child that succeeded, in whatever earlier run of the chain; what failed runs again."""

    def program(good_below: int) -> Program:
        leaves = tuple(Program(f"leaf{i}", task("leaf")) for i in range(3))
        middle = Program("middle", task("middle"), ((leaves[0],), (leaves[1],)))
        steps = tuple(
            Program(f"step{i}", task(f"step{i}"), user_failures=0 if i < good_below else 99) for i in range(4)
        )
        return Program("root", task("root"), ((middle,), (leaves[2],), *((step,) for step in steps)))

    sim = Simulation(seed, HOSTS, faults=0.03 if seed else 0.0, doubling=0.1)
    earlier = ""
    for number, good_below in enumerate((1, 3, 4)):
        name = f"run{number}"
        sim.submit(name, program(good_below), recovers=earlier)
        sim.run()
        earlier = name
    phases = [sim.ledger.run_phases[run_id] for run_id in sorted(sim.ledger.run_phases)]
    assert phases == ["failed", "failed", "succeeded"]
    leased = {attempt.granted.action_id for attempt in sim.ledger.attempts.values()}
    made = [sim.ledger.actions[action_id].created for action_id in leased]
    ran = {(sim.ledger.runs[each.run_id].name, each.name) for each in made}
    first = {"a0", "middle", "leaf0", "leaf1", "leaf2", "step0", "step1"}
    assert ran == {
        *(("run0", name) for name in first),
        *(("run1", name) for name in ("a0", "step1", "step2", "step3")),
        *(("run2", name) for name in ("a0", "step3")),
    }
    taken = {row.created.name for row in sim.ledger.by_name("run2").values() if row.moved.recovered}
    assert taken == {"middle", "leaf2", "step0", "step1", "step2"}
