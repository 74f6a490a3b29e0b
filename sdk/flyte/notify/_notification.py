"""Notifications: where they go, and of which phases they tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from flyte.models import ActionPhase

TERMINAL = (ActionPhase.SUCCEEDED, ActionPhase.FAILED, ActionPhase.ABORTED, ActionPhase.TIMED_OUT)
_PLATFORMS_OWN = ("content-type", "content-length", "host", "x-hangar-delivery", "x-hangar-signature")

Phases = ActionPhase | str | Iterable[ActionPhase | str]


@dataclass(frozen=True)
class Webhook:
    """An HTTP POST of a JSON document when a run reaches a phase, sent until it is answered with success (200 to 299).

    The document has `run`, `project`, `domain`, `task`, `phase`, `occurred_at`, `url` and, for a run that failed,
    `failure` with `code` and `message`. The header `X-Hangar-Delivery` is the same each time that it is sent again.
    The operators of the backend say which addresses are allowed.

    Attributes:
        url: Where to send it.
        on_phase: One or several phases; the terminal ones unless given.
        headers: Further headers, such as an authorization.
        body: JSON value to send instead. In its texts `{run}`, `{phase}`, `{task}`, `{project}`, `{domain}` and
            `{url}` stand for those of the run.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: The address is none of HTTP, or a phase is unknown.

    Example:
        ```python
        hook = flyte.notify.Webhook("https://ci.example.com/hooks/flyte", on_phase="failed")
        ```
    """

    url: str
    on_phase: Phases = TERMINAL
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    def __post_init__(self) -> None:
        _check_url(self.url)
        object.__setattr__(self, "on_phase", _phases(self.on_phase))
        object.__setattr__(self, "headers", _headers(self.headers))
        self.to_spec()

    def to_spec(self) -> dict[str, Any]:
        """The `Notification` of a run, as proto-JSON."""
        try:
            body = "" if self.body is None else json.dumps(self.body, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TypeError(f"body={self.body!r} must be a JSON value: {error}") from error
        return {
            "url": self.url,
            "phases": [f"PHASE_{phase.name}" for phase in _phases(self.on_phase)],
            "headers": dict(self.headers),
            "body_json": body,
        }


@dataclass(frozen=True)
class Slack:
    """A message to a Slack channel through an incoming webhook.

    Attributes:
        webhook_url: Address of the incoming webhook.
        on_phase: One or several phases; the terminal ones unless given.
        message: Text, in which `{run}`, `{phase}`, `{task}`, `{project}`, `{domain}` and `{url}` stand for those of
            the run.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: The address is none of HTTP, or a phase is unknown.

    Example:
        ```python
        alert = flyte.notify.Slack("https://hooks.slack.com/services/T0/B0/x", on_phase="failed")
        ```
    """

    webhook_url: str
    on_phase: Phases = TERMINAL
    message: str = "{task} {phase}: {url}"

    def __post_init__(self) -> None:
        if not isinstance(self.message, str):
            raise TypeError(f"message must be text, not {self.message!r}")
        object.__setattr__(self, "on_phase", _phases(self.on_phase))
        self.to_spec()

    def to_spec(self) -> dict[str, Any]:
        """The `Notification` of a run, as proto-JSON."""
        return Webhook(self.webhook_url, self.on_phase, body={"text": self.message}).to_spec()


Notification = Webhook | Slack


def check_notifications(notifications: object) -> tuple[Notification, ...]:
    """Notifications as a tuple, or a `TypeError` that says what one is."""
    if notifications is None:
        return ()
    given = (notifications,) if isinstance(notifications, (Webhook, Slack)) else notifications
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, (Webhook, Slack)) for each in given):
        raise TypeError(
            f"notifications must be flyte.notify.Webhook(…), one or a list, not {notifications!r}"
        )
    return tuple(given)


def _check_url(url: object) -> None:
    if not isinstance(url, str):
        raise TypeError(f"url must be text, not {url!r}")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"url={url!r} must begin with https:// or http:// and name a host")


def _phases(phases: Phases) -> tuple[ActionPhase, ...]:
    given = (phases,) if isinstance(phases, (str, ActionPhase)) else tuple(phases)
    found = []
    for phase in given:
        try:
            found.append(phase if isinstance(phase, ActionPhase) else ActionPhase(phase.lower()))
        except (ValueError, AttributeError):
            known = ", ".join(each.value for each in ActionPhase)
            raise ValueError(f"on_phase: {phase!r} is no phase; there are {known}") from None
    if not found:
        raise ValueError("on_phase is empty: name at least one phase")
    return tuple(dict.fromkeys(found))


def _headers(headers: object) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a dict of texts, not {headers!r}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers: {name!r}={value!r} must be text")
        if not name or any(character in name + value for character in "\r\n\0:"[:3]) or ":" in name:
            raise ValueError(f"headers: {name!r}={value!r} is no valid header")
        if name.lower() in _PLATFORMS_OWN:
            raise ValueError(f"headers: {name!r} is set by the platform: leave it out")
    return dict(headers)
