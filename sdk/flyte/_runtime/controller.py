"""Runs the children of an attempt: what a task call inside a running task ends up in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flyte import errors
from flyte._cache import cache_key
from flyte._context import current_group, get_custom_context
from flyte._logging import logger
from flyte._runtime.blob_access import LeaseObjects
from flyte._runtime.lease import Child, Lease, Outcome, SpecEntry, TraceEnd
from flyte._runtime.lineage import Lineage
from flyte._runtime.lookups import Lookups
from flyte._runtime.own_loop import OwnLoop
from flyte._runtime.traces import LeaseTrace
from flyte._step import Step, current_trace
from flyte._types import digest
from flyte._types._moves import off_loop

if TYPE_CHECKING:
    from flyte._checkpoint import Checkpoint
    from flyte._task import TaskTemplate
    from flyte.models import Progress
    from flyte.report import Report

T = TypeVar("T")

_MAX_SPECS = 1024
_MAX_DOCUMENT_BYTES = 60 * 1024 * 1024
"""What a frame can carry, whatever `max_inline_io_bytes` says."""


class Courier(Protocol):
    """What the controller needs of the worker. All but `loop` and `pump` is called on the loop only."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The worker's event loop."""

    def ask(self, lease: Lease, child: Child) -> None:
        """Asks for a child."""

    def begin_trace(self, lease: Lease, child: Child) -> None:
        """Says that a traced call runs."""

    def end_trace(self, lease: Lease, end: TraceEnd) -> None:
        """Says how a traced call ended."""

    def pump(self, lease: Lease, begin: Callable[[], None], finished: Callable[[], bool]) -> None:
        """Begins something on the main thread and runs the loop from within, until it has finished."""

    def cancel(self, lease: Lease, child: Child) -> None:
        """Says that nobody waits for a child any more."""

    def tell_progress(self, lease: Lease) -> None:
        """Says how far a lease is, now or in a moment. Called on the loop only."""

    @property
    def lookups(self) -> Lookups:
        """Asks for deployed tasks; on the loop only."""


class SpecBook:
    """Task definitions by the task object, so that a task called 10,000 times is described once."""

    def __init__(self) -> None:
        self._entries: OrderedDict[int, tuple[Any, SpecEntry]] = OrderedDict()
        self._lock = threading.Lock()

    def entry(self, task: TaskTemplate[Any, Any] | Step, environment: str) -> SpecEntry:
        """The definition of a task, or of a step of a task of an environment, and its key, which is a digest of it."""
        with self._lock:
            known = self._entries.get(id(task))
            if known is not None and known[0] is task:
                self._entries.move_to_end(id(task))
                return known[1]
        spec = task.to_spec(environment) if isinstance(task, Step) else task.to_spec()
        text = json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()
        entry = SpecEntry(hashlib.blake2b(text, digest_size=16).hexdigest(), spec)
        with self._lock:
            self._entries[id(task)] = (task, entry)
            if len(self._entries) > _MAX_SPECS:
                self._entries.popitem(last=False)
        return entry


class LeaseController:
    """Runs the children of one attempt: what `flyte._context.current_controller()` gives inside of it."""

    def __init__(self, lease: Lease, courier: Courier, specs: SpecBook, objects: LeaseObjects) -> None:
        self._lease = lease
        self._environment = str(lease.header.get("task") or "").rpartition(".")[0] or "flyte"
        self._courier = courier
        self._specs = specs
        self.objects = objects
        """The objects of the blob store in reach of the attempt."""
        self.report: Report | None = None
        self._lineage = Lineage()
        self._occurrences: dict[tuple[str, str, str, str], int] = {}
        self._lock = threading.Lock()
        self._own_loops: dict[asyncio.AbstractEventLoop, OwnLoop] = {}
        self._deployed: dict[tuple[str, str, str, str], Future[dict[str, Any]]] = {}

    @property
    def checkpoint(self) -> Checkpoint:
        """What the attempt saves, and finds of earlier ones."""
        from flyte._checkpoint import Checkpoint
        from flyte._runtime.checkpoints import LeaseCheckpoints

        return Checkpoint(LeaseCheckpoints(self.objects))

    def report_progress(self, progress: Progress) -> None:
        """Shows how far the attempt is: the latest of all that comes in a moment."""
        lease = self._lease
        lease.progress = progress
        if not lease.progress_due:
            lease.progress_due = True
            self._courier.loop.call_soon_threadsafe(self._courier.tell_progress, lease)

    async def submit(
        self, task: TaskTemplate[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Runs a child and gives its result. Cancelling the awaiting asyncio task aborts the child.

        Raises:
            BaseRuntimeError: The child failed; the class says how.
            InlineIOMaxBytesBreached: The inputs are too large.
            RuntimeDataValidationError: The inputs do not fit the task.
            NotInTaskContextError: The attempt has ended already.
        """
        child = await off_loop(self._task_child, task, args, kwargs)
        outcome = await self.ask(child)
        document = self.document(task.name, child, outcome)
        return await off_loop(task.interface.load_outputs, document)

    def submit_sync(self, task: TaskTemplate[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a child and blocks the calling thread until its result is there.

        Called in asynchronous code it blocks the event loop, as any blocking call does: prefer
        `task.aio(…)` there.

        Raises:
            BaseRuntimeError: The child failed; the class says how.
        """
        child = self._task_child(task, args, kwargs)
        outcome = self.ask_sync(child)
        return task.interface.load_outputs(self.document(task.name, child, outcome))

    def trace(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> LeaseTrace:
        """Begins to record a traced call.

        Raises:
            TypeError: The arguments do not fit the function.
            RuntimeDataValidationError: They do not fit its types.
            NotInTaskContextError: The attempt has ended already.
        """
        document = step.interface.dump_inputs(step.interface.bind(args, kwargs))
        return LeaseTrace(
            self, step.name, self._child(step, document), bool(self._lease.header.get("replays"))
        )

    async def pause(self, step: Step, inputs: Mapping[str, Any], seconds: float | None) -> bytes:
        """Waits for a condition or a sleep, and gives its outputs document. Cancelling the asyncio task aborts it."""
        child = self._pause(step, inputs, seconds)
        return self.document(step.name, child, await self.ask(child))

    def pause_sync(self, step: Step, inputs: Mapping[str, Any], seconds: float | None) -> bytes:
        """The same, blocking the calling thread."""
        child = self._pause(step, inputs, seconds)
        return self.document(step.name, child, self.ask_sync(child))

    def _pause(self, step: Step, inputs: Mapping[str, Any], seconds: float | None) -> Child:
        child = self._child(step, step.interface.dump_inputs(inputs))
        child.wait = round((seconds or 0) * 1_000_000)
        return child

    async def ask(self, child: Child) -> Outcome | None:
        """Asks for a child and waits for its outcome."""
        if asyncio.get_running_loop() is self._courier.loop:
            return await self._on_main_loop(child)
        return await self._on_other_loop(child)

    def ask_sync(self, child: Child) -> Outcome | None:
        """The same, blocking the calling thread."""
        answers: list[Outcome | None] = []
        if threading.current_thread() is threading.main_thread():
            # A sync task called in asynchronous code: the loop stands still, as the author wrote it.
            child.resolve = answers.append
            ask = partial(self._courier.ask, self._lease, child)
            self._courier.pump(self._lease, ask, lambda: bool(answers))
            return answers[0]
        gate = threading.Lock()
        gate.acquire()

        def resolve(outcome: Outcome | None) -> None:
            answers.append(outcome)
            gate.release()

        child.resolve = resolve
        child.blocks_thread = True
        self._courier.loop.call_soon_threadsafe(self._courier.ask, self._lease, child)
        gate.acquire()
        return answers[0]

    def begin_trace(self, child: Child) -> None:
        """Says that a traced call runs. Nobody waits for that."""
        self._post(partial(self._courier.begin_trace, self._lease, child))

    def end_trace(self, end: TraceEnd) -> None:
        """Says how a traced call ended, and waits for nothing."""
        self._post(partial(self._courier.end_trace, self._lease, end))

    async def keep_trace(self, end: TraceEnd) -> None:
        """Says how a traced call ended, and waits until the executor has that in its outbox."""
        main = self._courier.loop
        own = asyncio.get_running_loop()
        if own is main:
            future: asyncio.Future[Outcome | None] = main.create_future()
            end.resolve = lambda _: None if future.done() else future.set_result(None)
            self._courier.end_trace(self._lease, end)
        else:
            future = self._place(own).waiter(end)
            main.call_soon_threadsafe(self._courier.end_trace, self._lease, end)
        await future
        self._check_killed()

    def keep_trace_sync(self, end: TraceEnd) -> None:
        """The same, blocking the calling thread."""
        if threading.current_thread() is threading.main_thread():
            kept: list[None] = []
            end.resolve = lambda _: kept.append(None)
            begin = partial(self._courier.end_trace, self._lease, end)
            self._courier.pump(self._lease, begin, lambda: bool(kept))
        else:
            gate = threading.Lock()
            gate.acquire()
            end.resolve = lambda _: gate.release()
            self.end_trace(end)
            gate.acquire()
        self._check_killed()

    def _check_killed(self) -> None:
        if self._lease.killed is not None:
            raise asyncio.CancelledError(f"the action {self._lease.action} is being stopped")

    def learn(self, key: str, outputs: bytes) -> None:
        """Takes note of what a sibling gave, for the lineage of later ones."""
        self._lineage.learn(key, outputs)

    def _post(self, call: Callable[[], None]) -> None:
        if threading.current_thread() is threading.main_thread():
            call()
        else:
            self._courier.loop.call_soon_threadsafe(call)

    async def find_task(self, name: str, project: str, domain: str, version: str) -> dict[str, Any]:
        """Finds a deployed task, once per attempt: what is "latest" stays the same in it.

        Raises:
            RemoteTaskNotFoundError: There is none.
            NotInTaskContextError: The attempt has ended already.
        """
        if self._lease.ended:
            raise errors.NotInTaskContextError(
                f"the task {name} was looked up after the action {self._lease.action} had ended"
            )
        place = (project, domain, name, version)
        with self._lock:
            answer = self._deployed.get(place)
            is_new = answer is None
            if answer is None:
                answer = self._deployed[place] = Future()
        if is_new:
            wanted = {"name": name, "project": project, "domain": domain, "version": version}
            ask = partial(self._courier.lookups.ask, self._lease, wanted, answer)
            self._courier.loop.call_soon_threadsafe(ask)
        try:
            return await asyncio.shield(asyncio.wrap_future(answer))
        except errors.BaseRuntimeError:
            self._deployed.pop(place, None)  # it may be there when it is asked for again
            raise

    def run_blocking(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine for sync code that was called on the worker's event loop, and blocks until it ends.

        Raises:
            RuntimeUserError: Too many such calls are nested.
        """
        work: list[asyncio.Task[T]] = []

        def begin() -> None:
            work.append(self._courier.loop.create_task(coroutine))

        self._courier.pump(self._lease, begin, lambda: work[0].done())  # noqa: PLW0108 - made by begin
        return work[0].result()

    async def _on_main_loop(self, child: Child) -> Outcome | None:
        lease = self._lease
        future: asyncio.Future[Outcome | None] = self._courier.loop.create_future()

        def resolve(outcome: Outcome | None) -> None:
            if not future.done():
                future.set_result(outcome)

        child.resolve = resolve
        self._courier.ask(lease, child)
        waiting = asyncio.current_task()
        if waiting is None or waiting not in lease.others:
            waiting = None
        else:
            lease.others.discard(waiting)
        try:
            return await future
        except asyncio.CancelledError:
            self._courier.cancel(lease, child)
            raise
        finally:
            if waiting is not None:
                lease.others.add(waiting)

    async def _on_other_loop(self, child: Child) -> Outcome | None:
        """Waits on a loop of the user's own, such as that of `asyncio.run` in a sync task."""
        main = self._courier.loop
        future = self._place(asyncio.get_running_loop()).waiter(child)
        main.call_soon_threadsafe(self._courier.ask, self._lease, child)
        try:
            return await future
        except asyncio.CancelledError:
            main.call_soon_threadsafe(self._courier.cancel, self._lease, child)
            raise

    def _place(self, own: asyncio.AbstractEventLoop) -> OwnLoop:
        place = self._own_loops.get(own)
        if place is None:
            place = self._own_loops[own] = OwnLoop(own, self._courier.loop, self._lease)
        return place

    def _task_child(
        self, task: TaskTemplate[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Child:
        refuse_in_trace(task)
        warn_of_pool_of_one(self._environment, task)
        return self._child(task, task.interface.dump_inputs(task.interface.bind(args, kwargs)))

    def _child(self, task: TaskTemplate[Any, Any] | Step, document: bytes) -> Child:
        if self._lease.ended:
            raise errors.NotInTaskContextError(
                f"{task.name} was called after the action {self._lease.action} had ended: "
                "await what it starts"
            )
        check_size(document, task.max_inline_io_bytes, f"the inputs of {task.name}")
        inputs_digest, group = digest(document), current_group()
        parent = current_trace() or self._lease.action
        with self._lock:
            identity = (parent, task.name, inputs_digest, group)
            occurrence = self._occurrences.get(identity, 0)
            self._occurrences[identity] = occurrence + 1
        spec = self._specs.entry(task, self._environment)
        return Child(
            key=child_key(parent, task.name, inputs_digest, group, occurrence),
            spec=spec,
            group=group,
            sources=self._lineage.sources(document),
            document=document,
            digest=inputs_digest,
            cache_key=cache_key(spec.spec, document, inputs_digest),
            custom_context=self._custom_context(),
            resolve=_nobody,
            kind=task.kind if isinstance(task, Step) else "",
        )

    def _custom_context(self) -> dict[str, str]:
        """What a child is to have beside what its run has; empty when that is the same."""
        custom = get_custom_context()
        return {} if custom == (self._lease.header.get("run_custom_context") or {}) else custom

    def document(self, name: str, child: Child, outcome: Outcome | None) -> bytes:
        """The outputs document of a child that succeeded.

        Raises:
            BaseRuntimeError: It did not.
            asyncio.CancelledError: The attempt is being stopped.
        """
        if outcome is None:
            raise asyncio.CancelledError(f"the action {self._lease.action} is being stopped")
        if outcome.phase == "succeeded":
            self.learn(child.key, outcome.document)
            return outcome.document
        failure = outcome.failure or {}
        raise errors.from_failure(
            str(failure.get("kind") or ""),
            str(failure.get("code") or ""),
            str(failure.get("message") or f"{name} ended as {outcome.phase}"),
            phase=outcome.phase,
            retries=0 if failure.get("non_recoverable") else _retries(child),
            worker=failure.get("worker"),
            user_traceback=str(failure.get("traceback") or ""),
        )


def refuse_in_trace(task: TaskTemplate[Any, Any]) -> None:
    """Refuses a call of a task inside a traced call: nobody could tell later what it was part of.

    Raises:
        TraceDoesNotAllowNestedTasksError: The caller is inside of one.
    """
    if current_trace():
        raise errors.TraceDoesNotAllowNestedTasksError(
            f"{task.name} is a task, which a traced function cannot call: call it in the task itself, or leave "
            "@flyte.trace out"
        )


def child_key(parent: str, task: str, inputs_digest: str, group: str, occurrence: int) -> str:
    """The name that a child gets, the same in every attempt of its parent.

    Args:
        parent: Name of the parent's action; within a traced call the key of that call.
        task: Fully qualified name of the child's task.
        inputs_digest: Digest of the inputs document.
        group: Path of the groups around the call.
        occurrence: How many equal calls the parent made before.
    """
    identity = json.dumps([parent, task, inputs_digest, group, occurrence], separators=(",", ":"))
    return base64.b32encode(hashlib.blake2b(identity.encode(), digest_size=10).digest()).decode().lower()


def check_size(document: bytes, limit: int, what: str) -> None:
    """Refuses a document that is too large to travel inline.

    Args:
        document: The document.
        limit: Largest size in bytes, 0 for as much as a frame carries.
        what: What it is, for the message.

    Raises:
        InlineIOMaxBytesBreached: It is longer than the limit.
    """
    limit = min(limit or _MAX_DOCUMENT_BYTES, _MAX_DOCUMENT_BYTES)
    if len(document) > limit:
        raise errors.InlineIOMaxBytesBreached(
            f"{what} are {len(document):,} bytes, more than max_inline_io_bytes={limit:,}: raise "
            f"max_inline_io_bytes, or pass less"
        )


def warn_of_pool_of_one(caller: str, task: TaskTemplate[Any, Any]) -> None:
    """Say once that a call may wait for ever: it is made from the only slot that could carry it out.

    Args:
        caller: Name of the environment of the calling task.
        task: What is called.
    """
    pool = task.reusable
    if pool is None or (pool.max_replicas, pool.concurrency) != (1, 1):
        return
    environment = task.environment.name
    if environment in _warned:
        return
    if caller == environment:
        _warned.add(environment)
        logger.warning(
            "%s is called from the only slot of its environment %s: the caller gives the slot back while it only "
            "waits, but while threads of its own run it holds it, and the call waits for ever. Use replicas=2 or "
            "concurrency=2",
            task.name,
            environment,
        )


_warned: set[str] = set()


def _retries(child: Child) -> int:
    return int((child.spec.spec.get("retry") or {}).get("count") or 0)


def _nobody(outcome: Outcome | None) -> None:
    """Resolves a child that nobody waits for yet."""
