"""Inputs and outputs of actions as callers get them, and the words for how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flyte.models import ActionPhase

if TYPE_CHECKING:
    from flyte._types import Interface
    from flyte.errors import BaseRuntimeError


class ActionInputs(dict[str, Any]):
    """Inputs by name."""


class ActionOutputs(tuple[Any, ...]):
    """Outputs in order; `outputs.o0` is the first one. A task that returns nothing has one: None."""

    __slots__ = ()

    @classmethod
    def of(cls, interface: Interface, document: bytes) -> ActionOutputs:
        """The outputs of a document in the types of the interface."""
        value = interface.load_outputs(document)
        return cls(value if interface.output_style in {"tuple", "namedtuple"} else (value,))

    @property
    def named_outputs(self) -> dict[str, Any]:
        """Outputs by name: o0, o1 and so on."""
        return {f"o{index}": value for index, value in enumerate(self)}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("o") and name[1:].isdigit() and int(name[1:]) < len(self):
            return self[int(name[1:])]
        raise AttributeError(f"there is no output {name!r}: there are {', '.join(self.named_outputs)}")


def ending(name: str, phase: ActionPhase, error: BaseRuntimeError | None) -> str:
    """The line that says how a run or action ended, or that it runs."""
    if phase is ActionPhase.SUCCEEDED:
        return f"Run '{name}' completed successfully."
    if error is None:
        return f"Run '{name}' is {phase.value}."
    verb = {ActionPhase.ABORTED: "was aborted", ActionPhase.TIMED_OUT: "timed out"}.get(phase, "failed")
    detail = error.message if phase is not ActionPhase.FAILED else f"{error.code}: {error.message}"
    return f"Run '{name}' {verb}: {detail}"
