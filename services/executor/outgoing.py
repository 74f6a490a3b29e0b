"""What waits to be sent to the scheduler, collected into frames."""

import asyncio
from collections import deque
from collections.abc import Callable

from hangar.core.v1.progress_pb2 import Progress
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1.node_service_pb2 import (
    ChildRequest,
    Heartbeat,
    LeaseResult,
    LogChunk,
    NodeSessionRequest,
    TraceResult,
    UserProgress,
    WorkerStatus,
)

FRAME_BYTES = 1024 * 1024
LAZY_SECONDS = 0.005
_SMALL_MESSAGE_BYTES = 32


class Outgoing:
    """Frames to the scheduler. Whatever is queued while one is written goes into the next.

    Outside a session nothing is kept: the host holds everything that has to be said, and says it when one
    opens.
    """

    def __init__(self) -> None:
        self._full: deque[NodeSessionRequest] = deque()
        self._frame = NodeSessionRequest()
        self._bytes = 0
        self._parked: set[int] = set()
        self._progress: dict[int, UserProgress] = {}
        self._specs: set[str] = set()
        self._is_open = False
        self._ready = asyncio.Event()
        self._lazy: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Starts a session: what is queued from now on is sent."""
        self.close()
        self._is_open = True

    def close(self) -> None:
        """Ends a session and forgets what was not sent."""
        self._full.clear()
        self._frame = NodeSessionRequest()
        self._bytes = 0
        self._parked.clear()
        self._progress.clear()
        self._specs.clear()
        self._is_open = False
        self._ready.clear()

    async def take(self) -> NodeSessionRequest:
        """Waits until there is something to send, and returns it as one frame."""
        await self._ready.wait()
        if self._full:
            frame = self._full.popleft()
        else:
            frame, self._frame, self._bytes = self._frame, NodeSessionRequest(), 0
            self._parked.clear()
            self._progress.clear()
        if not self._full and not self._bytes:
            self._ready.clear()
        return frame

    def _added(self, size: int, *, is_urgent: bool = True) -> None:
        self._bytes += size
        if is_urgent:
            self._ready.set()
        elif not self._ready.is_set() and self._lazy is None:
            self._lazy = asyncio.get_running_loop().call_later(LAZY_SECONDS, self._send_lazily)
        if self._bytes > FRAME_BYTES:
            self._begin_frame()

    def _begin_frame(self) -> None:
        self._full.append(self._frame)
        self._frame, self._bytes = NodeSessionRequest(), 0
        self._parked.clear()
        self._progress.clear()

    def _keep_behind_park(self, lease_id: int) -> None:
        """Begins a new frame when this one has a park of the lease.

        Within a frame children and cancellations are looked at first: the park would count those of later.
        """
        if lease_id in self._parked:
            self._begin_frame()

    def _send_lazily(self) -> None:
        self._lazy = None
        if self._bytes:
            self._ready.set()

    def started(self, lease_id: int, worker_id: int, at: int, image: str = "") -> None:
        """Says that user code started, at a time in nanoseconds since the epoch, and what its worker started from."""
        if self._is_open:
            message = self._frame.started.add(lease_id=lease_id, worker_id=worker_id, image=image)
            message.started_at.FromNanoseconds(at)
            # Nobody waits for it, and the result of a short action comes right behind: one frame for both.
            self._added(_SMALL_MESSAGE_BYTES + len(image), is_urgent=False)

    def child(self, request: ChildRequest, spec: TaskSpec) -> None:
        """Asks for a child; its definition goes along when the session does not know it yet."""
        if self._is_open:
            self._keep_behind_park(request.parent_lease_id)
            size = request.ByteSize() + self._define(request.spec_key, spec)
            self._frame.children.append(request)
            self._added(size)

    def _define(self, key: str, spec: TaskSpec) -> int:
        """Adds a definition unless the session knows it, and returns its size."""
        if key in self._specs:
            return 0
        self._specs.add(key)
        self._frame.specs.add(key=key, spec=spec)
        return spec.ByteSize()

    def trace(self, result: TraceResult, spec: TaskSpec) -> None:
        """Says how a traced call ended; its definition goes along as with a child."""
        if self._is_open:
            size = result.ByteSize() + self._define(result.request.spec_key, spec)
            self._frame.traces.append(result)
            self._added(size)

    def cancellation(self, lease_id: int, key: str) -> None:
        """Withdraws a child."""
        if self._is_open:
            self._keep_behind_park(lease_id)
            self._frame.cancellations.add(parent_lease_id=lease_id, key=key)
            self._added(_SMALL_MESSAGE_BYTES)

    def park(self, lease_id: int, awaiting: int) -> None:
        """Says that a lease waits for children only, and for how many."""
        if self._is_open:
            self._frame.parks.add(lease_id=lease_id, awaiting=awaiting)
            self._parked.add(lease_id)
            self._added(_SMALL_MESSAGE_BYTES)

    def result(self, result: LeaseResult) -> None:
        """Says how a lease ended."""
        if self._is_open:
            self._frame.results.append(result)
            self._added(_SMALL_MESSAGE_BYTES + len(result.outputs.inline))

    def worker(self, status: WorkerStatus) -> None:
        """Says how a worker is."""
        if self._is_open:
            self._frame.workers.append(status)
            self._added(_SMALL_MESSAGE_BYTES)

    def log(self, chunk: LogChunk) -> None:
        """Registers a stored log chunk."""
        if self._is_open:
            self._frame.logs.append(chunk)
            self._added(4 * _SMALL_MESSAGE_BYTES)

    def progress(self, lease_id: int, detail: str) -> None:
        """Says what the preparation of a lease is doing."""
        if self._is_open:
            self._frame.progress.add(lease_id=lease_id, detail=detail)
            self._added(_SMALL_MESSAGE_BYTES + len(detail))

    def user_progress(self, lease_id: int, progress: Progress) -> None:
        """Says how far user code is; of several in one frame the last one stays."""
        if not self._is_open:
            return
        message = self._progress.get(lease_id)
        if message is None:
            message = self._progress[lease_id] = self._frame.user_progress.add(lease_id=lease_id)
            self._added(2 * _SMALL_MESSAGE_BYTES + len(progress.message), is_urgent=False)
        message.progress.CopyFrom(progress)

    def explains(self, lease_id: int, what: str) -> Callable[[str], None]:
        """Returns what shows on the action of a lease why something waits: called with the reason, empty when over."""
        return lambda reason: self.progress(lease_id, f"{what}: {reason}" if reason else "")

    def heartbeat(self, beat: Heartbeat) -> None:
        """Gives a sign of life; of several in one frame the last one stays."""
        if self._is_open:
            self._frame.heartbeat.CopyFrom(beat)
            self._added(_SMALL_MESSAGE_BYTES)
