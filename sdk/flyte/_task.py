"""Tasks: Python functions that run as actions."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from flyte._availability import refuse_parameters
from flyte._cache import Cache, CacheBehavior, cache_of
from flyte._context import current_controller
from flyte._docs import Documentation
from flyte._function_flags import COROUTINE
from flyte._link import Link, check_links
from flyte._placement import check_interruptible, check_queue
from flyte._resources import Resources
from flyte._retry import RetryStrategy, retry_strategy
from flyte._reuse import ReusePolicy
from flyte._task_checks import (
    MAX_INLINE_IO_BYTES,
    check_flag,
    check_function,
    check_resources,
    check_reusable,
    check_short_name,
    inline_limit,
)
from flyte._texts import check_env_vars
from flyte._timeout import Timeout, timeout_of

if TYPE_CHECKING:
    from flyte._environment import TaskEnvironment
    from flyte._image import Image
    from flyte._types import Interface

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

_NO_RETRIES = RetryStrategy()
_NO_TIMEOUT = Timeout()

_NOT_OVERRIDABLE = ("name", "image", "docs", "interface")
_NEEDS_REUSABLE_OFF = ("resources", "env_vars", "secrets")


@dataclass(frozen=True)
class TaskSettings:
    """What was set for one task, over what its environment says. None means: as in the environment."""

    short_name: str | None = None
    retries: RetryStrategy = _NO_RETRIES
    timeout: Timeout = _NO_TIMEOUT
    max_inline_io_bytes: int = MAX_INLINE_IO_BYTES
    docs: Documentation | None = None
    resources: Resources | None = None
    env_vars: Mapping[str, str] | None = None
    reusable: ReusePolicy | Literal["off"] | None = None
    cache: Cache | None = None
    report: bool = False
    queue: str | None = None
    interruptible: bool | None = None
    links: tuple[Link, ...] = ()
    entrypoint: bool = False


class TaskTemplate(Generic[P, R_co]):
    """A task, as `@env.task` makes it of a function.

    Outside a run a call is a plain function call. Inside a running task a call is a new action with a worker
    of its own: a sync task blocks until the result is there, an async task is awaited.

    Example:
        ```python
        @env.task
        def greet(name: str) -> str:
            return f"Hello, {name}!"

        greet("World")                     # a function call
        flyte.run(greet, name="World")     # a run
        ```
    """

    runs_python = True
    """False for a task that is a program of an image, which needs neither Python nor the SDK."""

    def __init__(self, func: Callable[P, R_co], environment: TaskEnvironment, settings: TaskSettings) -> None:
        """Use `TaskEnvironment.task` instead.

        Raises:
            TypeError: `func` is not a plain or coroutine function.
            ValueError: It has *args or **kwargs, or is a sync function in an environment with concurrency.
        """
        flags = check_function(func)
        functools.update_wrapper(self, func)
        self.func = func
        self.is_async = bool(flags & COROUTINE)
        self.environment = environment
        self.settings = settings
        self.origin: TaskTemplate[P, R_co] = self
        self._interface: Interface | None = None
        self._check_concurrency()

    # -- identity ---------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Fully qualified name: environment, a dot, function."""
        return f"{self.environment.name}.{self.func.__name__}"

    @property
    def short_name(self) -> str:
        """Name shown to people."""
        return self.settings.short_name or self.func.__name__

    @property
    def description(self) -> str:
        """What the task does: `docs=`, else the first paragraph of its docstring."""
        if self.settings.docs is not None:
            return self.settings.docs.description
        return self.interface.description

    @property
    def interface(self) -> Interface:
        """Inputs and outputs, read from the annotations when first needed."""
        if self._interface is None:
            from flyte._types import Interface

            self._interface = self.origin._interface or Interface.from_function(self.func)
            self.origin._interface = self._interface
        return self._interface

    @property
    def location(self) -> tuple[str, str]:
        """Module and attribute that the task can be imported by.

        Raises:
            ValueError: It cannot: it was defined inside a function or a class, or in an interactive session.
        """
        from flyte._task_spec import location

        return location(self)

    # -- settings: override, decorator, environment ------------------------------------------------------

    @property
    def image(self) -> Image:
        """Software that the task runs in."""
        return self.environment.image

    @property
    def resources(self) -> Resources:
        """What one worker of the task holds."""
        return self.environment.resources if self.settings.resources is None else self.settings.resources

    @property
    def env_vars(self) -> Mapping[str, str]:
        """Environment variables of the task."""
        return self.environment.env_vars if self.settings.env_vars is None else self.settings.env_vars

    @property
    def reusable(self) -> ReusePolicy | None:
        """The pool of warm workers that the task uses, None for a worker per action."""
        if self.settings.reusable == "off":
            return None
        return self.settings.reusable or self.environment.reusable

    @property
    def cache(self) -> Cache:
        """How results are kept for equal calls."""
        return self.environment.cache if self.settings.cache is None else self.settings.cache

    @property
    def retries(self) -> RetryStrategy:
        """How often the task is tried again."""
        return self.settings.retries

    @property
    def timeout(self) -> Timeout:
        """Time limits of the task."""
        return self.settings.timeout

    @property
    def max_inline_io_bytes(self) -> int:
        """Largest inline inputs or outputs in bytes."""
        return self.settings.max_inline_io_bytes

    @property
    def queue(self) -> str:
        """Queue that its actions wait in; empty for the run's."""
        return self.settings.queue or self.environment.queue or ""

    @property
    def interruptible(self) -> bool:
        """Whether its actions may run on hosts whose capacity can be taken away."""
        own = self.settings.interruptible
        return self.environment.interruptible if own is None else own

    @property
    def links(self) -> tuple[Link, ...]:
        """Pages elsewhere that belong to its actions."""
        return self.settings.links

    @property
    def entrypoint(self) -> bool:
        """Whether people are meant to start it themselves."""
        return self.settings.entrypoint

    @property
    def report(self) -> bool:
        """Whether its attempts write reports."""
        return self.settings.report

    # -- calls ------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function, or, inside a running task, run it as a child action."""
        controller = current_controller()
        if controller is None:
            return self.func(*args, **kwargs)
        if self.is_async:
            return controller.submit(self, args, kwargs)  # type: ignore[return-value]  # R_co is a coroutine here
        result: R_co = controller.submit_sync(self, args, kwargs)
        return result

    @overload
    async def aio(self: TaskTemplate[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call from asynchronous code; a sync task outside a run is called in a thread.

        Example:
            ```python
            results = await asyncio.gather(*[sync_task.aio(x) for x in range(10)])
            ```
        """
        controller = current_controller()
        if controller is not None:
            return await controller.submit(self, args, kwargs)
        return await self._call_plainly(args, kwargs)

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function in this process, without an action, wherever this is."""
        return self.func(*args, **kwargs)

    async def _call_plainly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        import asyncio

        function: Callable[..., Any] = self.func
        if self.is_async:
            return await function(*args, **kwargs)
        return await asyncio.to_thread(function, *args, **kwargs)

    # -- variants ---------------------------------------------------------------------------------------

    def override(
        self,
        *,
        short_name: str | None = None,
        resources: Resources | None = None,
        cache: CacheBehavior | Cache | None = None,
        retries: int | RetryStrategy | None = None,
        timeout: int | float | timedelta | Timeout | None = None,
        reusable: ReusePolicy | Literal["off"] | None = None,
        env_vars: Mapping[str, str] | None = None,
        secrets: Any = None,
        max_inline_io_bytes: int | None = None,
        pod_template: Any = None,
        queue: str | None = None,
        interruptible: bool | None = None,
        entrypoint: bool | None = None,
        links: Any = None,
        max_inline_io: int | None = None,
        **unknown: Any,
    ) -> TaskTemplate[P, R_co]:
        """The same task with other settings; the original is unchanged.

        Args:
            short_name: Name shown to people.
            resources: What one worker holds. With a reusable environment only together with `reusable="off"`.
            cache: How results are kept: "auto", "disable" or a `flyte.Cache`.
            retries: Further attempts after a failure.
            timeout: Longest run time of one attempt, or all limits.
            reusable: Another pool, or "off" for a worker of its own per action.
            env_vars: Environment variables, instead of those of the environment. As for `resources`.
            secrets: Not available yet.
            max_inline_io_bytes: Largest inline inputs or outputs in bytes.
            pod_template: Not available.
            queue: Queue that the action waits in; a host has to serve it.
            interruptible: Whether the action may run on hosts whose capacity can be taken away.
            entrypoint: Whether people are meant to start the task themselves.
            links: Pages elsewhere that belong to the action, instead of the task's own: objects as `flyte.Link`.
            max_inline_io: Another spelling of `max_inline_io_bytes`.
            **unknown: Refused.

        Raises:
            ValueError: `name`, `image`, `docs` or `interface` is given, or resources or env_vars of a
                reusable environment without `reusable="off"`.
            TypeError: A keyword is unknown or a value has the wrong type.
            FeatureNotAvailableError: The feature of a documented parameter is not built yet.

        Example:
            ```python
            await train.override(resources=flyte.Resources(memory="8Gi"), retries=2)(rows)
            ```
        """
        for name in unknown:
            if name in _NOT_OVERRIDABLE:
                raise ValueError(
                    f"{self.name}.override: {name} cannot be overridden: define another task instead"
                )
            raise TypeError(f"{self.name}.override() got an unexpected keyword argument {name!r}")
        if self.reusable is not None and reusable != "off":
            given = {"resources": resources, "env_vars": env_vars, "secrets": secrets}
            for name in _NEEDS_REUSABLE_OFF:
                if given[name] is not None:
                    raise ValueError(
                        f"{self.name}.override: {name} of a reusable environment belong to its pool: "
                        f'add reusable="off" to run this call in a worker of its own'
                    )
        refuse_parameters(
            f"{self.name}.override",
            secrets=secrets,
            pod_template=pod_template,
        )
        settings = self.settings
        return self._variant(
            replace(
                settings,
                short_name=settings.short_name if short_name is None else check_short_name(short_name),
                retries=settings.retries if retries is None else retry_strategy(retries),
                timeout=settings.timeout if timeout is None else timeout_of(timeout),
                max_inline_io_bytes=settings.max_inline_io_bytes
                if max_inline_io_bytes is None and max_inline_io is None
                else inline_limit(max_inline_io_bytes, max_inline_io, unset=None),
                resources=settings.resources if resources is None else check_resources(resources),
                env_vars=settings.env_vars if env_vars is None else check_env_vars(env_vars),
                reusable=settings.reusable if reusable is None else check_reusable(reusable),
                cache=settings.cache if cache is None else cache_of(cache, f"{self.name}.override"),
                queue=settings.queue if queue is None else check_queue(queue),
                interruptible=settings.interruptible
                if interruptible is None
                else check_interruptible(interruptible),
                links=settings.links if links is None else check_links(links),
                entrypoint=settings.entrypoint
                if entrypoint is None
                else check_flag("entrypoint", entrypoint),
            )
        )

    def in_environment(self, environment: TaskEnvironment) -> TaskTemplate[P, R_co]:
        """The same function as a task of another environment."""
        return self._variant(self.settings, environment)

    def to_spec(self) -> dict[str, Any]:
        """The task's `hangar.core.v1.TaskSpec` as proto-JSON with snake_case names.

        The code identity comes from `flyte._code.current()`.
        """
        from flyte._task_spec import task_spec

        return task_spec(self)

    def _variant(
        self, settings: TaskSettings, environment: TaskEnvironment | None = None
    ) -> TaskTemplate[P, R_co]:
        task = TaskTemplate(self.func, environment or self.environment, settings)
        task.origin = self.origin
        return task

    def _check_concurrency(self) -> None:
        reusable = self.reusable
        if reusable is not None and reusable.concurrency > 1 and not self.is_async:
            raise ValueError(
                f"{self.name} is a sync function, and its environment has ReusePolicy(concurrency="
                f"{reusable.concurrency}): write `async def`, or use concurrency=1 with more replicas"
            )

    @property
    def _is_coroutine(self) -> object:
        """Makes `asyncio.iscoroutinefunction(task)` true for async tasks."""
        if not self.is_async:
            return None
        from asyncio import coroutines

        return getattr(coroutines, "_is_coroutine", None)

    @property
    def _is_coroutine_marker(self) -> object:
        """Makes `inspect.iscoroutinefunction(task)` true for async tasks (Python 3.12 and later)."""
        if not self.is_async:
            return None
        import inspect

        return getattr(inspect, "_is_coroutine_mark", None)

    def __reduce__(self) -> Any:
        """Tasks that can be imported are pickled by their name, so that they stay the module's own."""
        from flyte._code import current

        if self.origin.func.__module__ in current().pickled_modules:
            return super().__reduce__()
        try:
            module, attribute = self.location
        except ValueError:
            return super().__reduce__()
        environment = None if self.environment is self.origin.environment else self.environment
        return _load, (module, attribute, self.settings, environment)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled of a task that cannot be imported. Annotations as types: text means nothing elsewhere."""
        from flyte._types._hints import function_hints

        state = {**self.__dict__, "_interface": None}
        try:
            state["_hints"] = function_hints(self.func)
        except NameError:  # the one who calls it is told which
            state["_hints"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes over what was pickled."""
        hints = state.pop("_hints")
        self.__dict__.update(state)
        if hints is not None:
            self.func.__annotations__ = hints

    def __repr__(self) -> str:
        return f"<task {self.name}>"


def _load(
    module: str, attribute: str, settings: TaskSettings, environment: TaskEnvironment | None
) -> TaskTemplate[Any, Any]:
    """Import a task, for unpickling."""
    import importlib

    loaded = sys.modules.get(module) or importlib.import_module(module)
    task: TaskTemplate[Any, Any] = getattr(loaded, attribute)
    if settings == task.settings and environment is None:
        return task
    return task._variant(settings, environment)
