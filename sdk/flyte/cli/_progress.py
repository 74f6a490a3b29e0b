"""Shows a run while it goes on: a live tree on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from flyte.cli._settings import Settings
    from flyte.remote import Action, Run

_LOG_END_SECONDS = 10.0


def show_progress(run: Run, settings: Settings, *, follow: bool) -> None:
    """Returns when the run has ended.

    Args:
        run: The run.
        settings: Options of the command line.
        follow: True to print what the root action writes, too.
    """
    live = sys.stdout.isatty() and sys.stderr.isatty() and not settings.as_json
    shown = _live_tree(run) if live else _lines(settings.verbosity > 0)
    with shown as (say, see), _followed(run, say if follow else None):

        def lost() -> None:
            say("No connection to the backend: trying again, nothing is lost. (flyte status)", True)

        for update in run.updates(on_reconnect=lost):
            see(update.actions)


Say = Callable[[str, bool], None]
"""Prints a line; True for one that is about the run, False for one that the run wrote."""
See = Callable[["tuple[Action, ...]"], None]
"""Takes in changed actions."""


@contextlib.contextmanager
def _lines(verbose: bool) -> Iterator[tuple[Say, See]]:
    """Plain lines: none about phases unless asked for."""
    phases: dict[str, str] = {}

    def see(actions: tuple[Action, ...]) -> None:
        for action in actions:
            phase = action.known_phase.value
            if verbose and phases.get(action.name) != phase:
                phases[action.name] = phase
                reason = f" ({action.wait_reason})" if action.wait_reason else ""
                click.echo(f"{action.name} {action.short_name}: {phase}{reason}", err=True)

    yield lambda text, about: click.echo(text, err=about), see


@contextlib.contextmanager
def _live_tree(run: Run) -> Iterator[tuple[Say, See]]:
    """A tree that is drawn again and again, and stays when the run has ended."""
    from rich.console import Console
    from rich.live import Live

    from flyte.cli._tree import ActionTree

    console = Console(highlight=False)
    tree = ActionTree()
    with Live(tree, console=console, refresh_per_second=8) as live:

        def see(actions: tuple[Action, ...]) -> None:
            tree.take(actions)

        def say(text: str, _about: bool) -> None:
            live.console.print(text, markup=False, soft_wrap=True)

        yield say, see


@contextlib.contextmanager
def _followed(run: Run, say: Say | None) -> Iterator[None]:
    """Prints what the root action writes, on a thread; waits at the end until all of it is printed."""
    if say is None:
        yield
        return
    failures: list[Exception] = []

    def follow() -> None:
        try:
            for line in run.get_logs(follow=True):
                say(line.text, False)
        except Exception as error:  # noqa: BLE001 - reported below, on the thread that can
            failures.append(error)

    thread = threading.Thread(target=follow, name="flyte-follow", daemon=True)
    thread.start()
    yield
    thread.join(_LOG_END_SECONDS)
    if failures:
        say(f"The log could not be followed: {failures[0]}", True)
