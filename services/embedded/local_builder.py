"""The image builder of an author's machine: `flyte` starts it for `image.builder: local`, and it ends by itself.

Who uses it holds a shared lock on a file beside its data. The kernel takes that back however a program ends, so
what was killed or interrupted leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import structlog

from services.common.auth import ensure_token
from services.common.data_directory import prepare_directory
from services.common.logging import configure_logging
from services.common.serve import build_server, wait_for_signal
from services.embedded.backend_file import BackendFile, remove_backend_file
from services.embedded.lock import DirectoryLock
from services.embedded.token import token_path
from services.image_builder.app import ImageBuilderApp
from services.image_builder.settings import Settings

_log = structlog.get_logger(__name__)
_HOST = "127.0.0.1"
_POLL_SECONDS = 0.5
_FIRST_SECONDS = 10.0
"""How long it waits for the first who uses it: whoever started it may have been killed meanwhile."""
_KEPT_ARCHIVE_SECONDS = 7 * 24 * 3600.0
_GRACE_SECONDS = 1.0


class Users:
    """Who uses the builder of a directory.

    Args:
        directory: Its data directory, which exists.
    """

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def bar(self) -> bool:
        """Lets nobody in from now on, unless somebody uses it.

        Returns:
            False when somebody does.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def admit(self) -> None:
        """Lets everybody in again."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Lets everybody in, for good."""
        os.close(self._descriptor)


async def until_unused(
    users: Users,
    builder: ImageBuilderApp,
    linger: float,
    *,
    first: float = _FIRST_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    poll: float = _POLL_SECONDS,
) -> None:
    """Returns when nobody uses a builder any more, with everybody barred. What it builds for nobody is ended then.

    Args:
        users: Who uses it.
        builder: The builder.
        linger: Seconds that it waits for others once nobody uses it.
        first: Seconds that it waits for the first.
        clock: Tells the time in seconds.
        poll: Seconds between looks.
    """
    last_used, patience, was_used = clock(), min(first, linger), False
    while True:
        await asyncio.sleep(poll)
        if not users.bar():
            last_used, patience, was_used = clock(), linger, True
            continue
        if builder.is_building and was_used:
            _log.info("nobody waits for what is built")
            await builder.abandon()
            return
        if clock() - last_used >= patience:
            return
        users.admit()


async def serve_while_used(identity: str, data_dir: Path | None, log_level: str | None) -> None:
    """Serves an image builder on loopback, until nobody uses it or a signal comes.

    Args:
        identity: What tells its settings from others, noted for those who look for it.
        data_dir: Directory of everything that is kept.
        log_level: Least level that is logged.

    Raises:
        HangarError: It could not start, or another one serves there.
    """
    # What the environment says of a backend's builder is not meant for this one.
    own = {"registry": "", "registries": ("*",), "scheduler": "", "database": "", "blobs": ""}
    found = Settings.load(data_dir=data_dir, log_level=log_level, host=_HOST, grpc_port=0, token="", **own)
    configure_logging(found.log_format, found.log_level)
    directory = prepare_directory(found.data_dir)
    async with AsyncExitStack() as stack:
        users = Users(directory)
        stack.callback(users.close)  # last: who comes in then may start another one
        lock = DirectoryLock(directory)
        lock.acquire()
        stack.callback(lock.release)
        signalled = asyncio.create_task(wait_for_signal())
        stack.callback(signalled.cancel)
        token_file = token_path(directory)
        token = await asyncio.to_thread(ensure_token, token_file)
        await asyncio.to_thread(_forget_archives, directory / "blobs" / "contexts")
        builder = ImageBuilderApp(found, check_at_start=False)
        stack.push_async_callback(builder.stop)
        server = build_server(builder.registrations, token=token)
        address = f"{_HOST}:{server.bind(_HOST, 0)}"
        stack.push_async_callback(server.stop, _GRACE_SECONDS)
        stack.push_async_callback(builder.drain)
        await builder.start()
        await server.start()
        started_at = datetime.now(UTC).isoformat()
        file = BackendFile(
            os.getpid(), address, "", version("hangar"), started_at, str(token_file), identity=identity
        )
        remove_backend_file(directory)
        file.write(directory)
        stack.callback(remove_backend_file, directory)
        _log.info("serving", grpc=address, linger=found.linger)
        unused = asyncio.create_task(until_unused(users, builder, found.linger))
        stack.callback(unused.cancel)
        done, _ = await asyncio.wait([signalled, unused], return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
        _log.info("stopping", reason="a signal" if signalled in done else "nobody uses it")


def _forget_archives(directory: Path) -> None:
    """Removes files of authors that no build has needed for a while; who needs one brings it again."""
    limit = time.time() - _KEPT_ARCHIVE_SECONDS
    for path in directory.glob("*.tar") if directory.is_dir() else ():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < limit:
                path.unlink()
