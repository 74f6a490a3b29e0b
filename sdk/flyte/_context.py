"""Where code runs: the running action's context, its controller and the current group.

The context is carried by context variables, so concurrent actions in one process do not mix. Code in
threads that were started without a copy of the context falls back to the process's own scope, which a worker
with a single attempt sets.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flyte._texts import texts
from flyte.errors import NotInTaskContextError

if TYPE_CHECKING:
    from flyte._checkpoint import Checkpoint
    from flyte._step import Step, TracedCall
    from flyte._task import TaskTemplate
    from flyte.models import Progress
    from flyte.report import Report


class Controller(Protocol):
    """What runs the children of an action: the worker's runtime, or local mode."""

    report: Report | None
    """The attempt's report, None when its task writes none."""

    @property
    def checkpoint(self) -> Checkpoint:
        """What the attempt saves and finds."""

    def report_progress(self, progress: Progress) -> None:
        """Show how far the attempt is. Cheap, and from any thread."""

    async def submit(
        self, task: TaskTemplate[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a child and give its result. Nothing happens before it is awaited."""

    def submit_sync(self, task: TaskTemplate[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Start a child and block the calling thread until its result is there."""

    def trace(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TracedCall:
        """Begin to record a traced call."""

    async def pause(self, step: Step, inputs: Mapping[str, Any], seconds: float | None) -> bytes:
        """Wait for a condition or a sleep, and give its outputs document.

        Args:
            step: The condition or the sleep.
            inputs: Its inputs by name.
            seconds: How long the sleep lasts, or the condition waits at most; None for as long as it takes.
        """

    def pause_sync(self, step: Step, inputs: Mapping[str, Any], seconds: float | None) -> bytes:
        """The same, blocking the calling thread."""

    async def find_task(self, name: str, project: str, domain: str, version: str) -> dict[str, Any]:
        """Find a deployed task. Empty texts stand for the run's own project and domain, and for the newest version."""

    def run_blocking(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine for sync code on a thread whose event loop runs, and block until it ends."""


T = TypeVar("T")


@dataclass(frozen=True)
class ActionID:
    """Names the running action."""

    name: str
    run_name: str
    project: str = ""
    domain: str = ""
    org: str | None = None


@dataclass(frozen=True)
class TaskContext:
    """What a running task can know about itself. `flyte.ctx()` returns it.

    Attributes:
        action: Name of the action, its run, project and domain.
        mode: "remote" on a backend, "local" in local mode.
        version: Version of the code.
        raw_data_path: Where this attempt may write bulk data.
        run_base_dir: Where the run's data is.
        output_path: Where this attempt's outputs go.
        custom_context: What the caller of the run passed down.
        attempt_number: 0 for the first attempt.

    Example:
        ```python
        context = flyte.ctx()
        if context is not None:
            print(context.action.run_name, context.attempt_number)
        ```
    """

    action: ActionID
    mode: str = "remote"
    version: str = ""
    raw_data_path: str = ""
    run_base_dir: str = ""
    output_path: str = ""
    custom_context: Mapping[str, str] = field(default_factory=dict)
    attempt_number: int = 0

    @property
    def checkpoint(self) -> Checkpoint:
        """What the task saves on its way, and finds again when it is tried again: `load`, `save`.

        Raises:
            NotInTaskContextError: No task is running here.
        """
        controller = current_controller()
        if controller is None:
            raise NotInTaskContextError(
                "flyte.ctx().checkpoint belongs to a running task, and none is running here"
            )
        return controller.checkpoint

    def is_in_cluster(self) -> bool:
        """True on a backend, False in local mode."""
        return self.mode == "remote"


@dataclass(frozen=True)
class _Scope:
    context: TaskContext
    controller: Controller


_scope: ContextVar[_Scope | None] = ContextVar("flyte_scope", default=None)
_group: ContextVar[str] = ContextVar("flyte_group", default="")
_custom: ContextVar[Mapping[str, str]] = ContextVar("flyte_custom_context", default=MappingProxyType({}))
_process_scope: _Scope | None = None


def ctx() -> TaskContext | None:
    """The context of the running task, None outside of one.

    Example:
        ```python
        attempt = flyte.ctx().attempt_number
        ```
    """
    scope = _scope.get() or _process_scope
    return scope.context if scope else None


current_context = ctx


def current_controller() -> Controller | None:
    """What runs children here, None outside a run: a task call is then a plain function call."""
    scope = _scope.get() or _process_scope
    return scope.controller if scope else None


@contextmanager
def running(context: TaskContext, controller: Controller, *, process_wide: bool = False) -> Iterator[None]:
    """Everything inside runs as the given action.

    Args:
        context: What `ctx()` answers inside.
        controller: Runs the children that are called inside.
        process_wide: Also answer in threads that were started without a copy of this context. Only for
            processes that run one attempt at a time.
    """
    global _process_scope  # noqa: PLW0603 - one scope per process is its purpose
    scope = _Scope(context, controller)
    token = _scope.set(scope)
    group_token = _group.set("")
    custom_token = _custom.set(MappingProxyType({}))
    before = _process_scope
    if process_wide:
        _process_scope = scope
    try:
        yield
    finally:
        if process_wide:
            _process_scope = before
        _custom.reset(custom_token)
        _group.reset(group_token)
        _scope.reset(token)


def get_custom_context() -> dict[str, str]:
    """The custom context here: the action's, with what `custom_context` changes around the caller.

    Empty outside a run.

    Example:
        ```python
        tenant = flyte.get_custom_context().get("tenant", "nobody")
        ```
    """
    scope = _scope.get() or _process_scope
    inherited: Mapping[str, str] = scope.context.custom_context if scope else {}
    return {**inherited, **_custom.get()}


@contextmanager
def custom_context(**values: str) -> Iterator[None]:
    """Change the custom context of the children that are called inside, and of all below them.

    The caller of a run gives the first one: `flyte.with_runcontext(custom_context={"tenant": "acme"})`.

    Args:
        **values: Texts by name, over those that are there.

    Raises:
        TypeError: A value is no text.
        ValueError: There are too many, or one is too long.

    Example:
        ```python
        with flyte.custom_context(tenant="acme"):
            rows = await train(3)  # flyte.get_custom_context() in it has the tenant
        ```
    """
    token = _custom.set({**_custom.get(), **texts("custom_context", values)})
    try:
        yield
    finally:
        _custom.reset(token)


def current_group() -> str:
    """Path of the groups around the caller, such as "train/fold-1"; empty outside of groups."""
    return _group.get()


@contextmanager
def group(name: str) -> Iterator[None]:
    """Show the children that are called inside in a folder of this name.

    Groups can be nested and have no effect on results. Outside a task nothing happens.

    Args:
        name: Name of the folder.

    Raises:
        ValueError: The name is empty or contains a slash.

    Example:
        ```python
        with flyte.group("training"):
            models = await asyncio.gather(*[train(rate) for rate in rates])
        ```
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a group must be a string, not {name!r}")
    if not name or "/" in name:
        raise ValueError(f"the name of a group must not be empty and must not contain '/': {name!r}")
    outer = _group.get()
    token = _group.set(f"{outer}/{name}" if outer else name)
    try:
        yield
    finally:
        _group.reset(token)
