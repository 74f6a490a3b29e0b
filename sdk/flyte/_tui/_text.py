"""Actions and runs as lines of text for the screen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.text import Text

from flyte import errors
from flyte._marks import CACHE_MARKS, MARKS, shown_duration, shown_progress

if TYPE_CHECKING:
    from flyte._tui._source import Action, Run

_MOST_CHARACTERS = 20_000
_MOST_LINES = 2000


def mark(run: Run | Action) -> Text:
    """The sign of a phase."""
    sign, style = MARKS.get(run.known_phase, ("?", ""))
    return Text(sign, style)


def label(action: Action) -> Text:
    """An action in the tree: phase, cache, name, duration, attempts, error."""
    text = mark(action)
    if action.cache_status in CACHE_MARKS:
        sign, style = CACHE_MARKS[action.cache_status]
        text.append(f" {sign}", style)
    text.append(f" {action.short_name}")
    if action.duration is not None:
        text.append(f"  {shown_duration(action.duration)}", "dim")
    if action.attempts > 1:
        text.append(f"  attempt {action.attempts}", "yellow")
    if action.progress is not None and not action.known_phase.is_terminal:
        text.append(f"  {shown_progress(action.progress)}", "cyan")
    if action.wait_reason and not action.known_phase.is_terminal:
        text.append(f"  {action.wait_reason}", "yellow")
    if action.error is not None:
        text.append(f"  {action.error.code}", "red")
    return text


def details(action: Action) -> Text:
    """Everything about an action. May block."""
    text = Text()
    found = action.details()
    rows: list[tuple[str, object]] = [
        ("task", action.task_name),
        ("action", action.name),
        ("phase", action.known_phase.value),
        (
            "started",
            found.start_time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if found.start_time else None,
        ),
        ("duration", shown_duration(action.duration) if action.duration is not None else None),
        ("group", action.group),
        ("cache", action.cache_status if action.cache_status != "disabled" else None),
        ("progress", action.progress),
        ("waits", action.wait_reason or None),
        ("report", getattr(action, "report_path", lambda: None)()),
    ]
    for name, value in rows:
        if value:
            text.append(f"{name:<9} ", "bold")
            text.append(f"{value}\n")
    if len(found.attempts) > 1:
        _title(text, "Attempts")
        for attempt in found.attempts:
            failed = (
                f"  {attempt.error_info.code}: {attempt.error_info.message}" if attempt.error_info else ""
            )
            text.append(f"{attempt.number}  {attempt.phase.value}{failed}\n")
    _title(text, "Inputs")
    text.append(_values(dict(action.inputs())))
    if action.known_phase.value == "succeeded":
        outputs = action.outputs()
        _title(text, "Outputs")
        text.append("none\n" if tuple(outputs) == (None,) else _values(outputs.named_outputs))
    if action.error is not None:
        _title(text, "Error")
        text.append(f"{action.error.code}: {action.error.message}\n", "red")
        text.append(action.error.user_traceback)
    return text


def logs(action: Action) -> Text:
    """What an action wrote. May block."""
    try:
        lines = [line.text for line in action.get_logs(max_lines=_MOST_LINES)]
    except errors.LogsNotYetAvailableError:
        lines = []
    return Text("\n".join(lines)) if lines else Text("It has not written anything.", "dim")


def _title(text: Text, title: str) -> None:
    text.append(f"\n{title}\n", "bold underline")


def _values(values: dict[str, Any]) -> str:
    if not values:
        return "none\n"
    lines = []
    for name, value in values.items():
        shown = (
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, default=str)
        )
        if len(shown) > _MOST_CHARACTERS:
            shown = f"{shown[:_MOST_CHARACTERS]}… ({len(shown):,} characters)"
        lines.append(f"{name}: {shown}\n")
    return "".join(lines)
