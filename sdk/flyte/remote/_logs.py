"""Logs of actions."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timezone
from typing import TYPE_CHECKING

from flyte._details import LogLine
from hangar.admin.v1 import log_service_pb2

if TYPE_CHECKING:
    from flyte._client._client import Client
    from hangar.core.v1 import identifiers_pb2

_PAGE_LINES = 1000


async def stored_logs(
    client: Client, action: identifiers_pb2.ActionIdentifier, attempt: int | None, max_lines: int | None
) -> list[LogLine]:
    """The lines that are stored now, the last ones when there are more than asked for.

    Raises:
        flyte.errors.ActionNotFoundError: When there is no such action or attempt.
    """
    lines: deque[LogLine] = deque(maxlen=max_lines)
    cursor = ""
    while True:
        request = log_service_pb2.ListLogsRequest(action=action, page_size=_PAGE_LINES, cursor=cursor)
        if attempt is not None:
            request.attempt = attempt
        answer = await client.call(client.logs.ListLogs, request)
        lines.extend(_line(line, None) for line in answer.lines)
        if len(answer.lines) < _PAGE_LINES or answer.complete:
            return list(lines)
        cursor = answer.cursor


async def followed_logs(
    client: Client, action: identifiers_pb2.ActionIdentifier, attempt: int | None
) -> AsyncGenerator[LogLine, None]:
    """The lines that are stored, then new ones, until the action has ended; over broken connections."""

    def request(last: log_service_pb2.TailLogsResponse | None) -> log_service_pb2.TailLogsRequest:
        made = log_service_pb2.TailLogsRequest(action=action, cursor=last.cursor if last is not None else "")
        if attempt is not None:
            made.attempt = attempt
        return made

    async with aclosing(client.stream(client.logs.TailLogs, request)) as answers:
        async for answer in answers:
            for line in answer.lines:
                yield _line(line, answer.attempt)


def _line(line: log_service_pb2.LogLine, attempt: int | None) -> LogLine:
    return LogLine(line.text, line.captured_at.ToDatetime(tzinfo=timezone.utc), attempt)
