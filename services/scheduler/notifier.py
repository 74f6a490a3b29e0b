"""Tells others of the phases of runs: at least once, however often the scheduler is restarted.

What is to be told is a row of the ledger, written in the transaction of the phase itself. Each row is sent until it is
answered with success, with growing pauses, for a day; a destination that does not answer delays no other.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from hangar.core.v1.phase_pb2 import Phase
from hangar.core.v1.task_spec_pb2 import Notification
from services.ledger.queries.notifications import NotificationRecord, due_notifications
from services.scheduler.background import Background
from services.scheduler.destinations import Destinations
from services.scheduler.shell import Shell
from services.scheduler.store import Store

_log = structlog.get_logger(__name__)
_INTERVAL = 0.5
_AT_ONCE = 16
_ANSWER_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1_000_000, 300_000_000
_GIVEN_UP_AFTER = 24 * 3600 * 1_000_000


class Notifier(Background):
    """Sends notifications in the background.

    Args:
        store: The ledger.
        shell: Stores what became of them.
        destinations: Where they may go, now.
        key: Signs them; empty for none.
    """

    def __init__(self, store: Store, shell: Shell, destinations: Destinations, key: bytes) -> None:
        super().__init__("notifier", "notifications are no longer sent; they stay in the ledger")
        self._store = store
        self._shell = shell
        self._destinations = destinations
        self._key = key
        self._tried: dict[tuple[int, int], int] = {}
        """Tries of those whose outcome may not be committed yet."""

    async def _run(self) -> None:
        while True:
            records = await self._shell.read(_due, self._store, _now())
            listed = {record.key for record in records}
            self._tried = {key: tries for key, tries in self._tried.items() if key in listed}
            fresh = [record for record in records if self._tried.get(record.key, -1) < record.tries]
            await asyncio.gather(*(self._deliver(record) for record in fresh))
            await asyncio.sleep(_INTERVAL)

    async def _deliver(self, record: NotificationRecord) -> None:
        problem = await self._send(record)
        now = _now()
        ended = problem is None or now - record.occurred_at > _GIVEN_UP_AFTER
        pause = min(_FIRST_PAUSE << min(record.tries, 20), _LONGEST_PAUSE)
        self._tried[record.key] = record.tries
        self._shell.recorder.record_notification(
            record.key, record.tries + 1, now + pause, now if ended else None, problem or ""
        )
        self._shell.step_soon()
        if problem is not None:
            facts = {"run": record.run, "url": record.notification.url, "problem": problem}
            _log.warning("notification not delivered", **facts, given_up=ended)

    async def _send(self, record: NotificationRecord) -> str | None:
        """Sends a notification once. Returns what went wrong."""
        refusal = self._destinations.refusal(record.notification.url)
        if refusal is not None:
            return f"the address {refusal}"
        body = body_of(record)
        headers = {
            **record.notification.headers,
            "Content-Type": "application/json",
            "User-Agent": "hangar",
            "X-Hangar-Delivery": f"{record.cursor}-{record.number}",
        }
        if self._key:
            headers["X-Hangar-Signature"] = signature(self._key, int(time.time()), body)
        return await asyncio.to_thread(_post, record.notification.url, body, headers)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An answer that leads elsewhere is no success: elsewhere may not be allowed."""

    def redirect_request(self, *_: Any) -> None:
        """Follows nothing."""


_opener = urllib.request.build_opener(_NoRedirects)


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> str | None:
    request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310  # `refusal` has looked
    try:
        with _opener.open(request, timeout=_ANSWER_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"answered with status {error.code}"
    except (OSError, ValueError) as error:
        return f"cannot be reached: {getattr(error, 'reason', error)}"


def signature(key: bytes, seconds: int, body: bytes) -> str:
    """Returns what proves that a message is this installation's: time, and HMAC-SHA256 of "<time>.<body>" in hex."""
    digest = hmac.new(key, str(seconds).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def body_of(record: NotificationRecord) -> bytes:
    """Returns the JSON document of a notification."""
    notification: Notification = record.notification
    phase = Phase.Name(record.phase).removeprefix("PHASE_").lower()
    names = {
        "run": record.run,
        "project": record.project,
        "domain": record.domain,
        "task": record.task,
        "phase": phase,
        "url": notification.run_url,
    }
    if notification.body_json:
        return json.dumps(_filled(json.loads(notification.body_json), names)).encode()
    occurred_at = datetime.fromtimestamp(record.occurred_at / 1_000_000, UTC).isoformat()
    document: dict[str, Any] = {**names, "occurred_at": occurred_at}
    if record.failure is not None:
        document["failure"] = {"code": record.failure.code, "message": record.failure.message}
    return json.dumps(document).encode()


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace(f"{{{name}}}", text)
        return value
    if isinstance(value, list):
        return [_filled(each, names) for each in value]
    if isinstance(value, dict):
        return {key: _filled(each, names) for key, each in value.items()}
    return value


def _due(store: Store, now: int) -> Sequence[NotificationRecord]:
    with store.read() as connection:
        return due_notifications(connection, now, _AT_ONCE)


def _now() -> int:
    return time.time_ns() // 1000
