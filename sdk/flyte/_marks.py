"""How phases, caches and durations are shown on a terminal."""

from __future__ import annotations

from datetime import timedelta

from flyte.models import ActionPhase, Progress

MARKS = {
    ActionPhase.QUEUED: ("·", "dim"),
    ActionPhase.WAITING_FOR_RESOURCES: ("·", "yellow"),
    ActionPhase.INITIALIZING: ("○", "cyan"),
    ActionPhase.RUNNING: ("●", "blue"),
    ActionPhase.PAUSED: ("‖", "yellow"),
    ActionPhase.SUCCEEDED: ("✓", "green"),
    ActionPhase.FAILED: ("✗", "red"),
    ActionPhase.ABORTED: ("■", "magenta"),
    ActionPhase.TIMED_OUT: ("✗", "red"),
}
_BAR = 10
"""Characters of a bar."""
CACHE_MARKS = {"hit": ("$", "green"), "miss": ("~", "yellow"), "overwritten": ("~", "yellow")}


def shown_duration(duration: timedelta) -> str:
    """A duration as people read it: 0.3s, 12s, 3m 20s, 2h 5m."""
    seconds = duration.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if not minutes:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"


def shown_progress(progress: Progress) -> str:
    """Progress in one line: a bar when the total is known."""
    fraction = progress.fraction
    if fraction is None:
        return str(progress)
    full = int(fraction * _BAR)
    return f"{'━' * full}{'╌' * (_BAR - full)} {fraction:.0%}  {progress}"
