"""Traces, conditions and sleeps, by plain calls."""

from __future__ import annotations

import pytest

from services.scheduler.core import effects as fx
from services.scheduler.core import events as ev
from services.scheduler.core.machine import Scheduler
from services.scheduler.core.model import SECOND, Failure, FailureKind, Kind, Phase, State, Task

from .ledger import MemoryLedger
from .test_core import ONE_CORE, Driver, of

PARENT = Task("p", "e.parent", ONE_CORE, retries=2)
USER = Failure(FailureKind.USER, "ValueError", "x")
LOST = Failure(FailureKind.SYSTEM, "WorkerDied", "x")


class Parent(Driver):
    """A driver with one task that runs, and a ledger to restart from."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        super().__init__()
        self.submit(PARENT)
        self.lease = 1
        self.start(1)

    def do(self, *events: ev.Event, after: int = 0) -> list[fx.Effect]:
        effects = super().do(*events, after=after)
        for effect in effects:
            self.ledger.apply(effect)
        return effects

    def request(self, kind: Kind, key: str = "k", *, wait: int = 0, began: bool = False) -> ev.ChildRequested:
        task = Task(kind.value, f"e.{kind.value}", ONE_CORE)
        began_at = self.now if began else 0
        return ev.ChildRequested(
            "n", self.lease, key, task, "spec", b"in", kind=kind, wait=wait, began_at=began_at
        )

    def ask(self, kind: Kind, key: str = "k", *, wait: int = 0, began: bool = False) -> list[fx.Effect]:
        return self.do(self.request(kind, key, wait=wait, began=began))

    def trace(self, key: str = "k", failure: Failure | None = None, abandoned: str = "") -> list[fx.Effect]:
        request = self.request(Kind.TRACE, key, began=True)
        return self.do(ev.TraceEnded(request, failure, b"out", self.now, abandoned))

    def retry(self, failure: Failure) -> None:
        """Let the attempt end and the next one begin."""
        effects = self.end(self.lease, failure)
        while not (granted := of(effects, fx.LeaseGranted)):
            effects = self.tick()
        self.lease = granted[0].lease_id
        self.start(self.lease)

    def restart(self) -> None:
        """A new scheduler takes over; the host says Hello with its lease."""
        self.scheduler = Scheduler()
        self.scheduler.restore(self.ledger.snapshot(), self.now)
        hello = ev.NodeConnected("n", 2, "boot", self.ledger.nodes["n"].inventory)
        hello.leases = [ev.HeldLease(self.lease, True, False, 0)]
        self.do(hello)

    def named(self, name: str) -> State:
        """State of an action."""
        return self.ledger.by_name("run")[name].state  # type: ignore[no-any-return]


def outcomes(effects: list[fx.Effect]) -> list[Phase]:
    """Phases that the parent was told."""
    return [effect.phase for effect in of(effects, fx.SendOutcome)]


@pytest.mark.parametrize("failure", [USER, LOST])
def test_a_trace_that_succeeded_is_replayed_and_any_other_runs_again(failure: Failure) -> None:
    """A later attempt is given the recorded success; what failed, was abandoned or cut off has a successor."""
    d = Parent()
    assert outcomes(d.trace("good")) == []
    d.trace("bad", USER)
    d.trace("left", abandoned="cancelled")
    d.ask(Kind.TRACE, "open", began=True)
    assert [d.named(name) for name in ("good", "bad", "left", "open")] == [
        State.SUCCEEDED,
        State.FAILED,
        State.ABORTED,
        State.IN_PARENT,
    ]
    d.retry(failure)
    assert d.named("open") is State.ABORTED, "it ended with the attempt that it ran in"
    assert outcomes(d.ask(Kind.TRACE, "good")) == [Phase.SUCCEEDED]
    for key in ("bad", "left", "open"):
        assert outcomes(d.ask(Kind.TRACE, key)) == [Phase.RUNNING]
        assert d.named(f"{key}-2") is State.IN_PARENT
        d.trace(key)
        assert d.named(f"{key}-2") is State.SUCCEEDED


def test_a_trace_is_recorded_once_and_for_its_own_lease_only() -> None:
    """Doubled frames, a late beginning and the frames of an older lease change nothing, and are acknowledged."""
    d = Parent()
    first = d.trace()
    assert of(first, fx.AcknowledgeTrace) == [fx.AcknowledgeTrace("n", 1, "k")]
    again = d.trace()
    assert of(again, fx.AcknowledgeTrace)
    assert not of(again, fx.ActionCreated) + of(again, fx.ActionMoved)
    d.trace("failed", USER)
    assert not of(d.ask(Kind.TRACE, "failed", began=True), fx.ActionCreated), "its beginning, once more"
    old = d.request(Kind.TRACE, "late", began=True)
    d.retry(LOST)
    late = d.do(ev.TraceEnded(old, None, b"out", d.now))
    assert of(late, fx.AcknowledgeTrace)
    assert not of(late, fx.ActionCreated)


def test_the_assignment_says_whether_traces_may_be_recorded() -> None:
    """Only attempts after the first one ask before they run a trace."""
    d = Driver()
    assert [effect.replays for effect in of(d.submit(PARENT), fx.Assign)] == [False]
    d.start(1)
    effects = d.end(1, USER)
    assert [effect.replays for effect in of(effects, fx.Assign)] == [True]


def test_a_sleep_lasts_until_its_time_over_attempts_and_restarts() -> None:
    """A parent that is tried again, by whichever scheduler, sleeps for what is left."""
    d = Parent()
    d.ask(Kind.SLEEP, wait=100 * SECOND)
    assert d.named("k") is State.PAUSED
    woken = d.now + 100 * SECOND
    d.now += 40 * SECOND
    d.retry(USER)
    assert outcomes(d.ask(Kind.SLEEP, wait=100 * SECOND)) == []
    d.restart()
    assert outcomes(d.ask(Kind.SLEEP, wait=100 * SECOND)) == []
    while d.named("k") is State.PAUSED:
        effects = d.tick()
    assert d.now == woken
    assert d.named("k") is State.SUCCEEDED
    assert outcomes(effects) == [Phase.SUCCEEDED]
    assert outcomes(d.ask(Kind.SLEEP, wait=100 * SECOND)) == [Phase.SUCCEEDED]


def test_a_condition_takes_one_signal() -> None:
    """The first value stands for every attempt of the task, which is parked until it comes; others are refused."""
    d = Parent()
    d.ask(Kind.CONDITION)
    d.do(ev.LeaseParked("n", 1, 1))
    assert d.scheduler.world.nodes["n"].free_cpu == 4000, "its task has given its processor time back"
    condition = d.scheduler.world.actions[2]
    assert of(d.do(ev.SignalAction("task", 1, b"yes")), fx.Reply)[0].error is not None
    d.restart()
    d.ask(Kind.CONDITION)
    effects = d.do(ev.SignalAction("first", condition.id, b"yes"))
    assert of(effects, fx.Reply)[0].error is None
    assert outcomes(effects) == [Phase.SUCCEEDED]
    assert of(d.do(ev.SignalAction("second", condition.id, b"no")), fx.Reply)[0].error is not None
    d.retry(USER)
    assert outcomes(d.ask(Kind.CONDITION)) == [Phase.SUCCEEDED]


def test_a_condition_that_nobody_signals_times_out() -> None:
    """Its time limit ends it with a failure of kind TIMEOUT."""
    d = Parent()
    d.ask(Kind.CONDITION, wait=5 * SECOND)
    while d.named("k") is State.PAUSED:
        effects = d.tick()
    moved = next(effect for effect in of(effects, fx.ActionMoved) if effect.action_id == 2)
    assert moved.phase is Phase.TIMED_OUT
    assert moved.failure is not None
    assert moved.failure.kind is FailureKind.TIMEOUT


@pytest.mark.parametrize("kind", [Kind.CONDITION, Kind.SLEEP])
def test_a_cancelled_pause_is_aborted_at_once(kind: Kind) -> None:
    """Nothing has to be confirmed by a host, and a later attempt asks anew."""
    d = Parent()
    d.ask(kind, wait=SECOND)
    d.do(ev.ChildCancelled("n", 1, "k"))
    assert d.named("k") is State.ABORTED
    d.retry(LOST)
    d.ask(kind, wait=SECOND)
    assert d.named("k-2") is State.PAUSED


def test_steps_end_with_their_task() -> None:
    """When the task ends for good, what still pauses or runs in it is aborted."""
    d = Parent()
    for kind in (Kind.TRACE, Kind.CONDITION, Kind.SLEEP):
        d.ask(kind, kind.value, wait=SECOND, began=kind is Kind.TRACE)
    d.do(ev.AbortRun("abort", "default", "development", "run", "enough"))
    d.end(1, LOST, killed=True)
    assert {d.named(kind) for kind in ("trace", "condition", "sleep")} == {State.ABORTED}
    assert not d.scheduler.world.actions


def test_a_trace_cannot_be_aborted_by_itself() -> None:
    """It runs inside its task, which is what has to be aborted."""
    d = Parent()
    d.ask(Kind.TRACE, began=True)
    reply = of(d.do(ev.AbortAction("abort", 2, "no")), fx.Reply)[0]
    assert reply.error is not None
    assert d.named("k") is State.IN_PARENT
