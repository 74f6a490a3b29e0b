"""Pickles as the last resort, and types with a transformer of the user's."""

from __future__ import annotations

import logging
import threading

import pytest

from flyte import errors
from flyte._types import _tags, codec_for, digest, dumps, from_jsonable, json_schema, to_jsonable
from flyte.io import File
from flyte.types import TypeEngine, TypeTransformer
from flyte.types._engine import ENTRY_POINTS


class Opaque:
    """Has no form of its own."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __eq__(self, other):
        return isinstance(other, Opaque) and other.data == self.data

    __hash__ = None


def test_long_pickles_are_files():
    """Up to 10 KB a pickle stands in the document, above it is a file that is known by its content."""
    short = to_jsonable(Opaque(b"x" * 100), Opaque)
    long, again = (to_jsonable(Opaque(b"x" * 20_000), Opaque) for _ in range(2))
    assert "data" in short
    assert "file" not in short
    assert "data" not in long
    assert long["file"]["kind"] == "file"
    assert len(dumps(long)) < 600
    assert from_jsonable(long, Opaque) == Opaque(b"x" * 20_000)
    assert from_jsonable(short, Opaque) == Opaque(b"x" * 100)
    assert long != again
    assert digest(dumps(long)) == digest(dumps(again))


def test_a_pickled_type_is_warned_about_once(caplog, monkeypatch):
    """The first value of a type is marked loudly, the next ones and functions are not."""
    monkeypatch.setattr(_tags, "_warned", set())
    monkeypatch.setattr(logging.getLogger("flyte"), "propagate", True)
    with caplog.at_level("WARNING", "flyte"):
        to_jsonable(Opaque(b"1"), Opaque)
        to_jsonable([Opaque(b"2"), print, test_long_pickles_are_files], list)
    assert [record.args[0].rpartition(".")[2] for record in caplog.records] == ["Opaque"]


@pytest.mark.parametrize("value", [threading.Lock(), (each for each in ()), open(__file__, "rb")])  # noqa: SIM115
def test_what_cannot_survive_is_refused(value):
    """Locks, generators and open files are refused with what to do instead."""
    with pytest.raises(errors.RuntimeDataValidationError, match="pass what the task needs to make its own"):
        to_jsonable(value, object)
    if hasattr(value, "close"):
        value.close()


class Celsius:
    """A type with a transformer."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


class CelsiusTransformer(TypeTransformer[Celsius]):
    """Writes degrees, with coroutines as the interface allows."""

    def __init__(self) -> None:
        super().__init__("celsius", Celsius)

    def get_literal_type(self, t):
        """A number."""
        return {"type": "number"}

    async def to_literal(self, python_val, python_type, expected):
        """The degrees."""
        assert python_type is Celsius
        assert expected == {"type": "number"}
        return python_val.degrees

    async def to_python_value(self, lv, expected_python_type):
        """From degrees."""
        if lv < -273.15:
            raise ValueError("below absolute zero")
        return Celsius(lv)


@pytest.fixture
def registry(monkeypatch):
    """Transformers of one test only."""
    from flyte._types import _compile

    monkeypatch.setattr(TypeEngine, "_known", {})
    before = list(_compile._registered)
    yield
    _compile._registered[:] = before
    _compile._codecs.clear()


def test_a_transformer_writes_and_reads(registry):
    """Values of the type go through the transformer, alone and in lists, and its errors name the value."""
    TypeEngine.register(CelsiusTransformer())
    TypeEngine.register(CelsiusTransformer())  # importing a module twice is no error
    form = to_jsonable([Celsius(21.5)], list[Celsius])
    assert form == [21.5]
    assert from_jsonable(form, list[Celsius])[0].degrees == 21.5
    assert json_schema(Celsius) == {"title": "celsius", "type": "number"}
    assert TypeEngine.get_transformer(Celsius).name == "celsius"
    with pytest.raises(errors.RuntimeDataValidationError, match="below absolute zero"):
        from_jsonable(-300.0, Celsius)
    with pytest.raises(errors.RuntimeDataValidationError, match="expected celsius, got int 3"):
        to_jsonable(3, Celsius)
    with pytest.raises(ValueError, match="has no transformer"):
        TypeEngine.get_transformer(int)


def test_wrong_registrations(registry):
    """What is no transformer, and a second one for a type, are refused."""

    class Another(TypeTransformer[Celsius]):
        """Of the same type."""

    with pytest.raises(TypeError, match=r"no flyte\.types\.TypeTransformer"):
        TypeEngine.register(Celsius)
    TypeEngine.register(CelsiusTransformer())
    with pytest.raises(ValueError, match="has a transformer already"):
        TypeEngine.register(Another("another", Celsius))


class Box:
    """A type whose transformer is in another package."""

    def __init__(self, file: File) -> None:
        self.file = file


class BoxTransformer(TypeTransformer[Box]):
    """Writes a file."""

    def __init__(self) -> None:
        super().__init__("box", Box)

    def to_literal(self, python_val, python_type, expected):
        """The file."""
        return {"inside": python_val.file}

    def to_python_value(self, lv, expected_python_type):
        """From the file."""
        return Box(lv["inside"])


def test_entry_points_are_found(registry, monkeypatch):
    """The transformers of installed packages are loaded when a type without a form is met; literals may hold files."""

    class Point:
        def load(self):
            return BoxTransformer

    monkeypatch.setattr(TypeEngine, "_searched", False)
    monkeypatch.setattr(
        "flyte.types._engine.entry_points", lambda group: [Point()] if group == ENTRY_POINTS else []
    )
    codec_for.__globals__["_codecs"].pop(Box, None)
    form = to_jsonable(Box(File("s3://b/k")), Box)
    assert form == {"inside": {"$type": "ref", "kind": "file", "uri": "s3://b/k"}}
    assert from_jsonable(form, Box).file == File("s3://b/k")
