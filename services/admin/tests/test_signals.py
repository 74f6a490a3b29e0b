"""Values for conditions: which one they are for, and whether they fit."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from hangar.core.v1.task_spec_pb2 import TaskSpec
from services.admin.signals import outputs_with, the_one
from services.common.errors import FailedPrecondition, InvalidArgument
from services.ledger.queries.actions import CONDITION, ActionRecord


def condition(schema: object, name: str = "k1", task_name: str = "approve") -> ActionRecord:
    """A condition that takes values of a schema."""
    spec = TaskSpec(name=task_name)
    spec.interface.outputs.add(name="o0", schema_json=json.dumps(schema))
    values: dict[str, Any] = {field.name: None for field in dataclasses.fields(ActionRecord)}
    given = {"name": name, "task_name": task_name, "kind": CONDITION, "condition": spec.SerializeToString()}
    return ActionRecord(**{**values, **given})


def test_a_value_that_fits_becomes_the_outputs_document():
    """It is under the name of the one output, compact, with its digest."""
    outputs = outputs_with('{"ok":  true, "wörds": [1.5]}', condition({"type": "object"}))
    assert outputs.inline == '{"o0":{"ok":true,"wörds":[1.5]}}'.encode()
    assert len(outputs.digest) == 32


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        (
            {"type": "boolean"},
            '"yes"',
            "does not fit the condition 'approve': 'yes' is not of type 'boolean'",
        ),
        ({"type": "boolean"}, "yes", "is not JSON"),
        ({"type": "number"}, "NaN", "is not JSON"),
        ({"properties": {"a": {"type": "integer"}}}, '{"a": "x"}', r"at \$\.a: 'x' is not of type 'integer'"),
        ({}, json.dumps("x" * 70_000), "has 70002 bytes"),
        ({}, "[" * 100_000, "is not JSON"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_the_place(schema, value, words):
    """The error names the field, where in the value, and what was expected there."""
    with pytest.raises(InvalidArgument, match=f"value_json .*{words}"):
        outputs_with(value[:60_000] if value.startswith("[") else value, condition(schema))


def test_a_name_may_be_left_out_when_one_condition_waits():
    """With none, or with several, the error says so and names them."""
    one, two = condition({}), condition({}, "k2", "budget")
    assert the_one([one], "run", "") is one
    with pytest.raises(FailedPrecondition, match=r"2 conditions .* approve \(k1\), budget \(k2\)"):
        the_one([one, two], "run", "")
    with pytest.raises(FailedPrecondition, match="no condition or action 'x' of run 'run' waits"):
        the_one([], "run", "x")
