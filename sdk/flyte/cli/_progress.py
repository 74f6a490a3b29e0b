"""Shows a run while it goes on: a live tree on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from flyte.cli._follow import LogFollower

if TYPE_CHECKING:
    from flyte.cli._settings import Settings
    from flyte.remote import Action, Run


def show_progress(run: Run, settings: Settings, *, follow: bool) -> None:
    """Returns when the run has ended.

    Args:
        run: The run.
        settings: Options of the command line.
        follow: True to print what its actions write, too.
    """
    live = sys.stdout.isatty() and sys.stderr.isatty() and not settings.as_json
    shown = _live_tree() if live else _lines(settings.verbosity > 0)
    with shown as (say, see):
        follower = LogFollower(say) if follow else None

        def lost() -> None:
            say("No connection to the backend: trying again, nothing is lost. (flyte status)", True)

        for update in run.updates(on_reconnect=lost):
            see(update.actions)
            if follower is not None:
                follower.see(update.actions)
        if follower is not None:
            follower.finish()


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
def _live_tree() -> Iterator[tuple[Say, See]]:
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
