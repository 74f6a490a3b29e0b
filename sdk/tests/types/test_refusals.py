"""What cannot be written is refused with the place, the type and what to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from pydantic import SecretStr

from flyte import _types
from flyte.errors import RestrictedTypeError, RuntimeDataValidationError
from sdk.tests.types import shapes


def take(value: Any) -> Any:  # noqa: D103
    return value


def generator() -> Iterator[int]:  # noqa: D103
    yield 1


INTERFACE = _types.Interface.from_function(take)


def nested(depth: int) -> Any:  # noqa: D103
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def chain(length: int) -> shapes.Node:  # noqa: D103
    node = shapes.Node(0)
    for number in range(length):
        node = shapes.Node(number, node)
    return node


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (threading.Lock, "lock"),
        (generator, "generator"),
        (socket.socket, "socket"),
        (lambda: {"deep": [threading.Lock()]}, "lock"),
        (shapes.HasLock, "HasLock"),
    ],
)
def test_what_cannot_be_pickled_is_refused(make: Callable[[], Any], name: str) -> None:
    """Locks, generators and the like name the function, the parameter, the type and the way out."""
    value = make()
    with pytest.raises(
        RestrictedTypeError, match=rf"take: parameter 'value': .*{name}.*pass what the task needs"
    ):
        INTERFACE.dump_inputs({"value": value})
    if isinstance(value, socket.socket):
        value.close()


def test_open_file_is_refused(tmp_path: Path) -> None:
    """An open file is not silently replaced by its content."""
    with (
        (tmp_path / "f").open("w") as file,
        pytest.raises(RestrictedTypeError, match="an open file belongs"),
    ):
        INTERFACE.dump_outputs(file)


@pytest.mark.parametrize("depth", [201, 5000, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    """Values nested deeper than the limit give one clear error, however deep."""
    with pytest.raises(RuntimeDataValidationError, match=r"nested (more than 200 levels|too) deep"):
        INTERFACE.dump_inputs({"value": nested(depth)})
    with pytest.raises(RuntimeDataValidationError, match=r"nested (more than 200 levels|too) deep"):
        INTERFACE.load_inputs(b'{"value":' + b"[" * depth + b"]" * depth + b"}")


def test_nesting_below_the_limit_comes_back() -> None:
    """190 levels are fine, typed and untyped."""
    assert INTERFACE.load_inputs(INTERFACE.dump_inputs({"value": nested(190)}))["value"] == nested(190)
    data = _types.dumps(_types.to_jsonable(chain(190), shapes.Node))
    assert _types.from_jsonable(_types.loads(data), shapes.Node) == chain(190)


def test_values_that_contain_themselves_are_refused() -> None:
    """A cycle is an error, not an endless loop."""
    cycle: list[Any] = []
    cycle.append(cycle)
    node = shapes.Node(1)
    node.next = node
    with pytest.raises(RuntimeDataValidationError, match="contains itself"):
        INTERFACE.dump_inputs({"value": cycle})
    with pytest.raises(RuntimeDataValidationError, match="contains itself"):
        _types.to_jsonable(node, shapes.Node)


def test_brackets_inside_text_are_not_nesting() -> None:
    """Only objects and arrays count as levels."""
    text = "[{" * 500 + '"\\"'
    assert INTERFACE.load_inputs(INTERFACE.dump_inputs({"value": [text]})) == {"value": [text]}


def test_secrets_are_not_written() -> None:
    """A Pydantic secret is refused rather than written in the clear or as stars."""
    with pytest.raises(RuntimeDataValidationError, match="secrets are not written") as caught:
        _types.to_jsonable(SecretStr("hunter2"), SecretStr)
    assert "hunter2" not in str(caught.value)


def test_a_representation_that_fails_does_not_hide_the_error() -> None:
    """A user's broken ``__repr__`` is not what the message is about."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(RuntimeDataValidationError, match=r"expected int, got .*Broken <Broken instance"):
        _types.to_jsonable(Broken(), int)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        ("abc", int, "expected int, got str 'abc'"),
        (1.5, int, "expected int, got float 1.5"),
        (None, int, "expected int, got None"),
        ("a", Path, "pass a Path"),
        (10**400, float, "too large for a float"),
        ([1, "a"], list[int], r"at \[1\]: expected int"),
        ({"a": [1, None]}, dict[str, list[int]], r"at \['a'\]\[1\]: expected int, got None"),
        ({1: 1}, dict[str, int], r"at \[key 1\]: expected str"),
        ((1, 2), list[int], r"expected list\[int\], got tuple"),
        ("red", shapes.Color, r"expected Color \('red', 'blue'\), got str 'red'"),
        ({"title": 1}, shapes.Movie, r"at \.title: expected str"),
        ({"name": "x"}, shapes.Movie, "missing title; unknown 'name'"),
        (0, shapes.Positive, "should be greater than 0"),
        (1.5, Optional[int], r"expected int \| None, got float 1.5"),
        (shapes.Nested([shapes.Point(1), 2]), shapes.Nested, r"at \.points\[1\]: expected Point, got int 2"),  # type: ignore[list-item]
    ],
)
def test_wrong_types_name_the_place(value: Any, annotation: Any, message: str) -> None:
    """The path to the wrong part, what was expected there, and what was found."""
    with pytest.raises(RuntimeDataValidationError, match=message):
        _types.to_jsonable(value, annotation)


@pytest.mark.parametrize(
    ("obj", "annotation", "message"),
    [
        ({"y": 1.0}, shapes.Point, "missing x"),
        ({"x": 1, "q": 1}, shapes.Point, "unknown field 'q'; the fields are x, y"),
        ({"x": -1}, shapes.Picky, "ValueError: x must not be negative"),
        ({"price": -1}, shapes.Item, "name: Field required"),
        ({"$type": "instance", "class": "no.such:Thing", "value": {}}, Any, "No module named 'no'"),
        (
            {"$type": "instance", "class": "os:system", "value": {}},
            Any,
            "dataclass, model, named tuple or enum",
        ),
        ({"$type": "pickle", "name": "Thing", "data": "AAAA"}, Any, "a pickled Thing.*cannot be unpickled"),
        ({"$type": "set", "items": [[]]}, Any, "unhashable"),
        (
            {"$type": "instance", "class": "sdk.tests.types.shapes:A", "value": {"x": 1}},
            shapes.B,
            "expected B",
        ),
    ],
)
def test_wrong_forms_are_refused(obj: Any, annotation: Any, message: str) -> None:
    """Documents from elsewhere that do not fit are refused with the reason."""
    with pytest.raises(RuntimeDataValidationError, match=message):
        _types.from_jsonable(obj, annotation)


def test_an_annotation_that_is_no_type_is_refused() -> None:
    """A value where a type belongs is a mistake in the signature."""
    with pytest.raises(TypeError, match="3 is not a type"):
        _types.codec_for(3)


def test_two_lone_surrogates_are_refused() -> None:
    """Two surrogates that JSON would read as one character are refused, with the way out."""
    with pytest.raises(RuntimeDataValidationError, match="pass bytes instead"):
        INTERFACE.dump_inputs({"value": "\ud83d" + "\ude00"})
