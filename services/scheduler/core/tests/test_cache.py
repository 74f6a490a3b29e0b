"""The cache: what is found, who computes, who waits."""

from __future__ import annotations

import pytest

from services.scheduler.core import effects as fx
from services.scheduler.core import events as ev
from services.scheduler.core.machine import Scheduler
from services.scheduler.core.model import (
    SECOND,
    CacheUse,
    Failure,
    FailureKind,
    Resources,
    State,
    Task,
)

from .ledger import MemoryLedger
from .simulated_host import MS, Program
from .simulation import Simulation
from .test_core import ONE_CORE, Driver, of
from .test_simulation import HOSTS, cold, warm

TASK = Task("d", "e.t", ONE_CORE)
USE = CacheUse("default/development/key")
SERIAL = CacheUse("default/development/key", serialize=True)
BROKEN = Failure(FailureKind.USER, "ValueError", "no")


class Parent(Driver):
    """A running root action that asks for children which use the cache."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        super().__init__()
        self.submit(Task("p", "e.p", Resources(100, 1)))
        self.start(1)

    def do(self, *events: ev.Event, after: int = 0) -> list[fx.Effect]:
        effects = super().do(*events, after=after)
        for effect in effects:
            self.ledger.apply(effect)
        return effects

    def ask(
        self, key: str, use: CacheUse | None, cached: int = 0, lease: int = 1, task: Task = TASK
    ) -> list[fx.Effect]:
        return self.do(ev.ChildRequested("n", lease, key, task, None, None, cache=use, cached=cached))

    def state(self, key: str) -> State:
        return next(row.state for row in self.ledger.actions.values() if row.created.name == key)


def test_what_the_ledger_has_ends_the_action_at_once() -> None:
    """A hit is decided when the action is created: it ends with the outputs of another, and never runs."""
    driver = Parent()
    driver.ask("a", USE)
    driver.end(2)
    effects = driver.ask("b", USE, cached=2)
    assert not of(effects, fx.LeaseGranted)
    (moved,), (outcome,) = of(effects, fx.ActionMoved), of(effects, fx.SendOutcome)
    assert (moved.state, moved.cached_from, outcome.key) == (State.SUCCEEDED, 2, "b")


def test_a_success_is_stored_and_found_before_the_ledger_tells() -> None:
    """An entry that is younger than the look-up of an event is found as well."""
    driver = Parent()
    driver.ask("a", USE)
    (stored,) = of(driver.end(2), fx.CacheStored)
    assert (stored.key, stored.action_id) == (USE.key, 2)
    (moved,) = of(driver.ask("b", USE, cached=0), fx.ActionMoved)
    assert moved.cached_from == 2


def test_only_successes_are_stored() -> None:
    """A failed action leaves nothing in the cache."""
    driver = Parent()
    driver.ask("a", USE)
    assert not of(driver.end(2, BROKEN), fx.CacheStored)
    assert of(driver.ask("b", USE), fx.LeaseGranted)


def test_a_hit_is_not_stored_again() -> None:
    """What came from the cache is not a new entry."""
    driver = Parent()
    driver.ask("a", USE)
    driver.end(2)
    assert not of(driver.ask("b", USE), fx.CacheStored)


def test_overwriting_runs_in_any_case_and_replaces_the_entry() -> None:
    """An action that is to overwrite does not look; what it computes is the entry from then on."""
    driver = Parent()
    driver.ask("a", USE)
    driver.end(2)
    (granted,) = of(driver.ask("b", CacheUse(USE.key, overwrite=True), cached=2), fx.LeaseGranted)
    (stored,) = of(driver.end(granted.lease_id), fx.CacheStored)
    (moved,) = of(driver.ask("c", USE, cached=2), fx.ActionMoved)
    assert moved.cached_from == stored.action_id == granted.action_id


def test_without_serialize_equal_actions_run_side_by_side() -> None:
    """Two that start before either has ended both run."""
    driver = Parent()
    assert of(driver.ask("a", USE), fx.LeaseGranted)
    assert of(driver.ask("b", USE), fx.LeaseGranted)


def test_with_serialize_one_runs_and_the_others_get_its_outputs() -> None:
    """Later ones wait, say for whom, and end with the first one's success."""
    driver = Parent()
    driver.ask("a", SERIAL)
    for key in ("b", "c"):
        (moved,) = of(driver.ask(key, SERIAL), fx.ActionMoved)
        assert moved.state is State.WAITING_FOR_CACHE
        assert moved.detail == "waits for action a of run run, which computes the same"
    effects = driver.end(2)
    assert [m.cached_from for m in of(effects, fx.ActionMoved) if m.action_id != 2] == [2, 2]
    assert sorted(outcome.key for outcome in of(effects, fx.SendOutcome)) == ["a", "b", "c"]


def test_when_the_one_that_computes_fails_the_next_takes_over() -> None:
    """The first that waits runs; the others wait for that one."""
    driver = Parent()
    for key in ("a", "b", "c"):
        driver.ask(key, SERIAL)
    (granted,) = of(driver.end(2, BROKEN), fx.LeaseGranted)
    assert (driver.state("a"), driver.state("c")) == (State.FAILED, State.WAITING_FOR_CACHE)
    driver.end(granted.lease_id)
    assert (driver.state("b"), driver.state("c")) == (State.SUCCEEDED, State.SUCCEEDED)


def test_retries_of_the_one_that_computes_keep_the_others_waiting() -> None:
    """A failed attempt that is tried again is not the end of the action."""
    driver = Parent()
    again = Task("r", "e.r", ONE_CORE, retries=1)
    driver.ask("a", SERIAL, task=again)
    driver.ask("b", SERIAL, task=again)
    driver.end(2, BROKEN)
    driver.tick()
    assert driver.state("b") is State.WAITING_FOR_CACHE
    driver.end(3)
    assert (driver.state("a"), driver.state("b")) == (State.SUCCEEDED, State.SUCCEEDED)


def test_one_that_waits_can_be_aborted_alone() -> None:
    """Nobody else is touched, and the outcome of the one that computes goes to those that still wait."""
    driver = Parent()
    for key in ("a", "b", "c"):
        driver.ask(key, SERIAL)
    driver.do(ev.ChildCancelled("n", 1, "b"))
    assert driver.state("b") is State.ABORTED
    driver.end(2)
    assert driver.state("c") is State.SUCCEEDED


def test_one_that_waits_keeps_its_queue_time_limit() -> None:
    """Waiting for another counts as queue time."""
    driver = Parent()
    hasty = Task("h", "e.h", ONE_CORE, max_queued=5 * SECOND)
    driver.ask("a", SERIAL, task=TASK)
    driver.ask("b", SERIAL, task=hasty)
    while driver.state("b") is State.WAITING_FOR_CACHE:
        driver.tick()
    assert driver.state("b") is State.TIMED_OUT
    assert driver.state("a") is State.ASSIGNED


def test_nobody_waits_for_an_action_that_it_is_part_of() -> None:
    """A cached task that calls itself with the same inputs would wait for ever: the inner one runs."""
    driver = Parent()
    driver.ask("outer", SERIAL)
    driver.start(2)
    (granted,) = of(driver.ask("inner", SERIAL, lease=2), fx.LeaseGranted)
    driver.end(granted.lease_id)
    driver.end(2)
    assert (driver.state("inner"), driver.state("outer")) == (State.SUCCEEDED, State.SUCCEEDED)


def test_two_that_would_wait_for_parts_of_each_other_do_not() -> None:
    """A circle of waits over several keys is never closed: the action that would close it runs."""
    driver = Parent()
    left, right = CacheUse("left", serialize=True), CacheUse("right", serialize=True)
    driver.ask("l", left)
    driver.ask("r", right)
    driver.start(2)
    driver.start(3)
    (moved,) = of(driver.ask("lr", right, lease=2), fx.ActionMoved)
    assert moved.state is State.WAITING_FOR_CACHE
    assert of(driver.ask("rl", left, lease=3), fx.LeaseGranted)


def test_an_overwriting_action_waits_for_nobody() -> None:
    """It is there to compute anew, also while another computes."""
    driver = Parent()
    driver.ask("a", SERIAL)
    assert of(driver.ask("b", CacheUse(SERIAL.key, serialize=True, overwrite=True)), fx.LeaseGranted)


def test_after_a_restart_the_others_still_wait() -> None:
    """Who computes and who waits is found again in the ledger."""
    driver = Parent()
    for key in ("a", "b", "c"):
        driver.ask(key, SERIAL)
    driver.scheduler = Scheduler()
    driver.scheduler.restore(driver.ledger.snapshot(), driver.now)
    driver.do(ev.NodeConnected("n", 2, "boot", driver_inventory(driver), leases=held(driver)))
    driver.end(2)
    assert (driver.state("b"), driver.state("c")) == (State.SUCCEEDED, State.SUCCEEDED)


def driver_inventory(driver: Parent):
    """What the driver's node offers."""
    return driver.ledger.nodes["n"].inventory


def held(driver: Parent) -> list[ev.HeldLease]:
    """The leases that the node of the driver holds."""
    rows = driver.ledger.attempts.values()
    return [
        ev.HeldLease(row.granted.lease_id, row.started_at > 0, False, row.worker_id)
        for row in rows
        if row.closed is None
    ]


def shared(key: str, index: int, *, serialize: bool = True, failures: int = 0) -> Program:
    """A child whose result others want as well."""
    use = CacheUse(f"default/development/{index}", serialize=serialize)
    make = warm if index % 2 else cold
    return Program(f"{key}-{index}", make(f"leaf{index}", 2), cache=use, user_failures=failures)


def sharing(key: str, serialize: bool = True) -> Program:
    """Two stages of children, most of which are equal to others of this run or the other."""
    stages = tuple(
        tuple(
            shared(f"{key}{stage}{copy}", index, serialize=serialize, failures=index % 2)
            for index in range(3)
            for copy in "xy"
        )
        for stage in "ab"
    )
    return Program(key, cold("root", 1), stages)


@pytest.mark.parametrize("seed", range(60))
def test_under_faults_serialized_work_succeeds_once_for_all(seed: int) -> None:
    """Whatever breaks, every caller gets an outcome, and of equal actions exactly one computed it."""
    sim = Simulation(seed, HOSTS["two"], faults=0.03, doubling=0.1, batching=bool(seed % 2), silences=2)
    for run in ("one", "two"):
        sim.submit(run, sharing(run))
    sim.run()
    assert set(sim.ledger.run_phases.values()) == {"succeeded"}
    uses = [
        (row.created.cache.key, row.moved.cached_from)
        for row in sim.ledger.actions.values()
        if row.created.cache is not None and row.moved is not None
    ]
    assert sorted(key for key, source in uses if not source) == sorted({key for key, _ in uses})
    assert len(uses) == 24


@pytest.mark.parametrize("seed", range(40))
def test_under_faults_an_abort_passes_the_work_to_the_other_run(seed: int) -> None:
    """When the run that computes is aborted, the one that waits computes itself and succeeds."""
    sim = Simulation(seed, HOSTS["two"], faults=0.02, doubling=0.1)
    for run in ("one", "two"):
        sim.submit(run, sharing(run, serialize=bool(seed % 4)))
    sim.later(
        (5 + seed * 11) * MS, lambda: sim.feed(ev.AbortRun("stop", "default", "development", "one", "enough"))
    )
    sim.run()
    assert sim.ledger.run_phases[2] == "succeeded"
    assert sim.ledger.run_phases[1] in ("aborted", "succeeded")
