"""Values for conditions that runs wait for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hangar.admin.v1 import run_service_pb2
from hangar.core.v1 import identifiers_pb2

if TYPE_CHECKING:
    from flyte._initialize import Session

VALUE_INVALID = "ValueInvalidError"
"""Code of the error that says that a value does not fit its condition."""


def value_as_json(value: Any) -> str:
    """A value as the JSON text that a condition takes.

    Raises:
        RuntimeDataValidationError: It has no such form.
    """
    from flyte._types import to_jsonable

    return json.dumps(None if value is None else to_jsonable(value, type(value)), ensure_ascii=False)


async def send_signal(
    session: Session, run: identifiers_pb2.RunIdentifier, name: str, value_json: str
) -> str:
    """Gives a condition its value.

    Args:
        session: Where the backend is.
        run: The run.
        name: Name of the action or of the condition; empty when the run waits for exactly one.
        value_json: The value.

    Returns:
        Name of the action that got it.
    """
    client = await session.client()
    request = run_service_pb2.SignalActionRequest(
        id=identifiers_pb2.ActionIdentifier(run=run, name=name), value_json=value_json
    )
    # Tried once: a second signal is refused, also when only the answer to the first one was lost.
    answer = await client.call(client.runs.SignalAction, request, retried=False)
    return answer.id.name
