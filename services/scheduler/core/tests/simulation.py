"""A deterministic simulation of scheduler, executors and workers in virtual time, with faults.

Frames are delayed, lost with their session, and doubled; what queues up at a host goes into one frame, in the order
of the frame's fields; the scheduler crashes before or after any commit; executors restart; hosts reboot or fall silent
with their session open; workers die. A seed decides everything, so a failure can be replayed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from functools import partial

from services.scheduler.core import effects as fx
from services.scheduler.core import events as ev
from services.scheduler.core.invariants import validate
from services.scheduler.core.machine import Scheduler
from services.scheduler.core.model import (
    SECOND,
    Inventory,
    Kind,
    State,
)

from .ledger import MemoryLedger
from .simulated_host import MS, Program, SimExecutor


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

    def submit(
        self,
        name: str,
        program: Program,
        *,
        queue: str = "",
        interruptible: bool | None = None,
        recovers: str = "",
    ) -> None:
        """Create a run."""
        self._roots[name] = program
        event = ev.CreateRun(
            name, "default", "development", name, name, program.task, program, b"in", (queue, interruptible)
        )
        event.queue, event.interruptible = queue, interruptible
        earlier = next((run for run in self.ledger.runs.values() if run.name == recovers), None)
        event.sources = (earlier.run_id, *earlier.sources) if earlier is not None else ()
        self.feed(event)

    def feed(self, *events: ev.Event) -> None:
        """One step of the scheduler: handle, commit, release. A crash may strike before or after the commit."""
        for event in events:
            if isinstance(event, ev.ChildRequested):
                self._look_up(event)
        effects = self.scheduler.step(events, self.now)
        validate(self.scheduler.world)
        if self._strikes():
            self._crash()  # nothing was committed
            for event in events:
                if isinstance(event, ev.CreateRun | ev.AbortRun | ev.AbortAction | ev.SignalAction):
                    self.later(50 * MS, partial(self.feed, event))  # the client tries again
            return
        for effect in effects:
            self.ledger.apply(effect)
            if isinstance(effect, fx.ActionCreated):
                self.programs[effect.action_id] = effect.spec
                if effect.kind is Kind.CONDITION:
                    self.later(effect.spec.duration, partial(self._signal, effect.action_id))
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

    def _signal(self, action_id: int) -> None:
        """Somebody answers a condition, and again until an answer was committed."""
        if self.ledger.actions[action_id].state is State.PAUSED:
            self.feed(ev.SignalAction(("signal", action_id), action_id, b"yes"))
            self.later(SECOND, partial(self._signal, action_id))

    def _look_up(self, event: ev.ChildRequested) -> None:
        """What the shell does before the core has its turn."""
        if event.cache is not None:
            event.cached = self.ledger.cache.get(event.cache.key, 0)
        lease = self.scheduler.world.leases.get(event.lease_id)
        if lease is not None:
            sources = self.ledger.runs[self.scheduler.world.action_of(lease).run_id].sources
            event.recovered = self.ledger.succeeded(sources, event.key)

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
