"""Logs: history and tail of the output of actions, with one cursor."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection

from hangar.admin.v1 import log_service_pb2 as messages
from hangar.core.v1.identifiers_pb2 import ActionIdentifier
from services.admin import convert
from services.admin.actions import Actions
from services.admin.reader import LedgerReader
from services.admin.watch import ChangeFeed
from services.common.blobs import BlobStore
from services.common.errors import InvalidArgument, NotFound
from services.common.pages import page_size
from services.ledger.queries import attempts as attempt_queries
from services.ledger.queries import logs as queries
from services.ledger.queries.actions import ActionRecord, get_action
from services.ledger.queries.attempts import AttemptRecord

_CURSOR = re.compile(r"(\d{1,9}):(\d{1,9}):(\d{1,9})")
_DEFAULT_LINES, _MOST_LINES = 1000, 10_000
_TAIL_LINES = 2000
_CHUNKS = 50
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Cursor:
    """A place in the log of an action: the first line that was not returned yet."""

    attempt: int
    chunk: int = 0
    line: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}:{self.chunk}:{self.line}"


@dataclass(frozen=True)
class LogPage:
    """Some lines of one attempt."""

    lines: list[messages.LogLine]
    """In order."""
    cursor: Cursor | None
    """Where to go on; None when there is no attempt yet."""
    at_end: bool
    """True when these were all lines that are stored."""
    complete: bool
    """True when no line of the attempt can follow."""


class Logs:
    """Use cases of logs.

    Args:
        reader: Reads the ledger.
        actions: Knows the actions.
        blobs: Has the lines.
        feed: Wakes those who tail.
    """

    def __init__(self, reader: LedgerReader, actions: Actions, blobs: BlobStore, feed: ChangeFeed) -> None:
        self._reader = reader
        self._actions = actions
        self._blobs = blobs
        self._feed = feed

    async def list(self, request: messages.ListLogsRequest) -> messages.ListLogsResponse:
        """Returns lines that are stored, from a cursor on."""
        action = await self._actions.record(request.action)
        number = request.attempt if request.HasField("attempt") else None
        cursor = parse_cursor(request.cursor, number)
        size = page_size(request.page_size, default=_DEFAULT_LINES, largest=_MOST_LINES)
        page = await self._page(action, cursor.attempt if cursor else number, cursor, size)
        if page.cursor is None:
            if number is not None or cursor is not None:
                message = f"action {action.name} has no such attempt: it has {action.attempt_count} so far"
                raise NotFound(message, reason="ATTEMPT_NOT_FOUND", action=action.name)
            return messages.ListLogsResponse(cursor=str(Cursor(0)), complete=action.phase in convert.TERMINAL)
        return messages.ListLogsResponse(lines=page.lines, cursor=str(page.cursor), complete=page.complete)

    async def tail(self, request: messages.TailLogsRequest) -> AsyncIterator[messages.TailLogsResponse]:
        """Yields stored lines, then new ones, until no line can follow.

        With an attempt that is its end; without one the newest attempt comes first and later ones follow,
        until the action has ended.
        """
        action = await self._actions.record(request.action)
        fixed = request.attempt if request.HasField("attempt") else None
        cursor = parse_cursor(request.cursor, fixed)
        number = cursor.attempt if cursor else fixed
        run = request.action.run
        with self._feed.watch((run.project, run.domain, run.name)) as watcher:
            while True:
                page = await self._page(action, number, cursor, _TAIL_LINES)
                if page.cursor is not None:
                    cursor, number = page.cursor, page.cursor.attempt
                    if page.lines:
                        yield messages.TailLogsResponse(lines=page.lines, cursor=str(cursor), attempt=number)
                if page.complete and fixed is not None:
                    return
                if page.complete or page.cursor is None:
                    later, ended = await self._later(request.action, action, number)
                    if later is not None:
                        number, cursor = later, Cursor(later)
                        continue
                    if ended:
                        return
                if page.at_end:
                    await watcher.wait_up_to(_POLL_SECONDS)

    async def _later(
        self, identifier: ActionIdentifier, action: ActionRecord, number: int | None
    ) -> tuple[int | None, bool]:
        """Returns the number of the next attempt, None without one, and whether none can follow."""

        def look(ledger: Connection) -> tuple[AttemptRecord | None, bool]:
            following = attempt_queries.get_attempt(ledger, action.id, 0 if number is None else number + 1)
            now = get_action(ledger, action.run_id, identifier.name)
            return following, now is None or now.phase in convert.TERMINAL

        following, ended = await self._reader.read(look)
        return (None if following is None else following.number), ended

    async def _page(
        self, action: ActionRecord, number: int | None, cursor: Cursor | None, limit: int
    ) -> LogPage:
        def look(ledger: Connection) -> tuple[AttemptRecord | None, list[queries.LogChunkRecord]]:
            attempt = attempt_queries.get_attempt(ledger, action.id, number)
            if attempt is None:
                return None, []
            first = cursor.chunk if cursor else 0
            return attempt, queries.list_log_chunks(ledger, attempt.lease_id, from_index=first, limit=_CHUNKS)

        attempt, chunks = await self._reader.read(look)
        if attempt is None:
            return LogPage([], None, at_end=True, complete=False)
        place = cursor or Cursor(attempt.number)
        lines: list[messages.LogLine] = []
        for chunk in chunks:
            if chunk.index != place.chunk:  # one before it is not registered yet
                break
            stored = _lines(await self._blobs.get(chunk.blob_key))
            taken = stored[place.line : place.line + limit - len(lines)]
            lines += taken
            if place.line + len(taken) < len(stored):
                return LogPage(
                    lines, Cursor(place.attempt, place.chunk, place.line + len(taken)), False, False
                )
            place = Cursor(place.attempt, place.chunk + 1)
            if len(lines) >= limit:
                return LogPage(lines, place, at_end=False, complete=False)
        at_end = len(chunks) < _CHUNKS
        return LogPage(lines, place, at_end, complete=at_end and attempt.ended_at is not None)


def parse_cursor(text: str, attempt: int | None) -> Cursor | None:
    """Returns the place that a cursor stands for, None for an empty one.

    Raises:
        InvalidArgument: It is not a cursor, or not one of this attempt (reason ``CURSOR_INVALID``).
    """
    if not text:
        return None
    match = _CURSOR.fullmatch(text)
    if match is None:
        message = f"cursor {text[:40]!r} is not one that this service gave: leave it empty for the start"
        raise InvalidArgument(message, reason="CURSOR_INVALID", field="cursor")
    cursor = Cursor(*map(int, match.groups()))
    if attempt is not None and attempt != cursor.attempt:
        message = (
            f"cursor {text} is of attempt {cursor.attempt}, not of attempt {attempt}: leave one of them out"
        )
        raise InvalidArgument(message, reason="CURSOR_INVALID", field="cursor")
    return cursor


def _lines(chunk: bytes) -> list[messages.LogLine]:
    return [_line(line) for line in chunk.decode(errors="replace").split("\n")[:-1]]


def _line(line: str) -> messages.LogLine:
    time, _, text = line.partition(" ")
    captured = Timestamp()
    try:
        captured.FromDatetime(datetime.fromisoformat(time))
    except ValueError:  # not as an executor writes it: the line counts, whatever it is
        return messages.LogLine(text=line)
    return messages.LogLine(text=text, captured_at=captured)
