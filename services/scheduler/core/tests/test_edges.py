"""Properties of the core where several things happen at once, by plain calls."""

from __future__ import annotations

import pytest

from services.scheduler.core import effects as fx
from services.scheduler.core import events as ev
from services.scheduler.core.machine import Scheduler
from services.scheduler.core.model import (
    SECOND,
    Failure,
    FailureKind,
    Inventory,
    Phase,
    PoolPolicy,
    Resources,
    State,
    Task,
    WorkerState,
)

from .ledger import MemoryLedger
from .test_core import GIB, ONE_CORE, USER, Driver, final_state, of, pooled, ready

KILLED = Failure(FailureKind.SYSTEM, "Killed", "killed")


def ask(driver: Driver, lease: int, key: str, task: Task) -> list[fx.Effect]:
    """A running lease asks for a child."""
    return driver.do(ev.ChildRequested("n", lease, key, task, None, None))


def recorded(driver: Driver, *events: ev.Event) -> list[fx.Effect]:
    """Let events happen and keep them in a ledger of the driver."""
    effects = driver.do(*events)
    for effect in effects:
        ledger_of(driver).apply(effect)
    return effects


def ledger_of(driver: Driver) -> MemoryLedger:
    """The ledger that was begun for a driver."""
    ledger: MemoryLedger = driver.__dict__.setdefault("ledger", MemoryLedger())
    return ledger


def test_a_child_that_is_run_again_while_what_was_below_it_still_ends_keeps_its_place() -> None:
    """The repeat's outcome reaches the parent, and nothing of the first one hides it."""
    driver = Driver()
    child, grandchild = (Task(f"d{i}", f"e.t{i}", Resources(100, GIB)) for i in (1, 2))
    driver.submit(Task("d0", "e.t0", Resources(100, GIB), retries=1))
    driver.start(1)
    ask(driver, 1, "child", child)
    driver.start(2)
    ask(driver, 2, "grandchild", grandchild)
    driver.start(3)
    (outcome,) = of(driver.end(2, USER), fx.SendOutcome)
    assert outcome.phase.value == "failed"
    driver.end(1, USER)  # the parent's own failure: it is retried as lease 4, which asks for the child again
    driver.start(4)
    (created,) = of(ask(driver, 4, "child", child), fx.ActionCreated)
    assert created.name == "child-2"
    driver.end(3, KILLED, killed=True)  # only now the grandchild's kill is confirmed
    driver.start(5)
    (outcome,) = of(driver.end(5), fx.SendOutcome)
    assert (outcome.name, outcome.phase.value) == ("child-2", "succeeded")
    assert final_state(driver.end(4)) is State.SUCCEEDED
    assert driver.scheduler.world.actions == {}


def test_an_aborted_run_ends_though_a_repeated_child_runs_beside_the_end_of_its_first() -> None:
    """The abort reaches the repeat."""
    driver = Driver()
    task = Task("d0", "e.t0", Resources(100, GIB), retries=1)
    child, grandchild = (Task(f"d{i}", f"e.t{i}", Resources(100, GIB)) for i in (1, 2))
    driver.submit(task)
    driver.start(1)
    ask(driver, 1, "child", child)
    driver.start(2)
    ask(driver, 2, "grandchild", grandchild)
    driver.start(3)
    driver.end(2, USER)
    driver.end(1, USER)
    driver.start(4)
    ask(driver, 4, "child", child)
    driver.end(3, KILLED, killed=True)
    kills = of(driver.do(ev.AbortRun("t", "default", "development", "run", "no")), fx.Kill)
    assert {kill.lease_id for kill in kills} == {4, 5}


def test_an_aborted_parent_is_not_told_of_the_children_that_end_with_it() -> None:
    """An abort of a wide fan-out sends one kill, not an outcome per child."""
    driver = Driver(Inventory(1000, 8 * GIB, 0))
    driver.submit(Task("d0", "e.t0", ONE_CORE))
    driver.start(1)
    for number in range(10):
        ask(driver, 1, f"child{number}", Task("d1", "e.t1", ONE_CORE))
    effects = driver.do(ev.AbortRun("t", "default", "development", "run", "no"))
    assert not of(effects, fx.SendOutcome)
    assert len(of(effects, fx.Kill)) == 1


def test_a_hello_with_a_parked_lease_that_nobody_knows_to_have_started_starts_it() -> None:
    """What an executor has forgotten about a start does not end the scheduler."""
    driver = Driver()
    driver.submit(Task("d", "e.t", ONE_CORE))
    hello = ev.NodeConnected("n", 2, "boot", Inventory(4000, 8 * GIB, 0))
    hello.leases = [ev.HeldLease(1, started=False, parked=True, worker_id=1)]
    driver.do(hello)
    action = next(iter(driver.scheduler.world.actions.values()))
    assert action.state is State.PARKED


def test_a_host_that_was_silent_until_its_leases_were_given_up_has_to_say_hello_again() -> None:
    """Its session is closed: else its leases would run on for nobody, and it would get no work for ever."""
    driver = Driver()
    driver.submit(Task("d", "e.t", ONE_CORE, retries=1))
    driver.start(1)
    closed: list[fx.CloseSession] = []
    while driver.scheduler.world.leases.get(1):
        deadline = driver.scheduler.next_deadline()
        assert deadline is not None
        driver.now = max(driver.now, deadline)
        closed += of(driver.do(ev.Tick()), fx.CloseSession)
    assert closed == [fx.CloseSession("n", 1)]
    hello = ev.NodeConnected("n", 2, "boot", Inventory(4000, 8 * GIB, 0))
    hello.leases = [ev.HeldLease(1, started=True, parked=False, worker_id=1)]
    effects = driver.do(hello)
    assert of(effects, fx.Welcome)[0].dropped_leases == [1]
    assert of(effects, fx.Assign)


def test_what_only_a_host_that_restarts_could_take_waits_for_it() -> None:
    """A host is away for a while before what needs it fails."""
    driver = Driver()
    driver.do(ev.NodeConnected("large", 9, "boot", Inventory(64000, 64 * GIB, 0)))
    driver.do(ev.NodeDisconnected("large", 9))
    driver.submit(Task("d", "e.t", Resources(32000, GIB)))
    while driver.scheduler.world.nodes["large"].state.value != "lost":
        driver.tick()
    driver.submit(Task("s", "e.s", ONE_CORE), "small")
    driver.end(1)  # frees something, so that everything that waits is looked at again
    assert driver.scheduler.world.runs
    effects = driver.do(ev.NodeConnected("large", 10, "next boot", Inventory(64000, 64 * GIB, 0)))
    assert of(effects, fx.Assign)


def test_what_only_a_host_that_is_gone_for_good_could_take_fails_in_the_end() -> None:
    """Nobody waits for hardware that does not come back."""
    driver = Driver()
    driver.do(ev.NodeConnected("large", 9, "boot", Inventory(64000, 64 * GIB, 0)))
    driver.do(ev.NodeDisconnected("large", 9))
    driver.submit(Task("d", "e.t", Resources(32000, GIB)))
    effects: list[fx.Effect] = []
    while driver.scheduler.world.runs:
        effects = driver.tick()
    assert final_state(effects) is State.FAILED
    assert driver.now > 600 * SECOND


def test_a_pool_keeps_the_worker_that_a_waiting_parent_is_in() -> None:
    """A parked parent needs its worker's pool again for its next children, beside which no other may fit."""
    policy = PoolPolicy("pool", 0, 1, 1, 30 * SECOND, 5 * SECOND)
    driver = Driver(Inventory(2000, 2 * GIB, 0))
    ready(driver, driver.submit(Task("p", "env.p", ONE_CORE, pool=policy)))
    driver.start(1, 1)
    ask(driver, 1, "slow", Task("c", "e.c", ONE_CORE))
    driver.do(ev.LeaseParked("n", 1, 1))
    driver.start(2)
    end = driver.now + 60 * SECOND
    while driver.now < end:
        assert not of(driver.tick(), fx.StopWorker)


def test_projects_and_domains_share_no_warm_worker() -> None:
    """One environment, used in two projects, gets a pool in each: nothing in memory crosses over."""
    driver = Driver()
    task = Task("p", "env.p", ONE_CORE, pool=PoolPolicy("pool", 1, 1, 4, 30 * SECOND, 40 * SECOND))
    first, second = driver.submit(task, "one"), driver.submit(task, "two", project="other")
    (one,), (two,) = of(first, fx.StartWorker), of(second, fx.StartWorker)
    assert (one.pool_key, two.pool_key) == ("default/development/pool", "other/development/pool")


def test_what_waits_for_a_pool_goes_on_waiting_while_one_of_its_workers_works() -> None:
    """An extra worker that does not start is no reason to fail what the others will do."""
    policy = PoolPolicy("pool", 1, 2, 1, 30 * SECOND, 40 * SECOND)
    driver = Driver()
    task = Task("p", "env.p", ONE_CORE, pool=policy)
    ready(driver, driver.submit(task, "one"))
    effects = driver.submit(task, "two")
    for _ in range(4):
        (start,) = of(effects, fx.StartWorker)
        cause = Failure(FailureKind.SYSTEM, "LaunchFailed", "no memory")
        effects = driver.do(ev.WorkerReported("n", start.worker_id, WorkerState.EXITED, cause))
        while not of(effects, fx.StartWorker):
            effects = driver.tick()
    assert of(driver.end(1), fx.Assign), "the second action got the worker"


def test_a_retried_action_has_its_whole_queue_time_again_after_a_restart() -> None:
    """The queue limit counts from when an action became ready, not from when it was created."""
    driver = Driver(Inventory(1000, 8 * GIB, 0))
    task = Task("d", "e.t", ONE_CORE, retries=1, max_queued=5 * SECOND)
    recorded(driver, ev.CreateRun("t", "default", "development", "run", "d", task, None, None, None))
    driver.now += 100 * SECOND
    other = Task("o", "e.o", ONE_CORE)
    recorded(
        driver,
        ev.NodeHeartbeat("n", 1),
        ev.CreateRun("u", "default", "development", "other", "d", other, 0, 0, 0),
    )
    recorded(driver, ev.NodeDisconnected("n", 1))
    recorded(driver, ev.LeaseEnded("n", 1, USER, None, False, driver.now))
    driver.scheduler = Scheduler()
    driver.scheduler.restore(ledger_of(driver).snapshot(), driver.now)
    driver.do(ev.Tick())
    assert [a.state for a in driver.scheduler.world.actions.values()] == [State.QUEUED, State.QUEUED]


def test_limits_of_what_has_ended_do_not_pile_up() -> None:
    """Memory is bounded by live work: a limit of a day does not keep a day's history of timers."""
    driver = Driver()
    task = Task("d", "e.t", ONE_CORE, max_runtime=86_400 * SECOND, max_queued=86_400 * SECOND)
    for number in range(5000):
        driver.scheduler.handle(
            ev.CreateRun("t", "default", "development", f"run{number}", "d", task, None, None, None),
            driver.now,
        )
        lease = number + 1
        driver.scheduler.handle(ev.LeaseStarted("n", lease, 0, driver.now), driver.now)
        driver.scheduler.handle(ev.LeaseEnded("n", lease, None, b"", False, driver.now), driver.now)
    assert driver.scheduler.world.leases == {}
    assert len(driver.scheduler.world.timers) < 5000


def test_a_lease_that_was_stopped_before_its_host_had_it_is_not_sent_behind_its_kill() -> None:
    """The host answers the kill of what it does not have; an assignment that came later would run for nobody."""
    driver = Driver()
    ready(driver, driver.submit(pooled(0)))
    driver.do(ev.NodeDisconnected("n", 1))
    hello = ev.NodeConnected("n", 2, "boot", Inventory(4000, 8 * GIB, 0))
    driver.scheduler.world.leases[1].killing = FailureKind.TIMEOUT
    effects = driver.do(hello)
    assert [kill.lease_id for kill in of(effects, fx.Kill)] == [1]
    assert not of(effects, fx.Assign)


def lose_parent(driver: Driver) -> int:
    """The parent's worker dies for the platform's reasons; returns the lease that it runs again with."""
    before = set(driver.scheduler.world.leases)
    driver.end(1, Failure(FailureKind.SYSTEM, "WorkerDied", "gone"))
    while not (fresh := set(driver.scheduler.world.leases) - before):
        driver.tick()
    (lease,) = fresh
    driver.start(lease)
    return lease


@pytest.mark.parametrize("confirmed", [True, False], ids=["ended", "still ending"])
def test_a_child_that_its_parent_cancelled_runs_anew_for_a_later_attempt(confirmed: bool) -> None:
    """A cancellation is the parent's own doing, not an outcome to be replayed to it after a loss."""
    driver = Driver()
    driver.submit(Task("p", "e.p", Resources(100, 1)))
    driver.start(1)
    child = Task("c", "e.c", ONE_CORE)
    ask(driver, 1, "k", child)
    driver.start(2)
    driver.do(ev.ChildCancelled("n", 1, "k"))
    if confirmed:
        driver.end(2, Failure(FailureKind.USER, "ActionAbortedError", ""), killed=True)
    lease = lose_parent(driver)
    effects = ask(driver, lease, "k", child)
    (granted,) = of(effects, fx.LeaseGranted)
    (created,) = of(effects, fx.ActionCreated)
    assert created.name == "k-2"
    if not confirmed:
        assert not of(driver.end(2, killed=True), fx.SendOutcome), "the old one's end is nobody's outcome"
    (outcome,) = of(driver.end(granted.lease_id), fx.SendOutcome)
    assert (outcome.lease_id, outcome.name, outcome.phase) == (lease, "k-2", Phase.SUCCEEDED)


def test_a_repeated_request_of_the_attempt_that_cancelled_starts_nothing() -> None:
    """A doubled frame of the same attempt gets the outcome of what is being stopped."""
    driver = Driver()
    driver.submit(Task("p", "e.p", Resources(100, 1)))
    driver.start(1)
    child = Task("c", "e.c", ONE_CORE)
    ask(driver, 1, "k", child)
    driver.start(2)
    driver.do(ev.ChildCancelled("n", 1, "k"))
    assert not of(ask(driver, 1, "k", child), fx.ActionCreated)
    (outcome,) = of(driver.end(2, killed=True), fx.SendOutcome)
    assert (outcome.key, outcome.phase) == ("k", Phase.ABORTED)
