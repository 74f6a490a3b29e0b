"""Values of tasks whose classes are not here: read and written by the schema alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Optional, TypedDict, Union

import pytest
from pydantic import BaseModel

from flyte import errors
from flyte._types import Interface, codec_for, dumps, json_schema, loads
from flyte._types._from_schema import Record, codec_of_schema
from flyte._types._mismatch import Mismatch
from flyte._types._schema_interface import SchemaInterface
from flyte.io import Dir, File
from sdk.tests.types.sameness import same
from sdk.tests.types.shapes import Color, Level
from sdk.tests.types.test_round_trip import SCALARS


@dataclass
class Node:
    name: str
    weight: float = 1.0
    next: Optional[Node] = None


class Report(BaseModel):
    nodes: list[Node]
    counts: dict[str, int] = {}
    note: str | None = None


class Options(TypedDict, total=False):
    depth: int


class Pair(NamedTuple):
    left: int
    right: str = "r"


STRUCTURES = [
    (Node, Node("a", next=Node("b"))),
    (Report, Report(nodes=[Node("a")], counts={"x": 1})),
    (Options, {"depth": 3}),
    (Pair, Pair(1)),
    (list[Node], [Node("a"), Node("b", 2.5)]),
    (dict[str, Report], {"r": Report(nodes=[])}),
    (dict[int, Node], {1: Node("a")}),
    (tuple[int, Node], (1, Node("a"))),
    (set[int], {3, 1}),
    (Optional[Node], Node("a")),
    (Optional[Node], None),
    (Union[int, str], "1"),
    (Union[Node, Report], Report(nodes=[Node("a")])),
    (Any, {"a": (1, 2)}),
    (File, File.from_existing_remote("s3://bucket/data.csv")),
    (list[Dir], [Dir.from_existing_remote("s3://bucket/data")]),
    (list, [1, {2}]),
    (Color, Color.RED),
    (Level, Level.HIGH),
    (Literal["a", 1], 1),
]


CASES = [*STRUCTURES, *((annotation, value) for annotation, values in SCALARS for value in values)]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_what_a_schema_reads_and_writes_is_what_the_type_does(number):
    """A document of the type is read by its schema, and what is read is written as before; so is a structure itself."""
    annotation, value = CASES[number]
    codec, real = codec_of_schema(json_schema(annotation)), codec_for(annotation)
    form = dumps(real.encode(value))
    read = codec.decode(loads(form))
    assert dumps(codec.encode(read)) == form
    if number < len(STRUCTURES):
        assert dumps(codec.encode(value)) == form
    assert same(real.decode(loads(dumps(codec.encode(read)))), value)


def test_texts_stand_for_times_as_they_do_in_documents():
    """Who writes a dict may write its times as JSON has them; what is no time is refused."""
    codec = codec_of_schema(json_schema(dict[str, timedelta | datetime]))
    form = codec.encode({"at": "2025-01-02T03:04:05", "for": timedelta(hours=1)})
    assert form == {"at": "2025-01-02T03:04:05", "for": "PT1H"}
    with pytest.raises(Mismatch, match="got str 'soon'"):
        codec_of_schema(json_schema(datetime)).encode("soon")


def test_structures_are_records():
    """Fields are items and attributes, at every depth; a missing one is named."""
    codec = codec_of_schema(json_schema(Report))
    report = codec.decode(codec_for(Report).encode(Report(nodes=[Node("a")])))
    assert isinstance(report, Record)
    assert (report.nodes[0].name, report["nodes"][0]["weight"], report.note) == ("a", 1.0, None)
    with pytest.raises(AttributeError, match="no field 'size': there are nodes, counts, note"):
        _ = report.size


def work(node: Node, times: int = 2, color: Color = Color.RED) -> tuple[Node, int]:
    """Works."""
    return node, times


def described(function) -> dict[str, Any]:
    """The interface of a function as a definition has it."""

    def message(variable):
        return {
            "name": variable.name,
            "schema_json": dumps(variable.schema).decode(),
            "type_name": variable.type_name,
            "required": variable.required,
            "default_json": variable.default_json or "",
        }

    interface = Interface.from_function(function)
    return {"inputs": list(map(message, interface.inputs)), "outputs": list(map(message, interface.outputs))}


def test_an_interface_from_a_definition_takes_dicts_and_fills_in_defaults():
    """Its documents are those of the task's own interface; outputs come back as records."""
    remote = SchemaInterface("env.work", "Works.", described(work))
    own = Interface.from_function(work)
    document = remote.dump_inputs(remote.bind((), {"node": {"name": "a"}}))
    assert loads(document) == {"node": {"name": "a"}, "times": 2, "color": "red"}
    assert own.load_inputs(document) == {"node": Node("a"), "times": 2, "color": Color.RED}
    assert remote.dump_inputs({"node": Node("a")}) == own.dump_inputs({"node": Node("a")})
    assert remote.load_outputs(own.dump_outputs((Node("b"), 5))) == (
        {"name": "b", "weight": 1.0, "next": None},
        5,
    )


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        ({}, TypeError, "missing 1 required argument: 'node'"),
        ({"node": {"name": "a"}, "size": 1}, TypeError, "unexpected keyword argument 'size'"),
        ({"node": {"nam": "a"}}, errors.RuntimeDataValidationError, "missing name"),
        ({"node": {"name": 5}}, errors.RuntimeDataValidationError, r"at .name: expected str, got int 5"),
        ({"node": {"name": "a", "size": 1}}, errors.RuntimeDataValidationError, "unknown field 'size'"),
        ({"node": {"name": "a"}, "color": "green"}, errors.RuntimeDataValidationError, "'red' | 'blue'"),
    ],
)
def test_wrong_values_are_refused_by_name(values, error, match):
    """What does not fit the definition is refused before anything is sent, and says where."""
    remote = SchemaInterface("env.work", "", described(work))
    with pytest.raises(error, match=match):
        remote.dump_inputs(remote.bind((), values))
