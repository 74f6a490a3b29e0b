"""Values of a container task as text: what its templates and files hold, and what its output files mean.

The executor does the same to the letter (`services/executor/container_values.py`); a test compares the two.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from flyte._types._times import datetime_from_text, duration_from_text, duration_to_text

TEMPLATE = re.compile(r"\{\{\s*\.inputs\.(\w+)\s*\}\}")
"""Where the value of an input goes: `{{.inputs.name}}`."""

_CLOCK = re.compile(
    r"(?P<sign>-?)(?:(?P<days>\d+) days?, )?(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d)"
    r"(?:\.(?P<fraction>\d{1,6}))?"
)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_SCALARS = frozenset({"integer", "number", "boolean", "string"})
_FORMATS = frozenset({None, "date-time", "date", "duration"})
_PLACES = frozenset({"file", "dir"})
_STRUCTURED = frozenset({"object", "array"})


def is_supported(schema: Mapping[str, Any]) -> bool:
    """Whether text can stand for values of a schema: scalars, times, bytes, and what JSON describes."""
    kind = schema.get("type")
    if is_place(schema):
        return True
    if kind in _SCALARS:
        return schema.get("format") in _FORMATS
    return (isinstance(kind, str) and kind in _STRUCTURED) or "$ref" in schema or "anyOf" in schema


def is_place(schema: Mapping[str, Any]) -> bool:
    """Whether values of a schema are files or directories."""
    return schema.get("format") in _PLACES


def to_bytes(value: Any, schema: Mapping[str, Any]) -> bytes:
    """The content of an input's file, from its JSON form: strings and times as they are, all else as JSON."""
    if schema.get("contentEncoding") == "base64" and isinstance(value, str):
        return base64.b64decode(value)
    return to_text(value).encode("utf-8", "surrogateescape")


def to_text(value: Any) -> str:
    """What a template is replaced by, from the JSON form of a value."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def filled(words: list[str], values: Mapping[str, Any]) -> list[str]:
    """Words of a command with the values of inputs, in JSON form, in place of their templates."""
    return [TEMPLATE.sub(lambda match: to_text(values.get(match[1])), word) for word in words]


def from_bytes(content: bytes, schema: Mapping[str, Any]) -> Any:
    """The JSON form of what an output's file holds. One line break at its end does not count.

    Raises:
        ValueError: It is no value of the schema; says what to write.
    """
    if schema.get("contentEncoding") == "base64":
        return base64.b64encode(content).decode()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error}") from None
    text = text.removesuffix("\n").removesuffix("\r")
    kind, form = schema.get("type"), schema.get("format")
    if kind == "string":
        return text if form is None else _moment(text.strip(), str(form))
    if kind == "boolean":
        value = _BOOLEANS.get(text.strip().lower())
        if value is None:
            raise ValueError("write true or false")
        return value
    if kind == "integer":
        return _whole(text.strip())
    if kind == "number":
        return _number(text.strip())
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"write JSON: {error}") from None


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,4000}", text, re.ASCII):
        raise ValueError("write a whole number")
    return int(text)


def _number(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("write a number") from None
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _moment(text: str, form: str) -> str:
    try:
        if form == "date":
            return date.fromisoformat(text).isoformat()
        if form == "date-time":
            return datetime_from_text(text).isoformat()
        return duration_to_text(_duration(text))
    except (ValueError, OverflowError):
        shown = {"date": "YYYY-MM-DD", "date-time": "YYYY-MM-DDTHH:MM:SS, with an offset or without"}
        wanted = shown.get(form, "seconds, H:MM:SS or an ISO 8601 duration such as PT1H30M")
        raise ValueError(f"write {wanted}") from None


def _duration(text: str) -> timedelta:
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", text, re.ASCII):
        return timedelta(seconds=float(text))
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        return duration_from_text(text)
    fraction = int((clock["fraction"] or "").ljust(6, "0"))
    hours, minutes, seconds = (int(clock[name]) for name in ("hours", "minutes", "seconds"))
    value = timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=fraction)
    if clock["days"] is None:
        return -value if clock["sign"] else value
    return (
        timedelta(days=int(f"{clock['sign']}{clock['days']}")) + value
    )  # as Python writes it: -1 day, 23:59:50
