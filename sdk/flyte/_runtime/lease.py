"""One attempt that this worker carries out, and the children it has asked for."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from flyte._runtime.frames import Header

if TYPE_CHECKING:
    from flyte.models import Progress

current_lease: ContextVar[Lease | None] = ContextVar("flyte_lease", default=None)
"""The lease that the running code belongs to, None in the runtime's own code."""


@dataclass(frozen=True, slots=True)
class SpecEntry:
    """A task definition under the key that children name it by."""

    key: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended."""

    action: str
    phase: str
    failure: dict[str, Any] | None
    document: bytes


@dataclass(slots=True, eq=False)
class Child:
    """A child that was asked for and has not ended.

    Attributes:
        custom_context: Its custom context; empty when it is the run's.
        resolve: Called once, on the event loop, with the outcome, or None when the lease was killed.
        blocks_thread: A user thread is blocked until it ends.
    """

    key: str
    spec: SpecEntry
    group: str
    sources: list[list[str]]
    document: bytes
    digest: str
    cache_key: str
    custom_context: Mapping[str, str]
    resolve: Callable[[Outcome | None], None]
    blocks_thread: bool = False
    cancelled: bool = False
    kind: str = ""  # of a step: "trace", "condition" or "sleep"; empty for a task
    wait: int = 0  # microseconds that a sleep lasts, or a condition waits at most
    began: bool = False  # a trace that runs already, and is not asked for


@dataclass(slots=True, eq=False)
class TraceEnd:
    """How a traced call ended, until the executor has that in its outbox.

    Attributes:
        resolve: Called once, on the event loop, when the executor has it, or when the lease was killed.
    """

    key: str
    document: bytes = b""
    digest: str = ""
    failure: dict[str, Any] | None = None
    abandoned: str = ""
    resolve: Callable[[Outcome | None], None] = lambda outcome: None


@dataclass(eq=False)
class Lease:
    """State of one attempt. Touched on the event loop only, unless noted.

    Attributes:
        id: The lease's number.
        header: The `run` frame that started it.
        document: The inputs document.
        children: Children without an outcome, by key.
        traces: Traced calls that run, or whose end the executor has not taken, by key.
        traced: Those of them that have ended.
        withdrawn: Number of `children` that were cancelled.
        tasks: Live asyncio tasks of the lease.
        others: Those of them that do not wait for a child at this moment.
        busy_threads: User threads that run code of the lease.
        blocked_threads: Those of them that are blocked until a child ends.
        lookups: Deployed tasks that it has asked for and not been told of.
        threads_before: Threads that existed before its code ran, such as those of modules: not its own.
        killed: The `kill` frame, when one came.
        interrupt: Makes its sync code raise an exception, while that runs.
        progress: What its code said last of how far it is. Set by any thread.
        progress_due: It is being taken to the executor, or will be. Set by any thread.
        progress_sent: When the executor was told last, by the loop's clock.
    """

    id: int
    header: Header
    document: bytes
    children: dict[str, Child] = field(default_factory=dict)
    traces: dict[str, Child] = field(default_factory=dict)
    traced: dict[str, TraceEnd] = field(default_factory=dict)
    withdrawn: int = 0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    others: set[asyncio.Task[Any]] = field(default_factory=set)
    checked_gathers: WeakSet[asyncio.Future[Any]] = field(default_factory=WeakSet)
    busy_threads: int = 0
    blocked_threads: int = 0
    lookups: int = 0
    threads_before: frozenset[threading.Thread] = frozenset()
    parked: bool = False
    started: bool = False
    ended: bool = False
    killed: Header | None = None
    root: asyncio.Task[Any] | None = None
    interrupt: Callable[[type[BaseException]], None] | None = None
    progress: Progress | None = None
    progress_due: bool = False
    progress_sent: float = -math.inf

    @property
    def action(self) -> str:
        """Name of the action within its run."""
        return str(self.header["action"])

    @property
    def awaiting(self) -> int:
        """Number of children that were asked for and neither cancelled nor ended."""
        return len(self.children) - self.withdrawn

    def track(self, task: asyncio.Task[Any]) -> None:
        """Counts an asyncio task as one of the lease's."""
        self.tasks.add(task)
        self.others.add(task)
        task.add_done_callback(self._untrack)

    def _untrack(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        self.others.discard(task)

    def thread_ended(self) -> None:
        """A user thread is done with the lease."""
        self.busy_threads -= 1

    def ask(self, child: Child) -> None:
        """Takes note of a child."""
        self.children[child.key] = child
        if child.blocks_thread:
            self.blocked_threads += 1

    def take_outcome(self, key: str, outcome: Outcome) -> None:
        """Hands an outcome to whoever waits for it. One that came before is ignored."""
        child = self.children.pop(key, None)
        if child is None:
            return
        self.withdrawn -= child.cancelled
        if outcome.phase == "running" and not child.cancelled:
            child.began = True
            self.traces[key] = child
        self.parked = False
        self._resolve(child, outcome)

    def trace_taken(self, key: str) -> None:
        """The executor has the end of a traced call."""
        self.traces.pop(key, None)
        end = self.traced.pop(key, None)
        if end is not None:
            end.resolve(None)

    def drop_children(self) -> None:
        """Ends every wait: the lease was killed."""
        for child in self.children.values():
            self._resolve(child, None)
        for end in self.traced.values():
            end.resolve(None)

    def _resolve(self, child: Child, outcome: Outcome | None) -> None:
        if child.blocks_thread:
            child.blocks_thread = False
            self.blocked_threads -= 1
        child.resolve(outcome)
