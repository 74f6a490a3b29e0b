"""The shell around the core: events in, one transaction for all that queued up, then effects out.

    submit → core.step → recorder → [writer thread: commit] → release: frames, replies, watchers

While a transaction is being written the next one collects. A commit that fails because the database is not
there is repeated as it is; until it succeeds nothing is released and sessions stop reading. Any other
failure ends the process: what the core believes and what the ledger says must never drift apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from services.common.db import is_passing
from services.common.errors import Unavailable
from services.scheduler.core import effects as fx
from services.scheduler.core.events import Event
from services.scheduler.core.machine import Scheduler
from services.scheduler.live import Live, LiveAction
from services.scheduler.recorder import Recorder
from services.scheduler.recording import Recording
from services.scheduler.rows import Rows

_log = structlog.get_logger(__name__)

_T = TypeVar("_T")
_FULL = 32 * 1024 * 1024
_READERS = 4
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 2.0
_LONGEST_SLEEP = 60.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """An assignment to send, with what names it at the time of the decision."""

    effect: fx.Assign
    action: LiveAction
    span_id: str


Released: TypeAlias = Any
"""An effect to carry out after the commit: one of the core's, an `Assignment`, or one of the shell's own."""


class Committer(Protocol):
    """Writes changes durably; `Store` does."""

    def commit(self, rows: Rows) -> None:
        """Writes changes in one transaction, or raises."""


class Proof(Protocol):
    """Proves that this process may still write, however long it was paused; `Renewal` does."""

    def now(self) -> float:
        """Returns the moment, in seconds that go on while the process is paused."""

    def proved(self, moment: float) -> None:
        """Notes that a commit that began at this moment was accepted."""

    async def confirm(self) -> None:
        """Returns once it is sure, or raises."""


class NoProof:
    """For a ledger that nobody else can write."""

    def now(self) -> float:
        """Returns no moment in particular."""
        return 0.0

    def proved(self, moment: float) -> None:
        """Needs no note."""

    async def confirm(self) -> None:
        """Is always sure."""


Release: TypeAlias = Callable[[Recording, list[Released]], Awaitable[None]]


class Shell:
    """Drives the core.

    Args:
        scheduler: The core, restored.
        recorder: Turns effects into rows.
        live: What is live.
        store: Writes the ledger.
        release: Carries out effects that are durable.
        on_fatal: Called once with what makes it impossible to go on. It is expected to end the process.
        proof: Asked before anything is released.
        now: Microseconds since the epoch.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        recorder: Recorder,
        live: Live,
        store: Committer,
        release: Release,
        on_fatal: Callable[[BaseException], None],
        proof: Proof | None = None,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.scheduler = scheduler
        self.recorder = recorder
        self._live = live
        self._store = store
        self._release = release
        self._on_fatal = on_fatal
        self._proof = proof or NoProof()
        self._clock = now
        self._last_now = 0
        self._inbox: list[Event] = []
        self._released: list[Released] = []
        self._tokens: set[asyncio.Future[Any]] = set()
        self._stepping: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._in_flight = 0
        self._task: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger-writer")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="ledger-reader")
        self._closed = False
        self.commits = 0
        """Transactions so far."""

    def start(self) -> None:
        """Begins to commit and to keep time. Call it in the event loop."""
        self._task = asyncio.create_task(self._run(), name="scheduler-shell")
        self._arm()

    async def stop(self) -> None:
        """Finishes the commit under way, drops what was not committed, and fails requests that wait."""
        self._closed = True
        for handle in (self._stepping, self._timer):
            if handle is not None:
                handle.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        self._fail_tokens()

    def fail(self, error: BaseException) -> None:
        """Ends it: nothing is released any more, and who waits is told so."""
        self._fatal(error)

    def now(self) -> int:
        """Returns microseconds since the epoch. Never less than before."""
        self._last_now = max(self._last_now, self._clock())
        return self._last_now

    def submit(self, events: Iterable[Event], released: Iterable[Released] = ()) -> None:
        """Hands events to the core, in order.

        Args:
            events: What happened.
            released: The shell's own effects, to be carried out once all of this is durable.
        """
        if self._closed:
            return
        self._inbox.extend(events)
        self._released.extend(released)
        self.step_soon()

    def step_soon(self) -> None:
        """Makes sure that what was recorded or submitted is handled, with what else arrives in this round."""
        if self._stepping is None and not self._closed:
            self._stepping = asyncio.get_running_loop().call_soon(self._step)

    async def call(self, make: Callable[[asyncio.Future[Any]], Event]) -> Any:
        """Hands a request to the core and waits until its answer is durable.

        Args:
            make: Makes the event, given the token for its answer.

        Raises:
            Unavailable: The scheduler is stopping.
        """
        return await self._durable(lambda token: self.submit([make(token)]))

    async def write(self, record: Callable[[int], None], released: Iterable[Released] = ()) -> None:
        """Writes what concerns no state of the core, and waits until it is durable.

        Args:
            record: Hands it to the recorder, given the time.
            released: The shell's own effects, to be carried out then.

        Raises:
            Unavailable: The scheduler is stopping.
        """

        def hand_over(token: asyncio.Future[Any]) -> None:
            record(self.now())
            self.submit((), [*released, fx.Reply(token)])

        await self._durable(hand_over)

    async def _durable(self, hand_over: Callable[[asyncio.Future[Any]], None]) -> Any:
        """Hands something over when there is room, and waits for the answer, which comes when it is durable."""
        await self.has_room()
        token: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tokens.add(token)
        try:
            if self._closed:
                raise _stopping()
            hand_over(token)
            return await token
        finally:
            self._tokens.discard(token)

    async def has_room(self, seconds: float | None = None) -> bool:
        """Waits while too much is waiting to be written: whoever brings more events calls this first.

        Args:
            seconds: How long to wait at most, None for as long as it takes.

        Returns:
            False when there is still too much.
        """
        if self._room.is_set():
            return True
        try:
            await asyncio.wait_for(self._room.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def read(self, function: Callable[..., _T], *args: Any) -> _T:
        """Calls a reading method of the store in a thread, repeatedly while the database is not there."""
        return await patiently(function, *args, where=self._readers)

    def _step(self) -> None:
        self._stepping = None
        events, self._inbox = self._inbox, []
        try:
            for effect in self.scheduler.step(events, self.now()):
                if isinstance(effect, fx.Persist):
                    self.recorder.record(effect)
                elif isinstance(effect, fx.Assign):
                    action = self._live.actions[effect.action_id]
                    self._released.append(Assignment(effect, action, action.span_id))
                else:
                    self._released.append(effect)
        except Exception as error:  # noqa: BLE001  # whatever it is, the state in memory can no longer be trusted
            self._fatal(error)
            return
        if self._released or self.recorder.weight:
            self._wake.set()
        if self.recorder.weight + self._in_flight > _FULL:
            self._room.clear()
        self._arm()

    def _arm(self) -> None:
        """Sets the timer for what is due next."""
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.scheduler.next_deadline()
        if deadline is None or self._closed:
            self._timer = None
            return
        delay = min(max((deadline - self.now()) / 1_000_000, 0.0), _LONGEST_SLEEP)
        self._timer = asyncio.get_running_loop().call_later(delay, self.step_soon)

    async def _run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._closed:
                    return  # what was collected may be half a step
                recording = self.recorder.take()
                released, self._released = self._released, []
                if not recording.rows.is_empty:
                    self._in_flight = recording.rows.weight
                    began = self._proof.now()
                    await patiently(self._store.commit, recording.rows, where=self._writer)
                    self._proof.proved(began)
                    self.commits += 1
                    self._in_flight = 0
                if self.recorder.weight <= _FULL:
                    self._room.set()
                await self._proof.confirm()
                await self._release(recording, released)
                for each in released:
                    if type(each) is fx.Reply:
                        _answer(each)
        except Exception as error:  # noqa: BLE001  # the caller decides how the process ends
            self._fatal(error)

    def _fatal(self, error: BaseException) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._room.set()
        self._fail_tokens()
        self._on_fatal(error)

    def _fail_tokens(self) -> None:
        for token in list(self._tokens):
            if not token.done():
                token.set_exception(_stopping())


async def patiently(function: Callable[..., _T], *args: Any, where: ThreadPoolExecutor | None = None) -> _T:
    """Calls a blocking function of the database in a thread; repeats it while the database cannot be reached."""
    loop = asyncio.get_running_loop()
    pause = _FIRST_PAUSE
    while True:
        try:
            return await loop.run_in_executor(where, function, *args)
        except DBAPIError as error:
            if not is_passing(error):
                raise
            _log.warning("the ledger cannot be reached; trying again", error=str(error.orig), pause=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LAST_PAUSE)


def _answer(reply: fx.Reply) -> None:
    token: asyncio.Future[Any] = reply.token
    if not token.done():  # else whoever asked is gone
        token.set_result(reply)


def _stopping() -> Unavailable:
    return Unavailable("the scheduler is stopping; send the request again", reason="STOPPING")
