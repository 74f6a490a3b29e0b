"""Codecs of values that are written as text: times, bytes, paths, decimals and the like."""

from __future__ import annotations

import base64
import binascii
import pathlib
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from flyte._types._canonical import TAG
from flyte._types._codec import RANK_OTHER, RANK_TEXT, Codec, Definitions
from flyte._types._mismatch import Mismatch
from flyte._types._times import (
    date_from_text,
    datetime_from_text,
    duration_from_text,
    duration_to_text,
    moment_from_tag,
    moment_to_json,
    time_from_text,
)


class TextCodec(Codec):
    """A class whose values are written as text.

    Args:
        cls: The class; only values of it are accepted, and of no subclass when exact.
        label: The type as the command line shows it.
        to_json: The text of a value, or a tag where text would lose something.
        from_text: The value of a text; raises ``ValueError`` or ``ArithmeticError`` when it is none.
        example: A text of the right form.
        rank: See :class:`Codec`.
        hints: Further keywords of the JSON Schema.
    """

    def __init__(
        self,
        cls: type,
        label: str,
        to_json: Callable[[Any], Any],
        from_text: Callable[[str], Any],
        example: str,
        rank: int = RANK_OTHER,
        **hints: str,
    ) -> None:
        self.cls, self.name, self.label, self.rank = cls, cls.__name__, label, rank
        self.to_json, self.from_text, self.example, self.hints = to_json, from_text, example, hints

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is self.cls or (not exact and self._stands_for(value)):
            return self.to_json(value)
        raise Mismatch(self.name, value)

    def _stands_for(self, value: Any) -> bool:
        # A datetime is a date to Python, but would lose its time.
        return isinstance(value, self.cls) and not (self.cls is date and isinstance(value, datetime))

    def decode(self, obj: Any) -> Any:
        if isinstance(obj, dict) and obj.get(TAG) == "moment":
            value = moment_from_tag(obj)
            if type(value) is self.cls:
                return value
        if not isinstance(obj, str):
            raise Mismatch(self.name, obj)
        try:
            return self.from_text(obj)
        except ValueError as error:
            raise Mismatch(self.name, obj, str(error)[:120]) from None
        except ArithmeticError:  # its text says nothing that people can use
            raise Mismatch(self.name, obj) from None

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"type": "string", **self.hints}

    def sample(self, depth: int = 0) -> Any:
        return self.example


class DecimalCodec(TextCodec):
    """``Decimal``, as text so that no digit is lost. JSON numbers are read too."""

    def decode(self, obj: Any) -> Any:
        return super().decode(repr(obj) if type(obj) in (int, float) else obj)


def bytes_to_text(value: bytes) -> str:
    """Standard base64, padded."""
    return base64.b64encode(value).decode()


def bytes_from_text(text: str) -> bytes:
    """The bytes of base64 text, in the standard or the URL-safe alphabet."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None


def _bytearray_from_text(text: str) -> bytearray:
    return bytearray(bytes_from_text(text))


class PathCodec(TextCodec):
    """A class of :mod:`pathlib`: a ``Path`` is read as the machine's own kind of path."""

    def __init__(self, cls: type, label: str = "PATH") -> None:
        super().__init__(cls, label, str, cls, "data/input.csv", format="path")
        self.exact_type = type(cls()) if cls in (pathlib.Path, pathlib.PurePath) else cls

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is self.exact_type:
            return str(value)
        raise Mismatch(self.name, value, "pass a Path" if isinstance(value, str) else "")


TEXTS: dict[type, Codec] = {
    date: TextCodec(date, "DATE", date.isoformat, date_from_text, "2025-01-31", RANK_TEXT, format="date"),
    datetime: TextCodec(
        datetime,
        "DATETIME",
        moment_to_json,
        datetime_from_text,
        "2025-01-31T12:00:00",
        RANK_TEXT,
        format="date-time",
    ),
    time: TextCodec(time, "TIME", moment_to_json, time_from_text, "12:30:00", RANK_TEXT, format="time"),
    timedelta: TextCodec(
        timedelta, "DURATION", duration_to_text, duration_from_text, "PT1H30M", RANK_TEXT, format="duration"
    ),
    uuid.UUID: TextCodec(
        uuid.UUID, "UUID", str, uuid.UUID, "123e4567-e89b-12d3-a456-426614174000", RANK_TEXT, format="uuid"
    ),
    bytes: TextCodec(bytes, "BYTES", bytes_to_text, bytes_from_text, "aGVsbG8=", contentEncoding="base64"),
    bytearray: TextCodec(
        bytearray, "BYTES", bytes_to_text, _bytearray_from_text, "aGVsbG8=", contentEncoding="base64"
    ),
    Decimal: DecimalCodec(Decimal, "DECIMAL", str, Decimal, "1.50", format="decimal"),
    complex: TextCodec(complex, "COMPLEX", str, complex, "1+2j", format="complex"),
    Fraction: TextCodec(Fraction, "FRACTION", str, Fraction, "1/3", format="fraction"),
    pathlib.Path: PathCodec(pathlib.Path),
    pathlib.PurePath: PathCodec(pathlib.PurePath),
    pathlib.PurePosixPath: PathCodec(pathlib.PurePosixPath),
    pathlib.PureWindowsPath: PathCodec(pathlib.PureWindowsPath),
}
