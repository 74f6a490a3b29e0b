"""Follows a run until it has ended, over broken connections and restarts of the backend."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from flyte._client._loop import LOOP
from flyte.remote._convert import phase_of
from hangar.admin.v1 import run_service_pb2

if TYPE_CHECKING:
    from flyte._client._client import Client
    from hangar.core.v1 import identifiers_pb2

_PAUSE_SECONDS = 0.2
_FRESH_SECONDS = 0.1


async def watch_run(
    client: Client,
    run: identifiers_pb2.RunIdentifier,
    on_reconnect: Callable[[], None] | None = None,
    names: tuple[str, ...] = (),
) -> AsyncGenerator[run_service_pb2.WatchActionsResponse, None]:
    """Yields what exists, then every change, until the run has ended and all of it was sent.

    With `names` only these actions are followed, which is cheap however many the run has.

    Raises:
        flyte.errors.ActionNotFoundError: When there is no such run.
        flyte.errors.RuntimeSystemError: When the backend stays away.
    """
    cursor = 0
    ended = False

    def request(
        last: run_service_pb2.WatchActionsResponse | None,
    ) -> run_service_pb2.WatchActionsRequest:
        return run_service_pb2.WatchActionsRequest(
            run=run,
            filter=run_service_pb2.ActionFilter(names=names),
            after=last.cursor if last is not None else cursor,
        )

    while not ended:
        stream = client.stream(client.runs.WatchActions, request, on_reconnect=on_reconnect)
        async with aclosing(stream) as answers:
            async for answer in answers:
                cursor = answer.cursor
                if answer.HasField("run"):
                    ended = phase_of(answer.run.phase).is_terminal
                yield answer
        if not ended:  # the server ended the stream politely, such as when it stops
            await asyncio.sleep(_PAUSE_SECONDS)


class Freshness:
    """Keeps a property that shows remote state recent, without blocking anybody's event loop.

    Where no event loop runs, asking waits for the backend's answer. Where one runs, it starts to ask and
    shows what is known, so a polling loop sees the answer next time.

    Args:
        refresh: Asks the backend and stores the answer.
    """

    def __init__(self, refresh: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._refresh = refresh
        self._refreshed_at = time.monotonic()
        self._pending: concurrent.futures.Future[None] | None = None

    def touch(self) -> None:
        """Says that the state is recent."""
        self._refreshed_at = time.monotonic()

    def ensure(self) -> None:
        """Refreshes what is older than a tenth of a second."""
        if LOOP.is_current() or time.monotonic() - self._refreshed_at < _FRESH_SECONDS:
            return
        if not _in_event_loop():
            LOOP.run(self._refresh())
        elif self._pending is None or self._pending.done():
            self._pending = LOOP.submit(self._refresh())


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
