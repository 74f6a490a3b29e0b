"""A worker for tests: speaks the worker protocol over the real socket, in the event loop of the test."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

from services.executor import frames
from services.executor.frames import Frame, FrameDecoder
from services.executor.tests.scheduler_fake import until


class WorkerFake:
    """One worker. It does nothing by itself except to connect again when its executor goes away."""

    def __init__(self, worker_id: int, directory: Path, token: str, *, connects: bool = True) -> None:
        self.worker_id = worker_id
        self.directory = directory
        self.token = token
        self.runs: dict[int, Frame] = {}
        self.run_count = 0
        self.received: list[Frame] = []
        self.outcomes: dict[int, int] = {}
        self.parked: set[int] = set()
        self.results: dict[int, bytes] = {}
        self.again: list[bytes] = []
        """Frames that are sent on every connection, as children without an outcome are."""
        self.stopped = False
        self._writer: asyncio.StreamWriter | None = None
        self._may_connect = asyncio.Event()
        if connects:
            self.connect()
        self._task = asyncio.create_task(self._serve())

    def connect(self) -> None:
        """Lets it connect."""
        self._may_connect.set()

    def hold(self) -> None:
        """Does not let it connect again."""
        self._may_connect.clear()

    async def _serve(self) -> None:
        while True:
            await self._may_connect.wait()
            try:
                reader, self._writer = await asyncio.open_unix_connection(self.directory / "executor.sock")
            except OSError:
                await asyncio.sleep(0.01)
                continue
            self._introduce()
            decoder = FrameDecoder()
            with contextlib.suppress(OSError):
                while data := await reader.read(1 << 16):
                    for frame in decoder.feed(data):
                        self._handle(frame)
            self._writer.close()
            self._writer = None

    def _introduce(self) -> None:
        leases = [
            {"lease": lease, "parked": lease in self.parked}
            for lease in self.runs
            if lease not in self.results
        ]
        self.send({"type": "hello", "role": "worker", "worker": self.worker_id, "token": self.token,
                   "pid": os.getpid(), "leases": leases})  # fmt: skip
        for data in (*self.again, *self.results.values()):
            self._write(data)

    def _handle(self, frame: Frame) -> None:
        self.received.append(frame)
        header = frame.header
        if header["type"] == "run":
            lease = header["lease"]
            if lease in self.results:
                self._write(self.results[lease])
            elif lease not in self.runs:
                self.runs[lease] = frame
                self.run_count += 1
        elif header["type"] == "ack":
            self.results.pop(header["lease"], None)
            self.runs.pop(header["lease"], None)
        elif header["type"] == "outcomes":
            for outcome in header["outcomes"]:
                self.outcomes[outcome["lease"]] = self.outcomes.get(outcome["lease"], 0) + 1
                self.parked.discard(outcome["lease"])
        elif header["type"] == "stop":
            self.stopped = True

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Sends a frame."""
        self._write(frames.encode(header, body))

    def _write(self, data: bytes) -> None:
        if self._writer is not None:
            self._writer.write(data)

    def disconnect(self) -> None:
        """Drops the connection; it comes again."""
        assert self._writer is not None
        self._writer.close()

    async def has(self, lease: int) -> Frame:
        """Waits for a lease and returns its run frame."""
        await until(lambda: lease in self.runs, f"lease {lease} in worker {self.worker_id}")
        return self.runs[lease]

    def begin(self, lease: int) -> None:
        """Says that user code of a lease has started."""
        self.send({"type": "started", "lease": lease})

    def print(self, lease: int, text: str) -> None:
        """Writes to the log of a lease."""
        with Path(self.runs[lease].header["log_path"]).open("a") as file:
            file.write(text)

    def succeed(self, lease: int, outputs: bytes = b'{"o0":1}') -> None:
        """Ends a lease."""
        self._end(
            {"type": "result", "lease": lease, "digest": "x", "killed": False, "peak_memory": 7}, outputs
        )

    def fail(self, lease: int, *, killed: bool = False) -> None:
        """Ends a lease with a failure."""
        failure = {"kind": "USER", "code": "ValueError", "message": "no", "traceback": "tb"}
        self._end({"type": "result", "lease": lease, "failure": failure, "killed": killed})

    def _end(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.results[header["lease"]] = frames.encode(header, body)
        self._write(self.results[header["lease"]])

    def ask(self, lease: int, key: str, inputs: bytes = b"{}", *, spec: str = "env.child") -> None:
        """Asks for a child, and again on every connection."""
        definition = frames.encode(
            {"type": "spec", "key": f"k-{spec}", "spec": {"name": spec, "is_async": True}}
        )
        child = {"lease": lease, "key": key, "spec": f"k-{spec}", "group": "", "sources": [["x", "k0"]],
                 "size": len(inputs), "digest": "d"}  # fmt: skip
        asked = definition + frames.encode({"type": "children", "children": [child]}, inputs)
        self.again.append(asked)
        self._write(asked)

    def park(self, lease: int, awaiting: int = 1) -> None:
        """Says that a lease waits for some children only."""
        self.parked.add(lease)
        self.send({"type": "park", "lease": lease, "awaiting": awaiting})

    def end(self) -> None:
        """Ends, as a process does: the connection closes."""
        self._task.cancel()
        if self._writer is not None:
            self._writer.close()
