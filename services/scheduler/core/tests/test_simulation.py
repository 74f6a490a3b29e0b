"""The core under faults: whatever breaks, runs end as their programs say, and every action takes effect once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.scheduler.core import events as ev
from services.scheduler.core.model import SECOND, Inventory, Kind, PoolPolicy, Resources, State, Task

from .simulated_host import MS, Program
from .simulation import Simulation

GIB = 1 << 30
SMALL = Resources(cpu=1000, memory=GIB)
POOL = PoolPolicy("pool", 1, 2, 2, 30 * SECOND, 30 * SECOND)


def cold(name: str, retries: int = 0, resources: Resources = SMALL) -> Task:
    """A task whose actions have a worker each."""
    return Task(f"digest-{name}-{resources}-{retries}", f"env.{name}", resources, retries)


def warm(name: str, retries: int = 0) -> Task:
    """A task of a reusable environment."""
    return Task(f"digest-{name}-{retries}", f"pooled.{name}", SMALL, retries, pool=POOL)


def tree(make: Callable[[str], Task], depth: int, width: int, key: str = "r") -> Program:
    """A tree of parents that wait for `width` children each."""
    children = tuple(tree(make, depth - 1, width, f"{key}{i}") for i in range(width)) if depth else ()
    return Program(key, make(f"t{depth}"), (children,) if children else ())


def mixed(key: str = "m") -> Program:
    """Eleven actions, cold and warm, some of which fail once."""

    def leaf(number: int) -> Program:
        return Program(f"{key}leaf{number}", warm("leaf", 1), user_failures=number % 2)

    middle = Program(f"{key}mid", cold("mid"), (tuple(leaf(i) for i in range(6)),))
    return Program(key, cold("root"), ((middle,), tuple(leaf(i) for i in range(6, 9))))


HOSTS = {
    "one": {"a": Inventory(1000, 8 * GIB, 0)},
    "two": {"a": Inventory(2000, 4 * GIB, 0), "b": Inventory(1000, 4 * GIB, 0)},
}


def assert_all_succeeded(sim: Simulation, count: int) -> None:
    """Every action of the ledger succeeded, once."""
    assert len(sim.ledger.actions) == count
    assert {row.state for row in sim.ledger.actions.values()} == {State.SUCCEEDED}
    for attempt in sim.ledger.attempts.values():
        assert attempt.closed is not None
    won = [
        a.granted.action_id
        for a in sim.ledger.attempts.values()
        if a.closed and a.closed.phase == "succeeded"
    ]
    assert len(won) == len(set(won)) == count, "every action has one attempt that counts"


@pytest.mark.parametrize("hosts", list(HOSTS))
@pytest.mark.parametrize("make", [cold, warm], ids=["cold", "warm"])
def test_a_tree_of_waiting_parents_finishes_on_little_hardware(
    hosts: str, make: Callable[[str], Task]
) -> None:
    """Parents of their children's size give their place back while they wait."""
    sim = Simulation(1, HOSTS[hosts])
    sim.submit("run", tree(make, 3, 2))
    sim.run()
    assert_all_succeeded(sim, 15)


def test_warm_workers_without_work_do_not_keep_a_waiting_parent_from_going_on() -> None:
    """Processor time is booked for workers that are busy: a parent gets it as soon as its children are done."""
    children = tuple(Program(f"c{i}", warm("leaf")) for i in range(20))
    sim = Simulation(1, {"a": Inventory(2000, 8 * GIB, 0)})
    sim.submit("run", Program("root", cold("root"), (children[:10], children[10:])))
    begin = sim.now
    sim.run()
    assert_all_succeeded(sim, 21)
    assert sim.now - begin < 2 * SECOND


@pytest.mark.parametrize("seed", range(150))
def test_faults_lose_nothing_and_double_nothing(seed: int) -> None:
    """Broken sessions, doubled frames, dead workers, rebooted hosts and scheduler crashes change no result."""
    sim = Simulation(seed, HOSTS["two" if seed % 3 else "one"], faults=0.03, doubling=0.1)
    sim.submit("run", mixed() if seed % 2 else tree(warm if seed % 4 else cold, 2, 3))
    sim.run()
    names = {row.created.name: row.state for row in sim.ledger.actions.values()}
    assert sim.ledger.run_phases == {1: "succeeded"}, names
    assert_all_succeeded(sim, 11 if seed % 2 else 13)


@pytest.mark.parametrize("seed", range(40))
def test_an_abort_under_faults_ends_every_action(seed: int) -> None:
    """After an abort nothing is left running, and every action is terminal."""
    sim = Simulation(seed, HOSTS["two"], faults=0.03, doubling=0.1)
    sim.submit("run", mixed())
    sim.later(
        (10 + seed * 7) * MS,
        lambda: sim.feed(ev.AbortRun("abort", "default", "development", "run", "enough")),
    )
    sim.run()
    states = {row.state for row in sim.ledger.actions.values()}
    assert states <= {State.ABORTED, State.SUCCEEDED}, states
    assert all(attempt.closed for attempt in sim.ledger.attempts.values())


def busy(key: str) -> Program:
    """Actions of all kinds: cancelled, hanging until their limit, failing with others below them."""
    quick = Task(f"digest-quick-{key}", f"env.quick-{key}", SMALL, 0, max_runtime=SECOND)
    hanging = Program(f"{key}hang", quick, hangs=True)
    slow, other_slow = (Program(f"{key}slow{i}", cold("slow"), duration=300 * MS) for i in range(2))
    leaves = tuple(Program(f"{key}leaf{i}", warm("leaf", 1), user_failures=i % 2) for i in range(4))
    flaky = Program(f"{key}flaky", cold("flaky", 1), ((leaves[0],), (leaves[1],)), user_failures=1)
    doomed = Program(
        f"{key}doomed", cold("doomed"), ((Program(f"{key}bad", cold("bad"), user_failures=99), other_slow),)
    )
    canceller = Program(
        f"{key}canceller",
        cold("canceller"),
        ((leaves[2], slow),),
        cancels=True,
        catches=True,
        duration=40 * MS,
    )
    return Program(
        key,
        warm("root", 2),
        ((canceller, flaky), (hanging, doomed), (leaves[3],)),
        catches=True,
        user_failures=1,
    )


@pytest.mark.parametrize("seed", range(120))
def test_cancellations_limits_and_repeats_under_faults_end_as_they_would_without(seed: int) -> None:
    """Frames as sessions really batch them, silent hosts, several runs, pools on several hosts: all ends, once."""
    sim = Simulation(
        seed, HOSTS["two" if seed % 3 else "one"], faults=0.02 if seed % 5 else 0.0, batching=True, silences=2
    )
    for run in ("run0", "run1"):
        sim.submit(run, busy(f"{run}-"))
    sim.run()
    sim.settle()
    assert set(sim.ledger.run_phases.values()) == {"succeeded"}
    for run in ("run0", "run1"):
        for name, row in sim.ledger.by_name(run).items():
            assert row.state in expected(name), (name, row.state)
    assert all(attempt.closed for attempt in sim.ledger.attempts.values())


def expected(name: str) -> set[State]:
    """How an action of `busy` may end."""
    if "hang" in name:
        return {State.TIMED_OUT}
    if "bad" in name or "doomed" in name:
        return {State.FAILED}
    if "slow" in name:
        return {State.ABORTED, State.SUCCEEDED}
    return {State.SUCCEEDED}


@pytest.mark.parametrize("seed", range(60))
def test_an_abort_among_other_runs_under_all_faults_leaves_nothing_behind(seed: int) -> None:
    """What is aborted ends, what is not goes on, and no host keeps a lease."""
    sim = Simulation(seed, HOSTS["two"], faults=0.02, batching=True, silences=2)
    for run in ("run0", "run1"):
        sim.submit(run, busy(f"{run}-"))
    sim.later(
        (10 + seed * 13) * MS,
        lambda: sim.feed(ev.AbortRun("abort", "default", "development", "run0", "enough")),
    )
    sim.run()
    sim.settle()
    assert {row.state for row in sim.ledger.by_name("run1").values() if row.created.name == "a0"} == {
        State.SUCCEEDED
    }
    assert all(attempt.closed for attempt in sim.ledger.attempts.values())


def test_equal_seeds_give_equal_histories() -> None:
    """The simulation, and with it the core, is deterministic."""
    histories = []
    for _ in range(2):
        sim = Simulation(7, HOSTS["two"], faults=0.05, doubling=0.2)
        sim.submit("run", mixed())
        sim.run()
        histories.append([(row.created.name, tuple(row.phases)) for row in sim.ledger.actions.values()])
    assert histories[0] == histories[1]


def test_a_retried_parent_repeats_no_child_that_succeeded_and_runs_failed_ones_again() -> None:
    """After the parent's own failure: recorded successes are replayed, failures get a new incarnation."""
    good = Program("good", cold("good"))
    flaky = Program("bad", cold("bad"), user_failures=99)
    sim = Simulation(3, HOSTS["two"])
    sim.submit("run", Program("root", cold("root", retries=1), ((good,), (flaky,))))
    sim.run()
    actions = sim.ledger.by_name("run")
    assert set(actions) == {"a0", "good", "bad", "bad-2"}
    assert actions["a0"].state is State.FAILED
    assert [actions[n].state for n in ("good", "bad", "bad-2")] == [
        State.SUCCEEDED,
        State.FAILED,
        State.FAILED,
    ]


def test_a_lost_parent_sees_recorded_failures_as_they_were() -> None:
    """After a loss nothing failed is run again: the parent gets the outcome that it would have got."""
    flaky = Program("bad", cold("bad"), user_failures=99)
    slow = Program("slow", cold("slow"), duration=500 * MS)
    sim = Simulation(3, HOSTS["two"])
    sim.submit("run", Program("root", cold("root"), ((flaky,), (slow,)), catches=True))
    for executor in sim.executors.values():
        sim.later(300 * MS, executor.lose_worker)
    sim.run()
    actions = sim.ledger.by_name("run")
    assert set(actions) == {"a0", "bad", "slow"}
    assert actions["bad"].state is State.FAILED
    assert actions["a0"].state is State.SUCCEEDED


def test_a_chain_whose_memory_can_never_fit_fails_with_the_explanation() -> None:
    """A child that cannot fit beside what its waiting ancestors hold fails fast, not never."""
    big = Resources(1000, 3 * GIB)
    child = Program("child", cold("child", resources=big))
    sim = Simulation(1, {"a": Inventory(2000, 4 * GIB, 0)})
    sim.submit("run", Program("root", cold("root", resources=big), ((child,),)))
    sim.run(limit=10 * SECOND)
    failure = sim.ledger.by_name("run")["child"].moved.failure
    assert failure.code == "InsufficientCapacity"
    assert "hold so much memory" in failure.message


def test_a_request_larger_than_any_host_is_refused_at_once_naming_the_largest() -> None:
    """Nobody waits for hardware that does not exist."""
    sim = Simulation(1, HOSTS["two"])
    sim.submit("run", Program("root", cold("root", resources=Resources(64000, GIB))))
    sim.run(limit=10 * SECOND)
    failure = sim.ledger.by_name("run")["a0"].moved.failure
    assert "64 cores" in failure.message
    assert "a with 2 cores" in failure.message


def test_waiting_parents_of_many_runs_that_fill_the_memory_are_unblocked_by_preemption() -> None:
    """When only parked parents hold the memory that children need, one gives way and is replayed."""
    half = Resources(100, 2 * GIB)
    sim = Simulation(1, {"a": Inventory(4000, 4 * GIB, 0)})
    for number in range(2):
        child = Program(f"c{number}", cold("child", resources=half))
        sim.submit(f"run{number}", Program(f"r{number}", cold("root", resources=half), ((child,),)))
    sim.run(limit=60 * SECOND)
    assert_all_succeeded(sim, 4)


def test_a_host_that_goes_away_for_good_loses_its_leases_to_another() -> None:
    """Leases of a silent host are given up after their time to live, without using a retry."""
    sim = Simulation(1, HOSTS["two"])
    sim.submit("run", Program("root", cold("root"), duration=2 * SECOND))
    sim.advance_until(lambda: bool(sim.scheduler.world.leases))
    holder = next(iter(sim.scheduler.world.leases.values())).node
    executor = sim.executors[holder]
    old = executor.session
    executor.session = None
    executor.reboot()
    sim.feed(ev.NodeDisconnected(holder, old or 0))
    sim.run()
    row = sim.ledger.by_name("run")["a0"]
    assert row.state is State.SUCCEEDED
    assert row.moved.attempts == 2
    assert row.moved.user_failures == 0


def stepping(make: Callable[[str], Task], key: str = "s") -> Program:
    """A task that fails twice, around traces, a condition, a sleep and a child; one trace fails once as well."""

    def step(kind: Kind, name: str, duration: int = 5 * MS, user_failures: int = 0) -> Program:
        task = Task(f"digest-{name}", f"env.{name}", SMALL)
        return Program(f"{key}{name}", task, duration=duration, kind=kind, user_failures=user_failures)

    stages = (
        (step(Kind.TRACE, "quick"), step(Kind.TRACE, "slow", 200 * MS)),
        (
            step(Kind.CONDITION, "asks", 300 * MS),
            step(Kind.SLEEP, "sleeps", 2 * SECOND),
            Program(f"{key}leaf", make("leaf")),
        ),
        (step(Kind.TRACE, "fails", user_failures=1),),
        (step(Kind.SLEEP, "again", SECOND), step(Kind.TRACE, "beside", 500 * MS)),
    )
    return Program(key, make("stepping"), stages, user_failures=2)


@pytest.mark.parametrize("seed", range(120))
def test_faults_repeat_no_step_that_succeeded(seed: int) -> None:
    """Whatever breaks, a trace whose success is recorded runs no more, sleeps end in time, one signal is enough."""
    sim = Simulation(
        seed,
        HOSTS["two" if seed % 3 else "one"],
        faults=0.03,
        doubling=0.1,
        batching=seed % 4 == 1,
        silences=seed % 2,
    )
    make = warm if seed % 2 else cold
    sim.submit("run", Program("root", cold("root"), ((stepping(lambda name: make(name, 2)),),)))
    sim.run()
    rows = [row for row in sim.ledger.actions.values() if row.created.key.startswith("s")]
    assert sim.ledger.run_phases == {1: "succeeded"}, {row.created.name: row.state for row in rows}
    latest = {row.created.key: row for row in sorted(rows, key=lambda row: row.created.incarnation)}
    assert {row.state for row in latest.values()} == {State.SUCCEEDED}
    assert len(latest) == 9
    for row in rows:
        if row.created.kind is not Kind.TASK:
            assert row.moved is not None
            if row.created.kind is Kind.SLEEP and row.state is State.SUCCEEDED:
                assert row.moved.at >= row.created.ready_at
            if row.created.kind in (Kind.SLEEP, Kind.CONDITION):
                assert row.created.incarnation == 1, "it goes on over the attempts of its task"
