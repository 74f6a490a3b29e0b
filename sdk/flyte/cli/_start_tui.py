"""`flyte start tui`."""

from __future__ import annotations

import click

from flyte.cli._groups import Command

_EXAMPLES = """
flyte create config --local-persistence
flyte run --local hello.py greet --name World
flyte start tui
"""


@click.command(cls=Command, epilog=_EXAMPLES)
def tui() -> None:
    """Show recorded local runs, also while they go on in other processes.

    Marks: ● running, ✓ done, ✗ failed, $ from the cache, ~ cached task that had to run.
    Keys: arrows choose, enter opens a run, d details, l logs, escape back, q quit.
    """
    from flyte._local._store import default_store
    from flyte._tui import show
    from flyte._tui._source import LocalSource

    show(LocalSource(default_store()))
