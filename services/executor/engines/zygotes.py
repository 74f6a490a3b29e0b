"""Warm processes that fork workers, one per environment."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.executor.engines.base import LaunchFailedError

_MAX_ZYGOTES = 8
_START_SECONDS = 60.0
_END_SECONDS = 10.0


class Zygote:
    """A running zygote and the way to ask it for workers."""

    def __init__(self, process: asyncio.subprocess.Process, connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writing = asyncio.Lock()
        self._buffer = b""
        connection.setblocking(False)
        asyncio.get_running_loop().add_reader(connection, self._read)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._connection.fileno() >= 0

    async def ready(self) -> None:
        """Waits until it takes requests.

        Raises:
            LaunchFailedError: It ended instead, or takes too long.
        """
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), _START_SECONDS)
        except TimeoutError:
            raise LaunchFailedError(f"the environment did not start within {_START_SECONDS:g} s") from None

    async def fork(self, order: Mapping[str, Any]) -> int:
        """Forks a worker and returns the process id of its supervisor.

        Raises:
            LaunchFailedError: It could not.
        """
        number = int(order["worker"])
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            if not self.is_alive:
                raise LaunchFailedError("the environment's process has ended")
            async with self._writing:
                line = json.dumps(order).encode() + b"\n"
                await asyncio.get_running_loop().sock_sendall(self._connection, line)
            result = await answer
        except OSError as error:
            raise LaunchFailedError(f"the environment's process cannot be reached: {error}") from error
        finally:
            self._answers.pop(number, None)
        if "pid" not in result:
            raise LaunchFailedError(str(result.get("error")))
        return int(result["pid"])

    async def close(self) -> None:
        """Lets it end. The workers that it forked live on."""
        self._disconnect("it was closed")
        try:
            await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _read(self) -> None:
        try:
            data = self._connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._disconnect("it ended")
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            waiting = self._ready if "ready" in answer else self._answers.get(answer["worker"])
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def _disconnect(self, why: str) -> None:
        if not self.is_alive:
            return
        asyncio.get_running_loop().remove_reader(self._connection)
        self._connection.close()
        waiters: list[asyncio.Future[Any]] = [self._ready, *self._answers.values()]
        for waiting in waiters:
            if not waiting.done():
                waiting.set_exception(
                    LaunchFailedError(f"the environment's process failed: {why}; see its log")
                )
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()


class Zygotes:
    """Starts zygotes when they are needed and keeps the most recently used.

    Args:
        directory: For logs and for the records by which a later engine finds what is still ending.
        environ: Environment of the zygotes.
    """

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self._directory = directory
        self._environ = environ
        self._running: OrderedDict[str, asyncio.Task[Zygote]] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    async def of(self, environment: Path) -> Zygote:
        """Returns the zygote of an environment, started now if there is none.

        Raises:
            LaunchFailedError: It does not start.
        """
        key = str(environment)
        task = self._running.get(key)
        if (
            task is not None
            and task.done()
            and (task.cancelled() or task.exception() or not task.result().is_alive)
        ):
            self._retire(self._running.pop(key))
            task = None
        if task is None:
            task = self._running[key] = asyncio.create_task(self._start(environment), name=f"zygote-{key}")
        self._running.move_to_end(key)
        while len(self._running) > _MAX_ZYGOTES:
            self._retire(self._running.popitem(last=False)[1])
        return await asyncio.shield(task)

    def warm(self, environment: Path) -> None:
        """Starts the zygote of an environment in the background."""
        task = asyncio.create_task(self._warm(environment))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _warm(self, environment: Path) -> None:
        try:
            await self.of(environment)
        except LaunchFailedError:
            return  # The launch that needs it fails with the reason.

    async def release(self, environment: Path) -> None:
        """Ends the zygote of an environment. The workers that it forked live on."""
        task = self._running.pop(str(environment), None)
        if task is not None:
            await self._close(task)

    async def close(self) -> None:
        """Ends all of them."""
        while self._running:
            self._retire(self._running.popitem()[1])
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _start(self, environment: Path) -> Zygote:
        self._directory.mkdir(parents=True, exist_ok=True)
        mine, theirs = socket.socketpair()
        log_path = self._directory / f"{environment.name}.log"
        try:
            log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                process = await asyncio.create_subprocess_exec(
                    str(environment / "bin" / "python"),
                    "-m",
                    "flyte._runtime.zygote",
                    stdin=theirs.fileno(),
                    stdout=log,
                    stderr=log,
                    cwd=self._directory,
                    env={**self._environ, "PYTHONSAFEPATH": "1"},
                    start_new_session=True,
                )
            finally:
                os.close(log)
        except OSError as error:
            mine.close()
            raise LaunchFailedError(f"the environment {environment} does not start: {error}") from error
        finally:
            theirs.close()
        record = self._directory / f"{process.pid}.pid"
        record.write_text(str(environment))
        zygote = Zygote(process, mine)
        try:
            await zygote.ready()
        except LaunchFailedError as error:
            await zygote.close()
            record.unlink(missing_ok=True)
            last = "\n".join(log_path.read_text(errors="replace").splitlines()[-10:])
            raise LaunchFailedError(f"{error}\n{last}") from error
        return zygote

    def _retire(self, task: asyncio.Task[Zygote]) -> None:
        closing = asyncio.create_task(self._close(task))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(self, task: asyncio.Task[Zygote]) -> None:
        try:
            zygote = await task
        except LaunchFailedError:
            return
        await zygote.close()
        (self._directory / f"{zygote.pid}.pid").unlink(missing_ok=True)

    def leftovers(self) -> list[int]:
        """Process ids of zygotes that an earlier engine started and that may not have ended yet."""
        return [int(record.stem) for record in self._directory.glob("*.pid") if record.stem.isdecimal()]

    def forget(self, pid: int) -> None:
        """Removes the record of a zygote that has ended."""
        (self._directory / f"{pid}.pid").unlink(missing_ok=True)
