"""A deterministic simulation of scheduler, executors and workers in virtual time, with faults.

Frames are delayed, lost with their session, and doubled; what queues up at a host goes into one frame, in the order
of the frame's fields; the scheduler crashes before or after any commit; executors restart; hosts reboot or fall silent
with their session open; workers die. A seed decides everything, so a failure can be replayed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from services.scheduler.core import effects as fx
from services.scheduler.core import events as ev
from services.scheduler.core.invariants import validate
from services.scheduler.core.machine import Scheduler
from services.scheduler.core.model import (
    SECOND,
    CacheUse,
    Failure,
    FailureKind,
    Inventory,
    Phase,
    Task,
    WorkerState,
)

from .ledger import MemoryLedger

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
    parked: bool = False
    result: ev.LeaseEnded | None = None
    started_at: int = 0


FIELDS = [
    ev.LeaseStarted,
    ev.ChildRequested,
    ev.ChildCancelled,
    ev.LeaseParked,
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
            if lease.result is not None:
                self.send(lease.result)
            else:
                for key in sorted(lease.waiting | lease.cancelled):
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
        self.send(ev.LeaseParked(self.name, lease.assign.lease_id, len(lease.waiting)))

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
            self._request(lease, key)
        if lease.program.cancels:
            lease.cancelling = True
            self._step_later(lease, lease.program.duration, partial(self._cancel, stage=lease.stage))
        else:
            self._park(lease)

    def _park(self, lease: SimLease) -> None:
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

    def _request(self, lease: SimLease, key: str) -> None:
        child = next(c for c in lease.program.stages[lease.stage] if self._key(lease, c) == key)
        request = ev.ChildRequested(self.name, lease.assign.lease_id, key, child.task, child, b"inputs")
        request.cache = child.cache
        self.send(request)

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
        lease.waiting.discard(effect.key)
        lease.parked = False
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


class Simulation:
    """The whole system under one random seed."""

    def __init__(
        self,
        seed: int,
        nodes: dict[str, Inventory],
        *,
        faults: float = 0.0,
        doubling: float = 0.0,
        batching: bool = False,
        silences: int = 0,
    ) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.doubling = doubling
        self.batching = batching
        self.silences = silences
        self.now = 1_000 * SECOND
        self.ledger = MemoryLedger()
        self.scheduler = Scheduler()
        self.programs: dict[int, Program] = {}
        self.successes: dict[int, int] = {}
        self.replies: dict[object, fx.Reply] = {}
        self.session_counter = 0
        self.fault_count = 0
        self.dead_workers = 0
        self.reboots = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._roots: dict[str, Program] = {}
        self.executors = {name: SimExecutor(self, name, inventory) for name, inventory in nodes.items()}
        for executor in self.executors.values():
            executor.connect()

    def later(self, delay: int, call: Callable[[], None]) -> None:
        """Call after a delay in virtual time."""
        self._order += 1
        heapq.heappush(self._queue, (self.now + delay, self._order, call))

    def deliver_up(self, executor: SimExecutor, frame: list[ev.Event]) -> None:
        """Carry a frame to the scheduler; it is lost when the session breaks on the way. Order is kept."""
        session = executor.session
        delay = max(MS, executor.silent_until - self.now)
        self.later(delay, lambda: self.feed(*frame) if executor.session == session else None)

    def submit(self, name: str, program: Program) -> None:
        """Create a run."""
        self._roots[name] = program
        self.feed(
            ev.CreateRun(name, "default", "development", name, name, program.task, program, b"in", None)
        )

    def feed(self, *events: ev.Event) -> None:
        """One step of the scheduler: handle, commit, release. A crash may strike before or after the commit."""
        for event in events:
            if isinstance(event, ev.ChildRequested) and event.cache is not None:
                event.cached = self.ledger.cache.get(event.cache.key, 0)
        effects = self.scheduler.step(events, self.now)
        validate(self.scheduler.world)
        if self._strikes():
            self._crash()  # nothing was committed
            for event in events:
                if isinstance(event, ev.CreateRun | ev.AbortRun | ev.AbortAction):
                    self.later(50 * MS, partial(self.feed, event))  # the client tries again
            return
        for effect in effects:
            self.ledger.apply(effect)
            if isinstance(effect, fx.ActionCreated):
                self.programs[effect.action_id] = effect.spec
        if self._strikes():
            self._crash()  # committed, but nothing was sent
            return
        for effect in effects:
            if isinstance(effect, fx.Reply):
                self.replies[effect.token] = effect
            elif isinstance(effect, fx.CloseSession):
                self._close_session(self.executors[effect.node], effect.session)
            elif not isinstance(effect, fx.Persist):
                self._deliver_down(effect)

    def _close_session(self, executor: SimExecutor, session: int) -> None:
        delay = max(MS, executor.silent_until - self.now)
        self.later(delay, lambda: self._break_session(executor) if executor.session == session else None)

    def _deliver_down(self, effect: fx.Effect) -> None:
        executor = self.executors[effect.node]  # type: ignore[union-attr]
        session = executor.session
        delay = max(MS, executor.silent_until - self.now)
        self.later(delay, lambda: executor.receive(effect) if executor.session == session else None)

    def _strikes(self) -> bool:
        if self.faults and self.fault_count < 40 and self.random.random() < self.faults / 4:
            self.fault_count += 1
            return True
        return False

    def _crash(self) -> None:
        self.scheduler = Scheduler()
        self.scheduler.restore(self.ledger.snapshot(), self.now)
        validate(self.scheduler.world)
        for executor in self.executors.values():
            self._break_session(executor)

    def _break_session(self, executor: SimExecutor) -> None:
        old = executor.session
        executor.session = None
        if old is not None:
            self.later(2 * MS, lambda: self.feed(ev.NodeDisconnected(executor.name, old)))
        wait = self.random.choice([5 * MS, 100 * MS, 3 * SECOND])
        self.later(wait, lambda: executor.connect() if executor.session is None else None)

    def _inject(self) -> None:
        if not self.faults or self.fault_count >= 40 or self.random.random() >= self.faults:
            return
        self.fault_count += 1
        executor = self.random.choice(list(self.executors.values()))
        match self.random.randrange(5 if self.silences else 4):
            case 0:
                self._break_session(executor)
            case 1:
                executor.lose_worker()
            case 2:
                self._break_session(executor)
                if self.reboots < 3:  # so that no action exhausts its system retries
                    executor.reboot()
            case 3:
                self._crash()
            case 4:
                self.silences -= 1
                executor.silent_until = self.now + self.random.choice([8, 15, 25, 90]) * SECOND

    def run(self, limit: int = 4_000 * SECOND) -> None:
        """Go on until all submitted runs have ended; heartbeats and timers included.

        Raises:
            AssertionError: they did not within `limit` of virtual time.
        """
        self._run(self.is_done, self.now + limit)

    def settle(self) -> None:
        """Go on without faults until hosts hold no lease that has no meaning any more.

        Raises:
            AssertionError: they still do after a while.
        """
        self.faults = 0.0
        self._run(lambda: not any(e.leases for e in self.executors.values()), self.now + 300 * SECOND)

    def _run(self, is_done: Callable[[], bool], end: int) -> None:
        while not is_done():
            assert self.now < end, f"not done: {self.describe()}"
            deadline = self.scheduler.next_deadline()
            next_call = self._queue[0][0] if self._queue else None
            if next_call is None and deadline is None:
                raise AssertionError(f"stuck: {self.describe()}")
            if deadline is not None and (next_call is None or deadline < next_call):
                self.now = max(self.now, deadline)
                for executor in self.executors.values():
                    if executor.session is not None:
                        executor.send(ev.NodeHeartbeat(executor.name, executor.session))
                self.feed(ev.Tick())
                continue
            when, _, call = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            call()
            self._inject()

    def advance_until(self, condition: Callable[[], bool]) -> None:
        """Go on, without faults, until `condition` holds."""
        while not condition():
            when, _, call = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            call()

    def is_done(self) -> bool:
        """Whether every submitted run has ended and nothing is leased."""
        names = {run.name for run in self.ledger.runs.values()}
        return set(self._roots) <= names and not self.scheduler.world.runs

    def describe(self) -> str:
        """What is not done, for failures."""
        w = self.scheduler.world
        lines = [
            f"{a.name} {a.state.value} lease={a.lease_id} wait={a.wait_reason!r}" for a in w.actions.values()
        ]
        lines += [f"node {n.name} {n.state} {n.free_cpu} {n.free_memory}" for n in w.nodes.values()]
        return "; ".join(lines)
