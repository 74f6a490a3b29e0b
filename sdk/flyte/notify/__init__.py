"""Whom to tell of a run's phases.

Example:
    ```python
    hook = flyte.notify.Webhook("https://ci.example.com/hooks/flyte", on_phase=["failed", "timed_out"])
    flyte.with_runcontext(notifications=hook).run(pipeline)
    ```
"""

from __future__ import annotations

from flyte.notify._notification import Notification, Slack, Webhook

__all__ = ["Notification", "Slack", "Webhook"]


def __getattr__(name: str) -> object:
    """Refuse what others document and this platform does not have."""
    if name in {"Email", "Teams", "NamedRule", "NamedDelivery"}:
        raise AttributeError(
            f"flyte.notify.{name} is not available: send a flyte.notify.Webhook to a service that passes it on"
        )
    raise AttributeError(f"module 'flyte.notify' has no attribute {name!r}")
