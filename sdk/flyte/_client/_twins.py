"""Functions that block when called and have an ``.aio`` twin to await.

The coroutine function is written once; it runs on the SDK's own loop in either case::

    class Run:
        @twin_method
        async def wait(self, quiet: bool = False) -> None: ...

    run.wait()            # blocks
    await run.wait.aio()  # does not

A static method of a class is ``@twin`` above ``@staticmethod``.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from flyte._client._loop import LOOP
from flyte._tracebacks import pruned
from flyte.errors import RuntimeUserError

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Twin(Generic[P, R]):
    """A function that blocks, and whose ``aio`` is awaited instead."""

    def __init__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Blocks until the result is there."""
        __tracebackhide__ = True
        try:
            return LOOP.run(self._function(*args, **kwargs))
        except RuntimeUserError as error:
            raise error.with_traceback(pruned(error.__traceback__))  # noqa: B904 - it is the same one

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same, without blocking the caller's event loop."""
        __tracebackhide__ = True
        try:
            return await LOOP.bridge(self._function(*args, **kwargs))
        except RuntimeUserError as error:
            raise error.with_traceback(pruned(error.__traceback__))  # noqa: B904 - it is the same one


class ImmediateTwin(Twin[P, R]):
    """A twin of a function that never waits for anything: it runs where it is called."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs to the end at once."""
        coroutine = self._function(*args, **kwargs)
        try:
            coroutine.send(None)
        except StopIteration as end:
            return cast(R, end.value)
        coroutine.close()
        raise RuntimeError(f"{self._function.__name__} waits, so it cannot be an immediate twin")

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same, to be awaited."""
        return await self._function(*args, **kwargs)


class TwinMethod(Generic[S, P, R]):
    """A method whose instances are `Twin`."""

    def __init__(self, function: Callable[Concatenate[S, P], Coroutine[Any, Any, R]]) -> None:
        functools.update_wrapper(cast(Any, self), function)
        self._function = function

    @overload
    def __get__(self, instance: None, owner: type[S]) -> TwinMethod[S, P, R]: ...
    @overload
    def __get__(self, instance: S, owner: type[S]) -> Twin[P, R]: ...
    def __get__(self, instance: S | None, owner: type[S]) -> TwinMethod[S, P, R] | Twin[P, R]:
        if instance is None:
            return self
        return Twin(_bound(self._function, instance))


class TwinIterator(Generic[P, R]):
    """A function that iterates blockingly, and whose ``aio`` is an asynchronous iterator."""

    def __init__(self, function: Callable[P, AsyncGenerator[R, None]]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        """Iterates; each step blocks until the next item is there."""
        steps = _Steps(self._function(*args, **kwargs))
        try:
            while not isinstance(item := LOOP.run(steps.next()), _End):
                yield item
        finally:
            LOOP.run(steps.close())

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        """The same, without blocking the caller's event loop."""
        steps = _Steps(self._function(*args, **kwargs))
        try:
            while not isinstance(item := await LOOP.bridge(steps.next()), _End):
                yield item
        finally:
            await LOOP.bridge(steps.close())


class TwinIteratorMethod(Generic[S, P, R]):
    """A method whose instances are `TwinIterator`."""

    def __init__(self, function: Callable[Concatenate[S, P], AsyncGenerator[R, None]]) -> None:
        functools.update_wrapper(cast(Any, self), function)
        self._function = function

    @overload
    def __get__(self, instance: None, owner: type[S]) -> TwinIteratorMethod[S, P, R]: ...
    @overload
    def __get__(self, instance: S, owner: type[S]) -> TwinIterator[P, R]: ...
    def __get__(self, instance: S | None, owner: type[S]) -> TwinIteratorMethod[S, P, R] | TwinIterator[P, R]:
        if instance is None:
            return self
        return TwinIterator(_bound(self._function, instance))


def twin(function: Callable[P, Coroutine[Any, Any, R]]) -> Twin[P, R]:
    """Makes a coroutine function a blocking function with an ``.aio`` twin."""
    return Twin(function)


def immediate_twin(function: Callable[P, Coroutine[Any, Any, R]]) -> ImmediateTwin[P, R]:
    """Makes a coroutine function that never waits a plain function with an ``.aio`` twin."""
    return ImmediateTwin(function)


def twin_method(function: Callable[Concatenate[S, P], Coroutine[Any, Any, R]]) -> TwinMethod[S, P, R]:
    """Makes a coroutine method a blocking method with an ``.aio`` twin."""
    return TwinMethod(function)


def twin_iterator(function: Callable[P, AsyncGenerator[R, None]]) -> TwinIterator[P, R]:
    """Makes an asynchronous generator function a blocking iterator with an ``.aio`` twin."""
    return TwinIterator(function)


def twin_iterator_method(
    function: Callable[Concatenate[S, P], AsyncGenerator[R, None]],
) -> TwinIteratorMethod[S, P, R]:
    """Makes an asynchronous generator method a blocking one with an ``.aio`` twin."""
    return TwinIteratorMethod(function)


def _bound(function: Callable[..., Any], first: Any) -> Callable[..., Any]:
    """Binds the first argument and keeps name and docstring."""
    bound = functools.partial(function, first)
    functools.update_wrapper(bound, function)
    return bound


class _End:
    """Stands for the end of an iteration, which no future can carry as an exception."""


class _Steps(Generic[R]):
    """The steps of an asynchronous generator, one at a time.

    A step that was interrupted still ends on the loop when the generator is to be closed: closing waits.
    """

    def __init__(self, generator: AsyncGenerator[R, None]) -> None:
        self._generator = generator
        self._turn: asyncio.Lock | None = None

    async def next(self) -> R | _End:
        """The next item, or the end."""
        async with self._lock():
            return await anext(self._generator, _End())

    async def close(self) -> None:
        """Runs the generator's cleanup."""
        async with self._lock():
            await self._generator.aclose()

    def _lock(self) -> asyncio.Lock:
        # Made on the loop that it belongs to, which Python 3.10 still wants running by then.
        if self._turn is None:
            self._turn = asyncio.Lock()
        return self._turn
