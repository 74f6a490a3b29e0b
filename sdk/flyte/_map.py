"""`flyte.map`: one task, called once per item, all calls in parallel, results in the order of the items."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from flyte._context import current_context, current_controller, group
from flyte._task import TaskTemplate

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

T = TypeVar("T")


class Mapping:
    """One task over many items: `flyte.map` gives an iterator, `flyte.map.aio` an asynchronous one.

    Example:
        ```python
        @env.task
        def total(n: int) -> int:
            return sum(flyte.map(square, range(n), return_exceptions=False))
        ```
    """

    @overload
    def __call__(
        self,
        func: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        group_name: str | None = None,
        concurrency: int = 0,
        return_exceptions: bool = True,
    ) -> Iterator[T | Exception]: ...

    @overload
    def __call__(
        self,
        func: Callable[..., T],
        *iterables: Iterable[Any],
        group_name: str | None = None,
        concurrency: int = 0,
        return_exceptions: bool = True,
    ) -> Iterator[T | Exception]: ...

    def __call__(
        self,
        func: Any,
        *iterables: Iterable[Any],
        group_name: str | None = None,
        concurrency: int = 0,
        return_exceptions: bool = True,
    ) -> Iterator[Any]:
        """Call a task with each item, in parallel, and iterate over the results in the order of the items.

        For sync tasks. In local mode sync tasks run one after the other, with a warning. Outside a task the
        calls are plain function calls. In an `async def` task use `flyte.map.aio`, which does not block.

        Args:
            func: A task, or `functools.partial(task, …)` that leaves exactly its first parameter open.
            *iterables: Items. Several iterables are zipped: each call gets one item of each.
            group_name: The calls are shown in a group named `<task>_<group_name>`, "map" by default.
            concurrency: Most calls at the same time, 0 for no limit.
            return_exceptions: Yield what a call raised in its place; False raises the first one and cancels
                the calls that have not ended.

        Raises:
            TypeError: `func` is not a task or leaves another number of parameters open than there are
                iterables, or an argument has the wrong type.
            ValueError: `concurrency` is negative.

        Example:
            ```python
            @env.task
            def total(n: int) -> int:
                return sum(flyte.map(square, range(n), return_exceptions=False))
            ```
        """
        plan = _Plan(func, iterables, group_name, concurrency, return_exceptions)
        return _iterate(plan)

    @overload
    def aio(
        self,
        func: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        group_name: str | None = None,
        concurrency: int = 0,
        return_exceptions: bool = True,
    ) -> AsyncIterator[T | Exception]: ...

    @overload
    def aio(
        self,
        func: Callable[..., T],
        *iterables: Iterable[Any],
        group_name: str | None = None,
        concurrency: int = 0,
        return_exceptions: bool = True,
    ) -> AsyncIterator[T | Exception]: ...

    def aio(
        self,
        func: Any,
        *iterables: Iterable[Any],
        group_name: str | None = None,
        concurrency: int = 0,
        return_exceptions: bool = True,
    ) -> AsyncIterator[Any]:
        """As `flyte.map`, for asynchronous code.

        Closing the iterator early cancels the calls that have not ended.

        Example:
            ```python
            @env.task
            async def total(n: int) -> int:
                return sum([x async for x in flyte.map.aio(square, range(n), return_exceptions=False)])
            ```
        """
        return _results(_Plan(func, iterables, group_name, concurrency, return_exceptions))

    def __repr__(self) -> str:
        return "flyte.map"


map = Mapping()  # noqa: A001 - the name of the public contract


class _Plan:
    """The calls of one `flyte.map`, checked."""

    def __init__(
        self,
        func: object,
        iterables: tuple[Iterable[Any], ...],
        group_name: str | None,
        concurrency: int,
        return_exceptions: bool,
    ) -> None:
        self.task, self.arguments = _task_of(func)
        if not iterables:
            raise TypeError(f"flyte.map({self.task.name}): pass at least one iterable of items")
        for items in iterables:
            _check_iterable(self.task, items)
        _check_parameters(self.task, self.arguments, isinstance(func, functools.partial), len(iterables))
        if isinstance(concurrency, bool) or not isinstance(concurrency, int):
            raise TypeError(f"flyte.map: concurrency must be an int, not {concurrency!r}")
        if concurrency < 0:
            raise ValueError(f"flyte.map: concurrency={concurrency} is negative: use 0 for no limit")
        if group_name is not None and not isinstance(group_name, str):
            raise TypeError(f"flyte.map: group_name must be a string, not {group_name!r}")
        self.items = zip(*iterables)  # noqa: B905 - the shortest counts, as with the built-in map
        self.group = f"{self.task.short_name}_{group_name or 'map'}"
        self.concurrency = concurrency
        self.return_exceptions = return_exceptions

    def start(self, item: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
        """Start the call of an item."""
        with group(self.group):
            return loop.create_task(self.task.aio(*item, **self.arguments))


def _task_of(func: object) -> tuple[TaskTemplate[..., Any], dict[str, Any]]:
    if isinstance(func, functools.partial):
        task = func.func
        if isinstance(task, TaskTemplate):
            if func.args:
                raise TypeError(
                    f"flyte.map: functools.partial({task.name}, …) binds its first parameter, which the items "
                    "are for: bind the others by keyword"
                )
            return task, dict(func.keywords)
    elif isinstance(func, TaskTemplate):
        return func, {}
    raise TypeError(
        f"flyte.map needs a task or functools.partial of one, not {func!r}: decorate the function with @env.task"
    )


def _check_iterable(task: TaskTemplate[..., Any], items: object) -> None:
    if hasattr(type(items), "__iter__") or hasattr(type(items), "__getitem__"):
        return
    if hasattr(type(items), "__aiter__"):
        raise TypeError(
            f"flyte.map({task.name}): {items!r} is asynchronous: collect its items first, "
            "[item async for item in …]"
        )
    raise TypeError(
        f"flyte.map({task.name}): {items!r} is not iterable: pass a list, a range or other items, one for each call"
    )


def _check_parameters(
    task: TaskTemplate[..., Any], bound: dict[str, Any], is_partial: bool, iterables: int
) -> None:
    """Items fill the first parameters; a partial has to leave exactly the first one."""
    names = [variable.name for variable in task.interface.inputs]
    for name in bound:
        if name not in names:
            raise TypeError(f"flyte.map: {task.name} has no parameter {name!r}; it has {', '.join(names)}")
    free = [name for name in names if name not in bound]
    if is_partial and free != names[:1]:
        raise TypeError(
            f"flyte.map: functools.partial({task.name}, …) must leave exactly the first parameter open, "
            f"{names[:1]}, and leaves {free}"
        )
    if len(free) < iterables:
        raise TypeError(f"flyte.map: {iterables} iterables for {task.name}, which takes {len(free)} values")
    missing = [v.name for v in task.interface.inputs if v.required and v.name in free[iterables:]]
    if missing:
        raise TypeError(
            f"flyte.map: {task.name} also needs {', '.join(missing)}: pass one more iterable each, or "
            "bind them with functools.partial"
        )


async def _results(plan: _Plan) -> AsyncGenerator[Any, None]:
    """The results in the order of the items, while as many calls run as may."""
    import asyncio

    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    tasks: deque[asyncio.Task[Any]] = deque()
    running, more = 0, True

    def ended(_: asyncio.Task[Any]) -> None:
        nonlocal running
        running -= 1
        changed.set()

    try:
        while True:
            while more and not (plan.concurrency and running >= plan.concurrency):
                item = next(plan.items, None)
                if item is None:
                    more = False
                    break
                task = plan.start(item, loop)
                task.add_done_callback(ended)
                tasks.append(task)
                running += 1
            if not tasks:
                return
            if tasks[0].done():
                yield _result(tasks.popleft(), plan.return_exceptions)
                continue
            changed.clear()
            await changed.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _result(task: asyncio.Task[Any], return_exceptions: bool) -> Any:
    error = None if task.cancelled() else task.exception()
    if return_exceptions and isinstance(error, Exception):
        return error
    return task.result()


def _iterate(plan: _Plan) -> Iterator[Any]:
    """The results for sync code, by the way that fits where it runs."""
    controller, context = current_controller(), current_context()
    if controller is None or (context is not None and context.mode == "local" and not plan.task.is_async):
        return _one_by_one(plan, in_run=controller is not None)
    if _is_loop_running():
        return iter(controller.run_blocking(_collect(plan)))
    return _on_own_loop(plan)


def _is_loop_running() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _collect(plan: _Plan) -> list[Any]:
    return [result async for result in _results(plan)]


def _on_own_loop(plan: _Plan) -> Iterator[Any]:
    """Results of calls that an event loop of this thread's own waits for."""
    import asyncio

    loop = asyncio.new_event_loop()
    results = _results(plan)
    try:
        while True:
            try:
                yield loop.run_until_complete(results.__anext__())
            except StopAsyncIteration:
                return
    finally:
        loop.run_until_complete(results.aclose())
        loop.close()


def _one_by_one(plan: _Plan, *, in_run: bool) -> Iterator[Any]:
    """Results of calls one after the other: plain functions, and sync tasks in local mode."""
    call: Callable[..., Any] = plan.task
    if in_run:
        from flyte._logging import logger

        logger.warning(
            "flyte.map runs the sync task %s one call after the other in local mode", plan.task.name
        )
    elif plan.task.is_async:
        call = _plain_call(plan.task)
    for item in plan.items:
        try:
            with group(plan.group):
                result = call(*item, **plan.arguments)
        except Exception as error:
            if not plan.return_exceptions:
                raise
            result = error
        yield result


def _plain_call(task: TaskTemplate[..., Any]) -> Callable[..., Any]:
    import asyncio

    def call(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(task.func(*args, **kwargs))

    return call
