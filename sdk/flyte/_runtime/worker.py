"""The worker process: carries out leases that its executor sends, one or several at a time."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any, NoReturn

from flyte import _context, errors
from flyte._logging import configure
from flyte._runtime import execution, failures
from flyte._runtime.blob_access import BlobAccess, LeaseObjects
from flyte._runtime.capture import Capture
from flyte._runtime.channel import Channel
from flyte._runtime.controller import LeaseController, SpecBook
from flyte._runtime.environ import EnvironOverlay
from flyte._runtime.frames import Frame, Header
from flyte._runtime.idle import IdleSelector
from flyte._runtime.lease import Child, Lease, Outcome, TraceEnd, current_lease
from flyte._runtime.lookups import Lookups
from flyte._runtime.modules import CodeLoader
from flyte._runtime.order import WorkerOrder
from flyte._runtime.parking import may_park
from flyte._runtime.reports import attempt_report
from flyte._runtime.stepping import Note
from flyte._runtime.threads import LeaseThreadPool, SlotThreads
from flyte._types import digest

_CHILDREN_PER_FRAME = 4096
_CHILDREN_BYTES = 16 * 1024 * 1024
_MAX_NESTED_CALLS = 50
_PROGRESS_SECONDS = 1.0
"""How often the progress of a lease is sent at most."""


class Worker:
    """The state of a worker process. Everything happens on its event loop, in the main thread."""

    def __init__(self, order: WorkerOrder) -> None:
        self._order = order
        self._selector = IdleSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._channel = Channel(
            str(Path(order.directory) / "executor.sock"), self._loop, self._introduce, self._receive
        )
        self._blobs = BlobAccess(str(Path(order.directory) / "executor.sock"), order.worker, order.token)
        self._leases: dict[int, Lease] = {}
        self._scopes: dict[int, _context._Scope] = {}
        self._results: dict[int, Frame] = {}
        self._asked: list[tuple[Lease, Child]] = []
        self._ended_traces: list[tuple[Lease, TraceEnd]] = []
        self._sent_specs: set[str] = set()
        self._specs = SpecBook()
        self.lookups = Lookups(self._channel.send)
        self._loader = CodeLoader(Path(order.directory))
        self._note = Note(Path(order.directory))
        self._environ = EnvironOverlay()
        self._capture = Capture()
        self._slots = SlotThreads()
        self._pool = LeaseThreadPool(self._loop)
        self._nested_calls = 0
        self._stopping = False
        self._handlers = {
            "run": self._run,
            "outcomes": self._outcomes,
            "traced": self._traced,
            "ack": self._acknowledged,
            "task": self.lookups.answered,
            "kill": self._kill,
            "stop": self._stop,
        }

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The worker's event loop."""
        return self._loop

    def serve(self) -> None:
        """Works until the executor says `stop` and everything is acknowledged."""
        self._capture.install()
        self._loop.set_task_factory(self._new_task)
        self._loop.set_default_executor(self._pool)
        self._selector.on_iteration = self._end_iteration
        asyncio.set_event_loop(self._loop)
        self._channel.connect()
        while not self._finished():
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # A task of the user's raised it: whoever awaits that task receives it too.
                continue
        self._channel.close()

    # -- to the executor ---------------------------------------------------------------------------------

    def ask(self, lease: Lease, child: Child) -> None:
        """Asks for a child, together with all others of this iteration of the loop."""
        if lease.ended or lease.killed is not None:
            child.resolve(None)
            return
        lease.ask(child)
        self._asked.append((lease, child))

    def begin_trace(self, lease: Lease, child: Child) -> None:
        """Says that a traced call runs, together with what else is said in this iteration of the loop."""
        if lease.ended or lease.killed is not None:
            return
        child.began = True
        lease.traces[child.key] = child
        self._asked.append((lease, child))

    def end_trace(self, lease: Lease, end: TraceEnd) -> None:
        """Says how a traced call ended, behind its beginning."""
        if lease.ended or lease.killed is not None:
            end.resolve(None)
            return
        lease.traced[end.key] = end
        self._ended_traces.append((lease, end))

    def pump(self, lease: Lease, begin: Callable[[], None], finished: Callable[[], bool]) -> None:
        """Begins something on the main thread and runs the loop from within, until it has finished.

        Raises:
            RuntimeUserError: Too many such calls are nested.
        """
        if self._nested_calls >= _MAX_NESTED_CALLS:
            raise errors.RuntimeUserError(
                "TooManyBlockingCalls",
                f"{_MAX_NESTED_CALLS} sync tasks are being called at once in asynchronous code: "
                "call them with `await task.aio(…)`",
            )
        task = asyncio.current_task(self._loop)
        begin()
        self._nested_calls += 1
        if task is not None:
            lease.others.discard(task)
            asyncio.tasks._leave_task(self._loop, task)
        try:
            while not finished():
                self._loop._run_once()  # type: ignore[attr-defined]  # as run_forever does
        finally:
            self._nested_calls -= 1
            if task is not None:
                asyncio.tasks._enter_task(self._loop, task)
                lease.others.add(task)

    def cancel(self, lease: Lease, child: Child) -> None:
        """Says that nobody waits for a child any more; its outcome still counts when it comes."""
        if child.cancelled or child.key not in lease.children:
            return
        child.cancelled = True
        lease.withdrawn += 1
        self._send_asked()
        self._channel.send({"type": "cancel", "lease": lease.id, "key": child.key})

    def tell_progress(self, lease: Lease) -> None:
        """Says how far a lease is, unless it did so a moment ago: then a little later."""
        wait = lease.progress_sent + _PROGRESS_SECONDS - self._loop.time()
        if wait > 0 and not lease.ended:
            # In a context of nobody: a timer of the lease's own would keep it from being parked.
            self._loop.call_later(wait, self._send_progress, lease, context=Context())
        else:
            self._send_progress(lease)

    def _send_progress(self, lease: Lease) -> None:
        if lease.ended or not lease.progress_due:
            return
        lease.progress_due = False  # before it is read: what is set from now on is sent again
        lease.progress_sent = self._loop.time()
        self._say_progress(lease)

    def _say_progress(self, lease: Lease) -> None:
        progress = lease.progress
        if progress is not None:
            header: Header = {"type": "progress", "lease": lease.id, "done": progress.done}
            self._channel.send({**header, "total": progress.total or 0, "message": progress.message})

    def _introduce(self) -> None:
        """Says hello on a new connection, and again everything that is unanswered."""
        self._sent_specs.clear()
        self._asked.clear()
        self._ended_traces.clear()
        self._channel.send(
            {
                "type": "hello",
                "role": "worker",
                "worker": self._order.worker,
                "token": self._order.token,
                "pid": os.getpid(),
                "leases": [{"lease": lease.id, "parked": lease.parked} for lease in self._leases.values()],
            }
        )
        for lease in self._leases.values():
            if lease.started:
                self._channel.send({"type": "started", "lease": lease.id})
            self._asked.extend((lease, child) for child in lease.children.values())
            self._asked.extend((lease, child) for child in lease.traces.values())
            self._ended_traces.extend((lease, end) for end in lease.traced.values())
        self._send_asked()
        self.lookups.ask_again()
        for lease in self._leases.values():
            for child in lease.children.values():
                if child.cancelled:
                    self._channel.send({"type": "cancel", "lease": lease.id, "key": child.key})
            self._say_progress(lease)
            if lease.parked:
                self._say_parked(lease)
        for header, body in self._results.values():
            self._channel.send(header, body)

    def _say_parked(self, lease: Lease) -> None:
        self._channel.send({"type": "park", "lease": lease.id, "awaiting": lease.awaiting})

    def _send_asked(self) -> None:
        """Queues what was asked for and what has ended: children, many to a frame, their definitions first; traces."""
        if not self._channel.connected:
            return
        if self._asked:
            self._send_children()
        ended, self._ended_traces = self._ended_traces, []
        for lease, end in ended:
            self._channel.send(_traced_header(lease, end), end.document)

    def _send_children(self) -> None:
        asked, self._asked = self._asked, []
        headers: list[Header] = []
        documents: list[bytes] = []
        size = 0
        for lease, child in asked:
            if child.spec.key not in self._sent_specs:
                self._sent_specs.add(child.spec.key)
                self._channel.send({"type": "spec", "key": child.spec.key, "spec": child.spec.spec})
            if headers and (
                len(headers) >= _CHILDREN_PER_FRAME or size + len(child.document) > _CHILDREN_BYTES
            ):
                self._channel.send({"type": "children", "children": headers}, b"".join(documents))
                headers, documents, size = [], [], 0
            headers.append(_child_header(lease, child))
            documents.append(child.document)
            size += len(child.document)
        self._channel.send({"type": "children", "children": headers}, b"".join(documents))

    def _end_iteration(self, idle: bool) -> bool:
        self._send_asked()
        if idle:
            self._park()
        was_connected = self._channel.connected
        self._channel.flush()
        finished = self._finished()
        if finished:
            self._loop.stop()
        # A connection that broke while it was written to has scheduled the next attempt on the loop.
        return finished or was_connected != self._channel.connected

    def _park(self) -> None:
        waiting = [lease for lease in self._leases.values() if not lease.parked and lease.awaiting]
        if not waiting:
            return
        known = {threading.main_thread(), *self._slots.all, *self._pool.threads}
        for lease in waiting:
            if may_park(lease, self._loop, self._selector, known):
                lease.parked = True
                self._say_parked(lease)
        self._focus()

    # -- from the executor -------------------------------------------------------------------------------

    def _receive(self, frame: Frame) -> None:
        header, body = frame
        handler = self._handlers.get(header["type"])
        if handler is not None:
            handler(header, body)

    def _run(self, header: Header, body: bytes) -> None:
        number = int(header["lease"])
        if number in self._results:
            self._channel.send(*self._results[number])
        if number in self._results or number in self._leases:
            return
        lease = Lease(number, header, body)
        self._leases[number] = lease
        try:
            variables = execution.lease_variables(header)
            self._environ.push(number, variables)
            configure(variables)
            self._capture.begin(lease)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for this attempt
            problem = failures.platform_failure("WorkerError", f"the attempt could not be prepared: {error}")
            self._end(lease, execution.Ended(failure=problem))
            return
        context = copy_context()
        context.run(current_lease.set, lease)
        self._focus()
        try:
            task = context.run(self._loader.load, header)
        except BaseException as error:  # noqa: BLE001 - importing a module runs user code
            self._end(lease, execution.failed(lease, error))
            return
        self._start(lease, task, context)

    def _start(self, lease: Lease, task: Any, context: Context) -> None:
        lease.threads_before = frozenset(threading.enumerate())
        controller = LeaseController(lease, self, self._specs, LeaseObjects(self._blobs, lease.header))
        controller.report = attempt_report(task, lease, controller.objects)
        limit = int(lease.header.get("max_inline_io_bytes") or task.max_inline_io_bytes)
        self._scopes[lease.id] = _context._Scope(execution.task_context(lease.header), controller)
        self._focus()
        lease.started = True
        self._channel.send({"type": "started", "lease": lease.id})
        if task.is_async:
            work = self._await(lease, execution.run_async(lease, task, controller, limit))
            lease.root = context.run(self._loop.create_task, work)
            return

        def job() -> None:
            ended = execution.run_sync(lease, task, controller, limit)
            self._loop.call_soon_threadsafe(self._thread_ended, lease, ended)

        try:
            lease.interrupt = self._slots.start(context, job)
        except RuntimeError as error:
            # Its own code never ran: the platform may try it elsewhere, without a retry of the user's.
            message = (
                f"the attempt got no thread ({error}): the worker or its host has reached its limit of processes and "
                "threads, or of memory for them, perhaps because of other actions in this worker"
            )
            self._end(lease, execution.Ended(failure=failures.platform_failure("NoThread", message)))
            return
        lease.busy_threads += 1

    async def _await(self, lease: Lease, work: Coroutine[Any, Any, execution.Ended]) -> None:
        self._end(lease, await work)

    def _thread_ended(self, lease: Lease, ended: execution.Ended) -> None:
        lease.busy_threads -= 1
        lease.interrupt = None
        self._end(lease, ended)

    def _end(self, lease: Lease, ended: execution.Ended) -> None:
        """Gives back what the lease held and sends its result."""
        for child in list(lease.children.values()):
            self.cancel(lease, child)
        self._send_progress(lease)
        self._send_asked()
        self.lookups.drop(lease)
        lease.ended = True
        for task in lease.tasks - lease.others:
            task.cancel()
        del self._leases[lease.id]
        scope = self._scopes.pop(lease.id, None)
        if scope is not None:
            scope.controller.objects.close()  # type: ignore[attr-defined]  # a LeaseController, made by `_start`
        try:
            self._capture.end(lease)
        except OSError as error:
            sys.stderr.write(f"the log of lease {lease.id} is incomplete: {error}\n")
        self._environ.pop(lease.id)
        self._focus()
        header: Header = {
            "type": "result",
            "lease": lease.id,
            "killed": ended.killed,
            "peak_memory": _peak_memory(),
        }
        if ended.failure is not None:
            header["failure"] = ended.failure
        else:
            header["digest"] = digest(ended.document)
        self._results[lease.id] = (header, ended.document)
        self._channel.send(header, ended.document)

    def _outcomes(self, header: Header, body: bytes) -> None:
        start = 0
        for item in header["outcomes"]:
            end = start + int(item.get("size") or 0)
            lease = self._leases.get(int(item["lease"]))
            if lease is not None:
                outcome = Outcome(
                    str(item.get("action") or ""),
                    str(item["phase"]).lower(),
                    item.get("failure"),
                    body[start:end],
                )
                lease.take_outcome(str(item["key"]), outcome)
            start = end
        self._focus()

    def _traced(self, header: Header, body: bytes) -> None:
        for number, key in header["traces"]:
            lease = self._leases.get(int(number))
            if lease is not None:
                lease.trace_taken(str(key))

    def _acknowledged(self, header: Header, body: bytes) -> None:
        self._results.pop(int(header["lease"]), None)

    def _kill(self, header: Header, body: bytes) -> None:
        lease = self._leases.get(int(header["lease"]))
        if lease is None or lease.killed is not None:
            return
        lease.killed = header
        blocked = lease.blocked_threads > 0
        lease.drop_children()
        self.lookups.drop(lease)
        if lease.root is not None:
            lease.root.cancel()
        elif lease.interrupt is not None and not blocked:
            lease.interrupt(asyncio.CancelledError)

    def _stop(self, header: Header, body: bytes) -> None:
        self._stopping = True

    # -- the process ---------------------------------------------------------------------------------------

    def _new_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """The loop's task factory: knows which lease a task belongs to."""
        context: Context | None = options.get("context")
        lease = current_lease.get() if context is None else context.get(current_lease)
        if lease is not None:
            coroutine = self._note.around(lease.id, coroutine)
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        if lease is not None and not task.done():
            lease.track(task)
        return task

    def _focus(self) -> None:
        """Gives what a process has only once to the lease that runs, if it is the only one."""
        active = [lease for lease in self._leases.values() if not lease.parked]
        self._capture.focus(active)
        _context._process_scope = self._scopes.get(active[0].id) if len(active) == 1 else None

    def _finished(self) -> bool:
        return self._stopping and not self._leases and not self._results and self._channel.empty


def _traced_header(lease: Lease, end: TraceEnd) -> Header:
    header: Header = {"type": "traced", "lease": lease.id, "key": end.key, "digest": end.digest}
    if end.failure is not None:
        header["failure"] = end.failure
    if end.abandoned:
        header["abandoned"] = end.abandoned
    return header


def _child_header(lease: Lease, child: Child) -> Header:
    header: Header = {
        "lease": lease.id,
        "key": child.key,
        "spec": child.spec.key,
        "group": child.group,
        "sources": child.sources,
        "size": len(child.document),
        "digest": child.digest,
        "cache_key": child.cache_key,
        "custom_context": child.custom_context,
    }
    if child.kind:
        header.update(kind=child.kind, wait=child.wait, began=child.began)
    return header


def _peak_memory() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def run_worker(order: WorkerOrder) -> NoReturn:
    """Works until told to stop, then ends the process. Called in a fresh process."""
    code = 0
    try:
        Worker(order).serve()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException as error:  # noqa: BLE001 - the end of the process
        code = 70
        sys.__stderr__.write("".join(traceback.format_exception(error))) if sys.__stderr__ else None
    finally:
        os._exit(code)
