"""A simulated host: carries leases out in virtual time, and speaks the protocol of the session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from services.scheduler.core import effects as fx
from services.scheduler.core import events as ev
from services.scheduler.core.model import (
    SECOND,
    CacheUse,
    Failure,
    FailureKind,
    Inventory,
    Kind,
    Phase,
    State,
    Task,
    WorkerState,
)

if TYPE_CHECKING:
    from .simulation import Simulation

MS = SECOND // 1000


@dataclass(frozen=True)
class Program:
    """What an action does: stages of children that it waits for, then success or failure."""

    key: str
    task: Task
    stages: tuple[tuple[Program, ...], ...] = ()
    user_failures: int = 0  # attempts that raise before one succeeds
    duration: int = 5 * MS
    catches: bool = False  # goes on when a child fails
    cancels: bool = False  # withdraws the last child of each stage after a while
    hangs: bool = False  # never ends by itself
    cache: CacheUse | None = None
    kind: Kind = Kind.TASK  # of a step: how long it takes or sleeps is its duration


@dataclass
class SimLease:
    """A lease in a worker: which stage it is in and what it waits for."""

    assign: fx.Assign
    program: Program
    worker_id: int = 0
    running: bool = False
    stage: int = -1
    waiting: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)  # of the stage, without an outcome
    cancelling: bool = False  # a timer of user code is pending: not parked meanwhile
    child_failed: bool = False
    tracing: dict[str, int] = field(default_factory=dict)  # traces that run, and when they began
    recorded: dict[str, ev.TraceEnded] = field(
        default_factory=dict
    )  # that ended, until they are acknowledged
    parked: bool = False
    result: ev.LeaseEnded | None = None
    started_at: int = 0


FIELDS = [
    ev.LeaseStarted,
    ev.ChildRequested,
    ev.ChildCancelled,
    ev.LeaseParked,
    ev.TraceEnded,
    ev.LeaseEnded,
    ev.WorkerReported,
    ev.NodeHeartbeat,
]
"""The order in which a frame's contents are handled."""


class SimExecutor:
    """One host: carries leases out in virtual time and speaks the session protocol."""

    def __init__(self, sim: Simulation, name: str, inventory: Inventory) -> None:
        self.sim = sim
        self.name = name
        self.inventory = inventory
        self.boot = 1
        self.session: int | None = None
        self.leases: dict[int, SimLease] = {}
        self.workers: dict[int, tuple[str, WorkerState, int]] = {}  # id -> pool, state, concurrency
        self.outbox: list[ev.Event] = []
        self.silent_until = 0

    def connect(self) -> None:
        """Open a session and say what is here."""
        self.sim.session_counter += 1
        self.session = self.sim.session_counter
        self.outbox.clear()
        hello = ev.NodeConnected(self.name, self.session, f"boot-{self.boot}", self.inventory)
        hello.workers = [ev.HeldWorker(i, state, pool) for i, (pool, state, _) in self.workers.items()]
        hello.leases = [
            ev.HeldLease(i, x.started_at > 0, x.parked, x.worker_id) for i, x in self.leases.items()
        ]
        self.sim.deliver_up(self, [hello])
        for lease in list(self.leases.values()):
            for ended in lease.recorded.values():
                self.send(ended)
            if lease.result is not None:
                self.send(lease.result)
            else:
                for key in sorted(lease.waiting | lease.cancelled):
                    if key not in lease.recorded:
                        self._request(lease, key)
                for key in sorted(lease.cancelled):
                    self.send(ev.ChildCancelled(self.name, lease.assign.lease_id, key))
                if lease.parked:
                    self._say_parked(lease)

    def send(self, event: ev.Event) -> None:
        """Send to the scheduler, sometimes twice, with what else queues up meanwhile."""
        if self.session is None:
            return
        if not self.sim.batching:
            for _ in range(2 if self.sim.random.random() < self.sim.doubling else 1):
                self.sim.deliver_up(self, [event])
            return
        overtaken = isinstance(event, ev.ChildRequested | ev.ChildCancelled) and any(
            isinstance(other, ev.LeaseParked) and other.lease_id == event.lease_id for other in self.outbox
        )
        if overtaken:
            self._flush()
        if not self.outbox:
            self.sim.later(self.sim.random.choice([0, 0, MS, 3 * MS]), self._flush)
        self.outbox.append(event)

    def _flush(self) -> None:
        frame, self.outbox = self.outbox, []
        if frame:
            frame.sort(key=lambda event: FIELDS.index(type(event)))
            self.sim.deliver_up(self, frame)

    def _say_parked(self, lease: SimLease) -> None:
        self.send(ev.LeaseParked(self.name, lease.assign.lease_id, len(lease.waiting - lease.tracing.keys())))

    def receive(self, effect: fx.Effect) -> None:
        """A frame of the scheduler arrived."""
        match effect:
            case fx.Welcome():
                for lease_id in effect.dropped_leases:
                    self.leases.pop(lease_id, None)
                for worker_id in effect.dropped_workers:
                    self.workers.pop(worker_id, None)
            case fx.Assign():
                if effect.lease_id not in self.leases:
                    program = self.sim.programs[effect.action_id]
                    self.leases[effect.lease_id] = SimLease(effect, program, effect.worker_id)
                    self._dispatch()
            case fx.SendOutcome():
                self._outcome(effect)
            case fx.Kill():
                self._kill(effect.lease_id)
            case fx.AcknowledgeResult():
                lease = self.leases.get(effect.lease_id)
                if lease is not None and lease.result is not None:
                    del self.leases[effect.lease_id]
            case fx.AcknowledgeTrace():
                lease = self.leases.get(effect.lease_id)
                if lease is not None:
                    lease.recorded.pop(effect.key, None)
            case fx.StartWorker():
                self._start_worker(effect)
            case fx.StopWorker():
                self._stop_worker(effect.worker_id)

    def _start_worker(self, effect: fx.StartWorker) -> None:
        if effect.worker_id in self.workers:
            return
        self.workers[effect.worker_id] = (effect.pool_key, WorkerState.STARTING, effect.concurrency)

        def ready() -> None:
            if effect.worker_id in self.workers:
                self.workers[effect.worker_id] = (effect.pool_key, WorkerState.READY, effect.concurrency)
                self.send(ev.WorkerReported(self.name, effect.worker_id, WorkerState.READY))
                self._dispatch()

        self.sim.later(20 * MS, ready)

    def _stop_worker(self, worker_id: int) -> None:
        if worker_id not in self.workers:
            self.send(ev.WorkerReported(self.name, worker_id, WorkerState.EXITED))
            return

        def try_exit() -> None:
            busy = any(
                x.worker_id == worker_id and x.running and x.result is None for x in self.leases.values()
            )
            if busy:
                self.sim.later(10 * MS, try_exit)
            elif self.workers.pop(worker_id, None) is not None:
                self.send(ev.WorkerReported(self.name, worker_id, WorkerState.EXITED))

        try_exit()

    def _dispatch(self) -> None:
        for lease in self.leases.values():
            if lease.running or lease.result is not None:
                continue
            if not lease.assign.pool_key:
                self._begin(lease)
                continue
            for worker_id, (pool, state, concurrency) in self.workers.items():
                if pool != lease.assign.pool_key or state is not WorkerState.READY:
                    continue
                load = sum(
                    1 for x in self.leases.values()
                    if x.worker_id == worker_id and x.running and not x.parked and x.result is None
                )  # fmt: skip
                if load < concurrency:
                    lease.worker_id = worker_id
                    self._begin(lease)
                    break

    def _begin(self, lease: SimLease) -> None:
        lease.running = True
        self._step_later(lease, 3 * MS, self._started)

    def _step_later(self, lease: SimLease, delay: int, step: Callable[[SimLease], None]) -> None:
        boot = self.boot

        def run() -> None:
            is_held = self.boot == boot and self.leases.get(lease.assign.lease_id) is lease
            if is_held and lease.result is None:
                step(lease)

        self.sim.later(delay, run)

    def _started(self, lease: SimLease) -> None:
        lease.started_at = self.sim.now
        self.send(ev.LeaseStarted(self.name, lease.assign.lease_id, lease.worker_id, self.sim.now))
        self._next_stage(lease)

    def _next_stage(self, lease: SimLease) -> None:
        lease.stage += 1
        lease.cancelled.clear()
        if lease.stage >= len(lease.program.stages):
            if not lease.program.hangs:
                self._step_later(lease, lease.program.duration, self._end)
            return
        lease.waiting = {self._key(lease, child) for child in lease.program.stages[lease.stage]}
        for key in sorted(lease.waiting):
            if self._child(lease, key).kind is Kind.TRACE and not lease.assign.replays:
                self._begin_trace(lease, key)
            self._request(lease, key)
        if lease.program.cancels:
            lease.cancelling = True
            self._step_later(lease, lease.program.duration, partial(self._cancel, stage=lease.stage))
        else:
            self._park(lease)

    def _begin_trace(self, lease: SimLease, key: str) -> None:
        actions = self.sim.ledger.by_name(self.sim.ledger.run_of(lease.assign.action_id))
        done = [row for row in actions.values() if row.created.key == key and row.state is State.SUCCEEDED]
        assert not done, f"trace {key} runs although its success is recorded"
        lease.tracing[key] = self.sim.now
        self._step_later(lease, self._child(lease, key).duration, partial(self._end_trace, key=key))

    def _end_trace(self, lease: SimLease, key: str) -> None:
        """A traced call ends: it is in the outbox from now on, and its task goes on."""
        child = self._child(lease, key)
        fails = lease.assign.user_attempt < child.user_failures
        failure = Failure(FailureKind.USER, "ValueError", "scripted") if fails else None
        ended = ev.TraceEnded(self._event(lease, key), failure, None if fails else b"outputs", self.sim.now)
        lease.recorded[key] = ended
        self.send(ended)
        del lease.tracing[key]
        lease.waiting.discard(key)
        if fails:
            self._finish(lease, failure)
        else:
            self._go_on(lease)

    def _park(self, lease: SimLease) -> None:
        if lease.tracing:
            return  # it computes
        lease.parked = True
        self._say_parked(lease)
        self._dispatch()

    def _cancel(self, lease: SimLease, stage: int) -> None:
        lease.cancelling = False
        key = self._key(lease, lease.program.stages[stage][-1])
        if key in lease.waiting:
            lease.waiting.discard(key)
            lease.cancelled.add(key)
            self.send(ev.ChildCancelled(self.name, lease.assign.lease_id, key))
        self._go_on(lease)

    def _go_on(self, lease: SimLease) -> None:
        if lease.cancelling:
            return
        if lease.waiting:
            self._park(lease)
        else:
            self._next_stage(lease)

    def _key(self, lease: SimLease, child: Program) -> str:
        """Keys derive from the name of the parent: an action that is run again has other children."""
        name = self.sim.ledger.actions[lease.assign.action_id].created.name
        repeats = "" if name == "a0" else name.removeprefix(lease.program.key)
        return child.key + repeats.replace("-", "_")

    def _child(self, lease: SimLease, key: str) -> Program:
        return next(c for c in lease.program.stages[lease.stage] if self._key(lease, c) == key)

    def _event(self, lease: SimLease, key: str) -> ev.ChildRequested:
        child = self._child(lease, key)
        request = ev.ChildRequested(self.name, lease.assign.lease_id, key, child.task, child, b"inputs")
        request.cache, request.kind = child.cache, child.kind
        request.wait = child.duration if child.kind is Kind.SLEEP else 0
        request.began_at = lease.tracing.get(key, 0)
        return request

    def _request(self, lease: SimLease, key: str) -> None:
        self.send(self._event(lease, key))

    def _outcome(self, effect: fx.SendOutcome) -> None:
        lease = self.leases.get(effect.lease_id)
        if lease is None or lease.result is not None:
            return
        if effect.key in lease.cancelled:
            lease.cancelled.discard(effect.key)
            if lease.parked:
                self._say_parked(lease)
            return
        if effect.key not in lease.waiting:
            if lease.parked:
                self._say_parked(lease)
            return
        lease.parked = False
        if effect.phase is Phase.RUNNING:
            if effect.key not in lease.tracing:
                self._begin_trace(lease, effect.key)
            return
        lease.waiting.discard(effect.key)
        if effect.phase is not Phase.SUCCEEDED and not lease.program.catches:
            self._finish(lease, Failure(FailureKind.USER, "RuntimeUserError", f"child {effect.name} failed"))
        else:
            self._go_on(lease)

    def _end(self, lease: SimLease) -> None:
        if lease.assign.user_attempt < lease.program.user_failures:
            self._finish(lease, Failure(FailureKind.USER, "ValueError", "scripted"))
        else:
            self.sim.successes[lease.assign.action_id] = self.sim.successes.get(lease.assign.action_id, 0) + 1
            self._finish(lease, None)

    def _finish(self, lease: SimLease, failure: Failure | None, *, killed: bool = False) -> None:
        lease.tracing.clear()
        lease.result = ev.LeaseEnded(
            self.name,
            lease.assign.lease_id,
            failure,
            b"outputs",
            killed,
            self.sim.now,
            lease.started_at,
            lease.worker_id,
        )
        self.send(lease.result)
        self._dispatch()

    def _kill(self, lease_id: int) -> None:
        lease = self.leases.get(lease_id)
        failure = Failure(FailureKind.SYSTEM, "Killed", "killed")
        if lease is None:
            self.send(ev.LeaseEnded(self.name, lease_id, failure, None, True, self.sim.now))
        elif lease.result is None:
            self._finish(lease, failure, killed=True)

    def lose_worker(self) -> None:
        """Fault: one worker dies with everything in it."""
        running = [x for x in self.leases.values() if x.running and x.result is None]
        if not running or self.sim.dead_workers >= 4:  # one more could exhaust an action's system retries
            return
        self.sim.dead_workers += 1
        victim = self.sim.random.choice(sorted(running, key=lambda x: x.assign.lease_id))
        for lease in running:
            if lease.worker_id == victim.worker_id:
                self._finish(lease, Failure(FailureKind.SYSTEM, "WorkerDied", "its worker died"))
        if victim.worker_id in self.workers:
            del self.workers[victim.worker_id]
            self.send(ev.WorkerReported(self.name, victim.worker_id, WorkerState.EXITED))
        self._dispatch()

    def reboot(self) -> None:
        """Fault: the machine restarts; nothing survives."""
        self.sim.reboots += 1
        self.boot += 1
        self.leases.clear()
        self.workers.clear()
