"""A question that Ctrl-C always ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator

import click


def ask(question: str) -> bool:
    """Asks on the terminal. Nothing but an answer that starts with ``n`` is a no.

    Unlike `input`, it misses no interrupt that arrives between the question and the reading of the answer.

    Raises:
        KeyboardInterrupt: When it is interrupted.
    """
    with _interrupts() as interrupted:
        click.echo(question, err=True, nl=False)
        ready, _, _ = select.select([sys.stdin, interrupted], [], [])
    if sys.stdin not in ready:
        raise KeyboardInterrupt
    return not sys.stdin.readline().strip().lower().startswith("n")


@contextlib.contextmanager
def _interrupts() -> Iterator[int]:
    """A file descriptor that is readable as soon as a signal has arrived."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
