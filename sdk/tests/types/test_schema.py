"""Schemas describe the documents, and types have names that people read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from pydantic import Field

from flyte import _types
from sdk.tests.types import shapes


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, {"type": "integer"}),
        (Optional[float], {"anyOf": [{"type": "null"}, {"type": "number"}]}),
        (datetime, {"type": "string", "format": "date-time"}),
        (timedelta, {"type": "string", "format": "duration"}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        (dict[str, date], {"type": "object", "additionalProperties": {"type": "string", "format": "date"}}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Any, {}),
        (Annotated[int, Field(gt=0, description="how many")], {
            "type": "integer", "exclusiveMinimum": 0, "description": "how many",
        }),
        (shapes.Color, {
            "$ref": "#/$defs/Color", "$defs": {"Color": {"title": "Color", "enum": ["red", "blue"]}},
        }),
    ],
)  # fmt: skip
def test_schema_of(annotation: Any, schema: dict[str, Any]) -> None:
    """The schema says what the plain form looks like."""
    assert _types.json_schema(annotation) == schema


def test_structures_are_definitions() -> None:
    """A dataclass is an object of its fields, with defaults; a recursive one refers to itself."""
    schema = _types.json_schema(shapes.Node)
    node = schema["$defs"]["Node"]
    assert schema["$ref"] == "#/$defs/Node"
    assert node["required"] == ["value"]
    assert node["properties"]["children"] == {"type": "array", "items": {"$ref": "#/$defs/Node"}}
    assert _types.json_schema(shapes.Point)["$defs"]["Point"]["properties"]["y"] == {
        "type": "number",
        "default": 0.5,
    }


def test_two_types_of_one_name_are_kept_apart() -> None:
    """Two classes that are called the same have a definition each, and no schema names a module."""

    @dataclass
    class Point:
        other: str

    @dataclass
    class Both:
        mine: Point
        theirs: shapes.Point

    definitions = _types.json_schema(Both)["$defs"]
    assert set(definitions) == {"Both", "Point", "Point_2"}
    assert "shapes" not in str(definitions)


def test_models_bring_their_own_schema() -> None:
    """A Pydantic model's constraints, aliases and nested models are in the schema."""
    definitions = _types.json_schema(list[shapes.Order])["$defs"]
    assert definitions["Order"]["properties"]["total"]["minimum"] == 0
    assert definitions["Item"]["required"] == ["name"]
    assert definitions["Item"]["properties"]["raw"]["contentEncoding"] == "base64"
    assert "userId" in _types.json_schema(shapes.Aliased)["$defs"]["Aliased"]["properties"]


@pytest.mark.parametrize(
    ("annotation", "label", "words"),
    [
        (int, "INTEGER", "int"), (float, "FLOAT", "float"), (str, "STRING", "str"), (bool, "BOOLEAN", "bool"),
        (datetime, "DATETIME", "datetime"), (date, "DATE", "date"), (timedelta, "DURATION", "timedelta"),
        (Path, "PATH", "Path"), (bytes, "BYTES", "bytes"), (shapes.Color, "ENUM[RED|BLUE]", "Color"),
        (Literal["a", 1], "ENUM[a|1]", "'a' | 1"), (Optional[int], "INTEGER", "int | None"),
        (Union[int, str], "INTEGER|STRING", "int | str"), (list[int], "JSON", "list[int]"),
        (dict, "JSON", "dict"),
        (tuple[int, str], "JSON", "tuple[int, str]"), (tuple[int, ...], "JSON", "tuple[int, ...]"),
        (shapes.Point, "JSON", "Point"), (shapes.Box[int], "JSON", "Box[int]"), (Any, "JSON", "any value"),
        (Optional[shapes.Item], "JSON", "Item | None"),
    ],
)  # fmt: skip
def test_types_have_names(annotation: Any, label: str, words: str) -> None:
    """The command line's short form, and the one for messages."""
    assert _types.Variable("x", annotation).type_name == label
    assert _types.describe_type(annotation) == words
