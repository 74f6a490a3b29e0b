"""Inputs and outputs of actions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._client._transfer import get
from flyte._outcome import ActionInputs, ActionOutputs
from flyte._types import loads
from hangar.admin.v1 import run_service_pb2
from hangar.core.v1 import payload_pb2

if TYPE_CHECKING:
    from flyte._client._client import Client
    from flyte._types import Interface
    from hangar.core.v1 import identifiers_pb2


class ActionData:
    """The documents of an action as the backend has them.

    Attributes:
        inputs: Inputs document, None when there is none.
        outputs: Outputs document, None until it succeeded.
    """

    def __init__(self, inputs: bytes | None, outputs: bytes | None) -> None:
        self.inputs = inputs
        self.outputs = outputs

    @classmethod
    async def fetch(cls, client: Client, action: identifiers_pb2.ActionIdentifier) -> ActionData:
        """Reads both documents, also those that are stored as objects.

        Raises:
            flyte.errors.ActionNotFoundError: When there is no such action.
        """
        request = run_service_pb2.GetActionDataRequest(id=action)

        async def ask() -> run_service_pb2.GetActionDataResponse:
            return await client.call(client.runs.GetActionData, request)

        async def inputs_url() -> str:
            return (await ask()).inputs_url

        async def outputs_url() -> str:
            return (await ask()).outputs_url

        answer = await ask()
        inputs = outputs = None
        if answer.HasField("inputs"):
            inputs = await _document(answer.inputs, answer.inputs_url, inputs_url)
        if answer.HasField("outputs"):
            outputs = await _document(answer.outputs, answer.outputs_url, outputs_url)
        return cls(inputs, outputs)

    def input_values(self, interface: Interface | None) -> ActionInputs:
        """Inputs by name, in their types when the interface is known, else as JSON has them."""
        if self.inputs is None:
            return ActionInputs()
        if interface is not None:
            return ActionInputs(interface.load_inputs(self.inputs))
        return ActionInputs(_plain(self.inputs))

    def output_values(self, interface: Interface | None) -> ActionOutputs:
        """Outputs in order, in their types when the interface is known, else as JSON has them.

        Raises:
            flyte.errors.RuntimeSystemError: When there are none yet.
        """
        if self.outputs is None:
            raise errors.RuntimeSystemError(
                "OutputsMissingError", "The backend has no outputs of this action."
            )
        if interface is not None:
            return ActionOutputs.of(interface, self.outputs)
        document = _plain(self.outputs)
        names = sorted(document, key=_output_index)
        return ActionOutputs([document[name] for name in names] or [None])

    def result(self, interface: Interface | None) -> Any:
        """What the task's function returned.

        Raises:
            flyte.errors.RuntimeSystemError: When there are no outputs yet.
        """
        if interface is not None and self.outputs is not None:
            return interface.load_outputs(self.outputs)
        outputs = self.output_values(None)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _plain(document: bytes) -> dict[str, Any]:
    values = loads(document)
    if not isinstance(values, dict):
        raise errors.RuntimeSystemError(
            "DocumentError", "The backend sent a document that is no JSON object."
        )
    return values if b'"ref"' not in document else {name: _opened(value) for name, value in values.items()}


def _opened(value: Any) -> Any:
    """The value with files, directories and data frames in place of references."""
    if isinstance(value, list):
        return [_opened(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("$type") == "ref":
        from flyte.io._codecs import value_of  # only where there is bulk data

        return value_of(value)
    return {name: _opened(item) for name, item in value.items()}


def _output_index(name: str) -> tuple[int, str]:
    digits = name[1:]
    return (int(digits), name) if digits.isdigit() else (0, name)


async def _document(payload: payload_pb2.Payload, url: str, renew: Callable[[], Awaitable[str]]) -> bytes:
    """A document; `renew` returns a new URL when this one has expired meanwhile."""
    if payload.WhichOneof("data") == "reference":
        return await get(url, renew)
    return payload.inline
