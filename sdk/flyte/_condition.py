"""`flyte.condition`: a task pauses until a person or another program gives it a value."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from flyte import errors
from flyte._context import current_controller
from flyte._pairs import Pair
from flyte._step import Step
from flyte.durable import seconds_of

if TYPE_CHECKING:
    from flyte._context import Controller
    from flyte._types import Interface

T = TypeVar("T")

_LONGEST_NAME = 100
_LONGEST_PROMPT = 10_000


class _Condition(Protocol):
    """The type of `condition`."""

    def __call__(
        self,
        name: str,
        type: type[T] = ...,
        *,
        prompt: str = "",
        timeout: float | timedelta | None = None,
    ) -> T: ...

    async def aio(
        self,
        name: str,
        type: type[T] = ...,
        *,
        prompt: str = "",
        timeout: float | timedelta | None = None,
    ) -> T: ...


def _condition(
    name: str, type: Any = bool, *, prompt: str = "", timeout: float | timedelta | None = None
) -> Any:
    """Pause until somebody gives the value: `flyte signal RUN NAME VALUE`, the page, the API or `run.signal`.

    The action is PAUSED meanwhile, and the task gives its processor time back. The value is recorded: a task that is
    tried again gets it at once, and one that is tried again before waits on. Await `flyte.condition.aio` in
    asynchronous code.

    Args:
        name: Name that people see and signal.
        type: What the value has to be: bool for yes or no, str, int, a dataclass, … anything that has a JSON form.
        prompt: What people are asked.
        timeout: Longest wait in seconds or as a timedelta; None for as long as it takes.

    Returns:
        The value.

    Raises:
        flyte.errors.TaskTimeoutError: Nobody gave it within the time limit.
        flyte.errors.ActionAbortedError: Somebody aborted the condition.
        flyte.errors.NotInTaskContextError: No task is running here.
        ValueError: The name is empty or too long, the time limit is not positive, or the prompt is too long.
        TypeError: The type is not one that people could give a value of.

    Example:
        ```python
        @env.task
        async def release(version: str) -> str:
            if not await flyte.condition.aio("approve", prompt=f"Ship {version}?", timeout=timedelta(days=2)):
                return "kept back"
            return await ship(version)
        ```
    """
    controller, step, wait = _checked(name, type, prompt, timeout)
    return step.interface.load_outputs(controller.pause_sync(step, {}, wait))


async def _condition_aio(
    name: str, type: Any = bool, *, prompt: str = "", timeout: float | timedelta | None = None
) -> Any:
    controller, step, wait = _checked(name, type, prompt, timeout)
    return step.interface.load_outputs(await controller.pause(step, {}, wait))


condition = cast("_Condition", Pair(_condition, _condition_aio))


def _checked(
    name: object, type_: Any, prompt: object, timeout: float | timedelta | None
) -> tuple[Controller, Step, float | None]:
    """What to ask for, or an error that names what is wrong."""
    controller = current_controller()
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(
            f"the name of a condition must have 1 to {_LONGEST_NAME} printable characters, not {name!r}"
        )
    if not isinstance(prompt, str) or len(prompt) > _LONGEST_PROMPT:
        raise ValueError(
            f"prompt must be text of up to {_LONGEST_PROMPT} characters, not {str(prompt)[:80]!r}"
        )
    wait = None if timeout is None else seconds_of(timeout, "timeout")
    if wait == 0:
        raise ValueError("timeout must be more than 0 seconds, or None for as long as it takes")
    if controller is None:
        raise errors.NotInTaskContextError(
            f"flyte.condition({name!r}) pauses a task, and none is running here: call it in a function with @env.task"
        )
    identity = f"flyte.condition {name}"
    location = ("flyte", "condition")
    step = Step("condition", identity, name, _interface(name, type_), location, prompt, shown_name=name)
    return controller, step, wait


def _interface(name: str, type_: Any) -> Callable[[], Interface]:
    from flyte._types import Interface

    def answer() -> Any: ...

    answer.__annotations__ = {"return": type_}
    interface = Interface.from_function(answer)
    is_single = len(interface.outputs) == 1 and interface.output_style == "single"
    if not is_single or interface.outputs[0].codec.label == "PICKLE":
        raise TypeError(
            f"the value of condition {name!r} cannot be of type {type_!r}: use bool, str, int, a list, a dataclass, …"
        )
    return lambda: interface
