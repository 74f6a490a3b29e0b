"""Values that people give to conditions: which condition, and whether the value is one that it takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.task_spec_pb2 import TaskSpec
from services.common.errors import FailedPrecondition, InvalidArgument
from services.ledger.queries.actions import ActionRecord

LONGEST_VALUE = 60 * 1024
"""Most bytes of a value."""
_SHOWN = 5


def the_one(waiting: Sequence[ActionRecord], run: str, name: str) -> ActionRecord:
    """Returns the condition that a signal is for.

    Args:
        waiting: The conditions of the run that wait, and have the name when one was given.
        run: Name of the run, for messages.
        name: What the caller named, empty for nothing.

    Raises:
        FailedPrecondition: There is none, or more than one.
    """
    if len(waiting) == 1:
        return waiting[0]
    if waiting:
        shown = ", ".join(f"{each.task_name} ({each.name})" for each in waiting[:_SHOWN])
        raise FailedPrecondition(
            f"{len(waiting)} conditions of run {run!r} wait: {shown}; name the action of one of them",
            reason="SEVERAL_CONDITIONS",
            run=run,
        )
    what = f"condition or action {name!r}" if name else "condition"
    raise FailedPrecondition(
        f"no {what} of run {run!r} waits for a signal: it has not been reached yet, or was signalled, aborted or "
        "timed out already",
        reason="ACTION_NOT_WAITING",
        run=run,
    )


def outputs_with(value_json: str, condition: ActionRecord) -> Payload:
    """Returns the outputs document of a condition that is given a value.

    Args:
        value_json: The value as JSON text.
        condition: What it is for.

    Raises:
        InvalidArgument: It is no JSON, too long, or not what the condition takes.
    """
    if len(value_json.encode()) > LONGEST_VALUE:
        raise _invalid(
            f"has {len(value_json.encode())} bytes: give up to {LONGEST_VALUE}, or the key of a file"
        )
    try:
        value = json.loads(value_json, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _invalid(
            f"{value_json[:80]!r} is not JSON ({error}): write text in quotes, such as '\"yes\"'"
        ) from error
    assert condition.condition is not None
    schema = json.loads(TaskSpec.FromString(condition.condition).interface.outputs[0].schema_json or "{}")
    problem = _problem(value, schema)
    if problem is not None:
        place = f" at {problem.json_path}" if problem.absolute_path else ""
        raise _invalid(f"does not fit the condition {condition.task_name!r}{place}: {problem.message[:300]}")
    document = json.dumps({"o0": value}, separators=(",", ":"), ensure_ascii=False).encode()
    return Payload(inline=document, digest=hashlib.blake2b(document, digest_size=16).hexdigest())


def _problem(value: Any, schema: Any) -> Any:
    # Most installations never need it, and every start would wait for it.
    import jsonschema  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    # A schema that points to an address is not followed.
    validator = jsonschema.Draft202012Validator(schema, registry=Registry())
    return jsonschema.exceptions.best_match(validator.iter_errors(value))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _invalid(problem: str) -> InvalidArgument:
    return InvalidArgument(f"value_json {problem}", reason="VALUE_INVALID", field="value_json")
