"""Steps of a task that are no tasks: traced calls, conditions, sleeps. They are recorded as child actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Protocol

from flyte._task_checks import MAX_INLINE_IO_BYTES

if TYPE_CHECKING:
    from flyte._types import Interface

StepKind = Literal["trace", "condition", "sleep"]

_inside: ContextVar[str] = ContextVar("flyte_trace", default="")


class Step:
    """What a step is, whichever task it is part of.

    Args:
        kind: What it is.
        name: What its identity derives from, besides its inputs.
        short_name: Name shown to people.
        interface: Makes its inputs and outputs; called when it is first needed.
        location: Module and name of what it runs.
        description: What it does, or what is asked.
        shown_name: Its name in lists, when that is another one.
    """

    def __init__(
        self,
        kind: StepKind,
        name: str,
        short_name: str,
        interface: Callable[[], Interface],
        location: tuple[str, str],
        description: str = "",
        shown_name: str = "",
    ) -> None:
        self.kind = kind
        self.name = name
        self.short_name = short_name
        self.location = location
        self.description = description
        self.shown_name = shown_name or name
        self.max_inline_io_bytes = MAX_INLINE_IO_BYTES
        self._make_interface = interface
        self._interface: Interface | None = None

    @property
    def interface(self) -> Interface:
        """Its inputs and outputs."""
        if self._interface is None:
            self._interface = self._make_interface()
        return self._interface

    def to_spec(self, environment: str) -> dict[str, Any]:
        """Its `hangar.core.v1.TaskSpec` as proto-JSON with snake_case names.

        Args:
            environment: Name of the environment of the task that it is part of.
        """
        from flyte import _code
        from flyte._task_spec import interface_spec

        identity = _code.current()
        module, attribute = self.location
        return {
            "name": self.shown_name,
            "short_name": self.short_name,
            "environment": environment,
            "interface": interface_spec(self.interface),
            "code": {"module": module, "attribute": attribute, "version": identity.version},
            "description": self.description or self.interface.description,
        }


class TracedCall(Protocol):
    """One traced call of a running task. What `await`s has a blocking twin."""

    key: str

    async def recorded(self) -> bytes | None:
        """The outputs that an earlier attempt recorded; None when the call has to be made."""

    def recorded_sync(self) -> bytes | None:
        """The same, blocking."""

    async def keep(self, outputs: bytes) -> None:
        """Record the outputs; returns when nothing can lose them any more."""

    def keep_sync(self, outputs: bytes) -> None:
        """The same, blocking."""

    async def fail(self, error: BaseException) -> None:
        """Record that the call raised; returns when nothing can lose that any more."""

    def fail_sync(self, error: BaseException) -> None:
        """The same, blocking."""

    def abandon(self, reason: str) -> None:
        """Record that the call did not come to its end."""


def current_trace() -> str:
    """Key of the traced call around the caller, empty outside of traces."""
    return _inside.get()


@contextmanager
def inside(call: TracedCall) -> Iterator[None]:
    """What runs inside belongs to a traced call."""
    token = _inside.set(call.key)
    try:
        yield
    finally:
        _inside.reset(token)
