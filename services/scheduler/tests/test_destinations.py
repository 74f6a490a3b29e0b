"""Where notifications may go, and what they say."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from hangar.core.v1.phase_pb2 import PHASE_FAILED
from hangar.core.v1.task_spec_pb2 import Notification
from services.common.errors import InvalidArgument
from services.ledger.queries.failures import FailureRecord
from services.ledger.queries.notifications import NotificationRecord
from services.scheduler.destinations import Destinations
from services.scheduler.notifier import body_of, signature
from services.scheduler.settings import Settings

ALLOWED = Destinations(("https://hooks.example.com/ci", "http://127.0.0.1:9000/"))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/ci",
        "https://hooks.example.com/ci/x?y=1",
        "https://HOOKS.example.com:443/ci/",
        "http://127.0.0.1:9000/anything",
    ],
)
def test_what_begins_as_named_is_allowed(url: str) -> None:
    """A prefix allows itself and what is below its path, on its host and port."""
    assert ALLOWED.refusal(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/cinema",
        "https://hooks.example.com/",
        "http://hooks.example.com/ci/",
        "https://hooks.example.com:8443/ci/",
        "https://hooks.example.com.evil.org/ci/",
        "https://hooks.example.com@evil.org/ci/",
        "https://user:pass@hooks.example.com/ci/",
        "https://hooks.example.com/ci/../admin",
        "https://hooks.example.com/ci/%2e%2e/admin",
        "https://hooks.example.com/ci/%252e%252e/admin",
        "https://hooks.example.com\\\\@evil.org/ci/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://hooks.example.com/ci/",
        "",
    ],
)
def test_nothing_else_is_allowed(url: str) -> None:
    """Other schemes, hosts, ports and paths are refused, also in disguise, and nothing is by default."""
    assert ALLOWED.refusal(url) is not None
    assert Destinations().refusal("https://hooks.example.com/ci") is not None


def test_settings_take_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several prefixes in one variable; one that is no address is refused by name."""
    monkeypatch.setenv("HANGAR_SCHEDULER_NOTIFICATION_DESTINATIONS", "https://a.example.com/x, http://b:80/")
    assert Settings.load().notification_destinations == ("https://a.example.com/x", "http://b:80/")
    monkeypatch.setenv("HANGAR_SCHEDULER_NOTIFICATION_DESTINATIONS", "hooks.example.com")
    with pytest.raises(InvalidArgument, match=r"'hooks\.example\.com' must be the beginning"):
        Settings.load()


def record(body_json: str = "") -> NotificationRecord:
    """A failed run that is to be told of."""
    failure = FailureRecord(1, "ValueError", "no", "", non_recoverable=False, worker="")
    notification = Notification(run_url="http://h/r1", body_json=body_json)
    return NotificationRecord(7, 0, PHASE_FAILED, 1_000_000, 0, "p", "d", "r1", "e.t", failure, notification)


def test_the_platforms_own_document() -> None:
    """It names run, task, phase, time, page and failure."""
    assert json.loads(body_of(record())) == {
        "run": "r1",
        "project": "p",
        "domain": "d",
        "task": "e.t",
        "phase": "failed",
        "url": "http://h/r1",
        "occurred_at": "1970-01-01T00:00:01+00:00",
        "failure": {"code": "ValueError", "message": "no"},
    }


def test_a_document_of_the_callers() -> None:
    """Texts at any depth have the run's names filled in, and stay JSON whatever these are."""
    body = json.dumps({"text": "{task} {phase}: {url}", "blocks": [{"a": "{run}"}, 5]})
    assert json.loads(body_of(record(body_json=body))) == {
        "text": "e.t failed: http://h/r1",
        "blocks": [{"a": "r1"}, 5],
    }


def test_a_signature_is_of_time_and_body() -> None:
    """Whoever has the key can check it: HMAC-SHA256 of time, a dot and the body."""
    expected = hmac.new(b"key", b"12.body", hashlib.sha256).hexdigest()
    assert signature(b"key", 12, b"body") == f"t=12,v1={expected}"
