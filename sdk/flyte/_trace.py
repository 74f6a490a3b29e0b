"""`@flyte.trace`: calls inside a task that are recorded as its child actions, and replayed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from flyte._context import current_controller
from flyte._function_flags import ASYNC_GENERATOR, COROUTINE, GENERATOR, VARARGS, VARKEYWORDS
from flyte._step import Step, inside

if TYPE_CHECKING:
    from flyte._step import TracedCall
    from flyte._types import Interface

P = ParamSpec("P")
R = TypeVar("R")


def trace(func: Callable[P, R]) -> Callable[P, R]:
    """Record each call of a function inside a task as a child action: name, timing, inputs, outputs, failure.

    The function runs where it is called, without a worker of its own. When the task is tried again, after a failure or
    the loss of its worker or host, calls that succeeded (same arguments in the same order) return what was recorded and
    do not run again; calls that raised run again. Inputs and outputs follow the rules of tasks' types. Items of a
    generator pass through at once and are recorded when it has ended. Outside a task it is the plain function.

    Args:
        func: A function, coroutine function, generator function or asynchronous generator function.

    Raises:
        TypeError: It is none of these.
        ValueError: It has *args or **kwargs, or is a generator with a return value.

    Example:
        ```python
        @flyte.trace
        async def search(query: str) -> list[str]:
            return await client.search(query)

        @env.task
        async def agent(question: str) -> str:
            return summarize(await search(question))
        ```
    """
    code = getattr(func, "__code__", None)
    if code is None:
        raise TypeError(
            f"@flyte.trace decorates a function, not {func!r}; put it below @env.task, on another function"
        )
    if code.co_flags & (VARARGS | VARKEYWORDS):
        raise ValueError(
            f"{func.__qualname__} has *args or **kwargs: name every input of a trace, or take a list or dict"
        )
    is_stream = bool(code.co_flags & (GENERATOR | ASYNC_GENERATOR))

    def interface() -> Interface:
        from flyte._types import Interface, StreamInterface

        return (StreamInterface if is_stream else Interface).from_function(func)

    name = f"{func.__module__}.{func.__qualname__}"
    step = Step("trace", name, func.__name__, interface, (func.__module__, func.__qualname__))
    return functools.wraps(func)(traced(step, func))


def traced(step: Step, func: Callable[P, R]) -> Callable[P, R]:
    """Record the calls of a function as those of a step."""
    flags = getattr(getattr(func, "__code__", None), "co_flags", 0)
    wrapper: Any
    if flags & COROUTINE:
        wrapper = _coroutine(step, func)
    elif flags & ASYNC_GENERATOR:
        wrapper = _async_stream(step, func)
    elif flags & GENERATOR:
        wrapper = _stream(step, func)
    else:
        wrapper = _function(step, func)
    return wrapper  # type: ignore[no-any-return]


def _coroutine(step: Step, func: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        controller = current_controller()
        if controller is None:
            return await func(*args, **kwargs)
        from flyte._types._moves import off_loop

        call = await off_loop(controller.trace, step, args, kwargs)
        document = await call.recorded()
        if document is not None:
            return await off_loop(step.interface.load_outputs, document)
        try:
            with inside(call):
                value = await func(*args, **kwargs)
            document = await off_loop(_outputs, step, value)
        except BaseException as error:
            if not _abandon(call, error):
                await call.fail(error)
            raise
        await call.keep(document)
        return value

    return wrapper


def _function(step: Step, func: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        controller = current_controller()
        if controller is None:
            return func(*args, **kwargs)
        call = controller.trace(step, args, kwargs)
        document = call.recorded_sync()
        if document is not None:
            return step.interface.load_outputs(document)
        try:
            with inside(call):
                value = func(*args, **kwargs)
            document = _outputs(step, value)
        except BaseException as error:
            if not _abandon(call, error):
                call.fail_sync(error)
            raise
        call.keep_sync(document)
        return value

    return wrapper


def _async_stream(step: Step, func: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if current_controller() is None:
            return func(*args, **kwargs)
        return items(args, kwargs)

    async def items(args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        controller = current_controller()
        assert controller is not None
        from flyte._types._moves import off_loop

        call = await off_loop(controller.trace, step, args, kwargs)
        document = await call.recorded()
        if document is not None:
            for item in await off_loop(step.interface.load_outputs, document):
                yield item
            return
        passed: list[Any] = []
        stream = func(*args, **kwargs)
        try:
            while True:
                with inside(call):
                    try:
                        item = await anext(stream)
                    except StopAsyncIteration:
                        break
                passed.append(item)
                yield item
            document = await off_loop(_outputs, step, passed)
        except BaseException as error:
            if not _abandon(call, error, len(passed)):
                await call.fail(error)
            await stream.aclose()
            raise
        await call.keep(document)

    return wrapper


def _stream(step: Step, func: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if current_controller() is None:
            return func(*args, **kwargs)
        return items(args, kwargs)

    def items(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        controller = current_controller()
        assert controller is not None
        call = controller.trace(step, args, kwargs)
        document = call.recorded_sync()
        if document is not None:
            yield from step.interface.load_outputs(document)
            return
        passed: list[Any] = []
        stream = func(*args, **kwargs)
        try:
            while True:
                with inside(call):
                    try:
                        item = next(stream)
                    except StopIteration:
                        break
                passed.append(item)
                yield item
            document = _outputs(step, passed)
        except BaseException as error:
            if not _abandon(call, error, len(passed)):
                call.fail_sync(error)
            stream.close()
            raise
        call.keep_sync(document)

    return wrapper


def _outputs(step: Step, value: Any) -> bytes:
    from flyte._runtime.controller import check_size

    document = step.interface.dump_outputs(value)
    check_size(document, step.max_inline_io_bytes, f"the outputs of {step.name}")
    return document


def _abandon(call: TracedCall, error: BaseException, items: int | None = None) -> bool:
    """Record that a call did not come to its end, if that is what an error means. False when it failed."""
    if isinstance(error, GeneratorExit):
        call.abandon(f"nobody took more than {items} items of the stream")
    elif isinstance(error, asyncio.CancelledError):
        call.abandon("cancelled")
    else:
        return False
    return True
