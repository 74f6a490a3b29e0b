"""Functions with an ``.aio`` twin that is written out: what they do happens where they are called."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Pair(Generic[P, R]):
    """A function, and as `aio` the one to await instead."""

    def __init__(self, function: Callable[P, R], aio: Callable[P, Awaitable[R]]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._aio = aio

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Blocks until it is done."""
        return self._function(*args, **kwargs)

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same, without blocking the event loop."""
        return await self._aio(*args, **kwargs)


def paired(aio: Callable[P, Awaitable[R]]) -> Callable[[Callable[P, R]], Pair[P, R]]:
    """Gives a function its twin."""
    return lambda function: Pair(function, aio)


def immediate(function: Callable[P, R]) -> Pair[P, R]:
    """Gives a function that never waits a twin that does the same."""

    async def aio(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return Pair(function, aio)
