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
import operator
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

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

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
            """Blocks until the result is there."""
    else:

        @property
        def __call__(self):
            """Blocks until the result is there."""
            return functools.partial(_Raised, self._function)

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same, without blocking the caller's event loop."""
        __tracebackhide__ = True
        try:
            return await LOOP.bridge(self._function(*args, **kwargs))
        except RuntimeUserError as error:
            raise error.with_traceback(pruned(error.__traceback__))  # noqa: B904 - it is the same one


class _Raised(asyncio.Future[None]):
    """An error of user code on its way to the caller, without a frame of ours in its traceback.

    Python adds every function of its own that an exception leaves to the traceback. So nothing written in Python may
    be between the caller and the ``raise``: a call of this class runs `__new__`, which returns the result; when there
    is an error it returns an object, and then Python initializes that: ``__init__`` is `asyncio.Future.result`,
    written in C, which raises it.
    """

    def __new__(cls, function: Callable[..., Coroutine[Any, Any, Any]], /, *args: Any, **kwargs: Any) -> Any:
        try:
            return LOOP.run(function(*args, **kwargs))
        except RuntimeUserError as error:
            raised = super().__new__(cls)
            asyncio.Future.__init__(raised, loop=_NoLoop())  # type: ignore[arg-type]  # nobody waits for it
            raised.set_exception(error.with_traceback(pruned(error.__traceback__)))
            return raised

    if not TYPE_CHECKING:
        __init__ = property(operator.methodcaller("result"))


class _NoLoop:
    """What a future needs of an event loop that nobody waits on."""

    def get_debug(self) -> bool:
        """No."""
        return False


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
