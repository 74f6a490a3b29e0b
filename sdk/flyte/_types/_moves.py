"""Values whose documents need bulk data to be moved: never on an event loop.

Writing and reading documents is plain code that never waits, except where a data frame has to be stored or fetched.
On an event loop it is tried as plain code first; the first value that would wait ends the try, and the whole is
done in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_on_loop: ContextVar[bool] = ContextVar("flyte_on_loop", default=False)


class WouldBlock(BaseException):
    """A value has to be moved, and this is no place to wait. Not an error: nobody but `off_loop` catches it."""


def may_block() -> None:
    """Called by codecs before they move data.

    Raises:
        WouldBlock: The caller is on an event loop.
    """
    if _on_loop.get():
        raise WouldBlock


async def off_loop(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Calls what writes or reads a document: here, or in a thread when it has to move data."""
    token = _on_loop.set(True)
    try:
        return function(*args, **kwargs)
    except WouldBlock:
        pass
    finally:
        _on_loop.reset(token)
    return await asyncio.to_thread(function, *args, **kwargs)


class Moved:
    """What one document has moved so far: a value that is met again is not moved again."""

    def __init__(self) -> None:
        self.forms: dict[int, tuple[Any, Any]] = {}
        """By identity of a value: the value, and its form."""
        self.values: dict[str, Any] = {}
        """By location: the value that was put there."""


moved: ContextVar[Moved | None] = ContextVar("flyte_moved", default=None)
probing: ContextVar[bool] = ContextVar("flyte_probing", default=False)
"""Whether it is only asked if a form can be read: nothing is fetched for that."""


@contextmanager
def remembering() -> Iterator[None]:
    """Values are written and read several times inside, to see whether they come back, and are moved once."""
    token = moved.set(moved.get() or Moved())
    try:
        yield
    finally:
        moved.reset(token)


is_describing: ContextVar[bool] = ContextVar("flyte_describing", default=False)


@contextmanager
def describing() -> Iterator[None]:
    """Values are written to describe a task inside, not to run it: nothing is moved for that."""
    token = is_describing.set(True)
    try:
        yield
    finally:
        is_describing.reset(token)
