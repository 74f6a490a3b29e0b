"""The actions of a run as a tree for the terminal."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text
from rich.tree import Tree

from flyte._marks import MARKS, shown_duration, shown_progress
from flyte.models import ActionPhase

if TYPE_CHECKING:
    from flyte.remote import Action

_TAKEN_OVER = {"hit": "cached", "recovered": "recovered"}
_MOST_CHILDREN = 8
_MOST_FAILED = 3


class ActionTree:
    """Draws the actions that it was given, in their latest state. Many equal children become one line."""

    def __init__(self) -> None:
        self._actions: dict[str, Action] = {}

    def take(self, actions: tuple[Action, ...]) -> None:
        """Takes in new and changed actions."""
        # A new dictionary, since the terminal is drawn on another thread.
        self._actions = {**self._actions, **{action.name: action for action in actions}}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws as many lines as fit."""
        actions = self._actions
        children: dict[str | None, list[Action]] = defaultdict(list)
        for action in actions.values():
            children[action.parent if action.parent in actions else None].append(action)
        budget = [max(console.height - 4, 4)]
        for root in children[None]:
            tree = Tree(_line(root), guide_style="dim")
            budget[0] -= 1
            self._grow(tree, root, children, budget)
            yield tree

    def _grow(
        self, tree: Tree, parent: Action, children: dict[str | None, list[Action]], budget: list[int]
    ) -> None:
        by_task: dict[tuple[str, str], list[Action]] = defaultdict(list)
        for child in children.get(parent.name, []):
            by_task[child.group or "", child.short_name].append(child)
        for (group, short_name), actions in by_task.items():
            if budget[0] <= 0:
                return
            if len(actions) > min(_MOST_CHILDREN, budget[0]):
                summary = tree.add(_summary(group, short_name, actions))
                budget[0] -= 1
                for action in [action for action in actions if action.error is not None][:_MOST_FAILED]:
                    summary.add(_line(action))
                    budget[0] -= 1
                continue
            for action in actions:
                branch = tree.add(_line(action))
                budget[0] -= 1
                self._grow(branch, action, children, budget)


def _line(action: Action) -> Text:
    phase = action.known_phase
    mark, style = MARKS.get(phase, ("?", ""))
    text = Text.assemble((mark, style), " ")
    if action.group:
        text.append(f"{action.group} / ", "dim")
    text.append(action.short_name)
    if action.kind != "task":
        text.append(f"  {action.kind}", "dim")
    duration = action.duration
    if duration is not None:
        text.append(f"  {shown_duration(duration)}", "dim")
    if action.attempts > 1:
        text.append(f"  attempt {action.attempts}", "yellow")
    if action.progress is not None and not phase.is_terminal:
        text.append(f"  {shown_progress(action.progress)}", "cyan")
    if action.cache_status in _TAKEN_OVER:
        text.append(f"  {_TAKEN_OVER[action.cache_status]}", "green")
    if action.wait_reason and not phase.is_terminal:
        text.append(f"  {action.wait_reason}", "yellow")
    if action.error is not None and phase is not ActionPhase.ABORTED:
        text.append(f"  {action.error.code}", "red")
    return text


def _summary(group: str, short_name: str, actions: list[Action]) -> Text:
    counts = Counter(action.known_phase for action in actions)
    text = Text()
    if group:
        text.append(f"{group} / ", "dim")
    text.append(f"{short_name} × {len(actions)} ")
    for phase, (mark, style) in MARKS.items():
        if counts[phase]:
            text.append(f" {mark} {counts[phase]}", style)
    return text
