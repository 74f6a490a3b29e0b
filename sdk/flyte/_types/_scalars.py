"""Codecs of single values: numbers, text, times, and what is written as text."""

from __future__ import annotations

import math
import operator
from typing import Any

from flyte._types._canonical import TAG
from flyte._types._codec import (
    RANK_BOOL,
    RANK_FLOAT,
    RANK_INT,
    RANK_NONE,
    RANK_STR,
    Codec,
    Definitions,
)
from flyte._types._mismatch import Mismatch

_PLAIN_INT = 1 << 4096
_SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _unboxed(value: Any) -> Any:
    """A NumPy scalar as the Python value it stands for; anything else as it is."""
    return (
        value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value
    )


class NoneCodec(Codec):
    """``None``."""

    name, label, rank = "None", "NONE", RANK_NONE

    def encode(self, value: Any, exact: bool = False) -> Any:
        return self.decode(value)

    def decode(self, obj: Any) -> Any:
        if obj is not None:
            raise Mismatch(self.name, obj)
        return None

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"type": "null"}


class BoolCodec(Codec):
    """``bool``; NumPy's too unless exact."""

    name, label, rank, numeric_keys = "bool", "BOOLEAN", RANK_BOOL, True

    def encode(self, value: Any, exact: bool = False) -> Any:
        if value is True or value is False:
            return value
        if not exact and isinstance(unboxed := _unboxed(value), bool):
            return unboxed
        raise Mismatch(self.name, value)

    def decode(self, obj: Any) -> Any:
        if obj is True or obj is False:
            return obj
        raise Mismatch(self.name, obj)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"type": "boolean"}

    def sample(self, depth: int = 0) -> Any:
        return True


class IntCodec(Codec):
    """``int`` of any size. One of more than 4096 bits is tagged, since readers of JSON limit the digits."""

    name, label, rank, numeric_keys = "int", "INTEGER", RANK_INT, True

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not int:
            value = self._converted(value, exact)
        if -_PLAIN_INT < value < _PLAIN_INT:
            return value
        return {TAG: "int", "value": hex(value)}

    def _converted(self, value: Any, exact: bool) -> int:
        unboxed = _unboxed(value)
        if not exact and isinstance(unboxed, int):
            return int(operator.index(unboxed))
        raise Mismatch(self.name, value)

    def decode(self, obj: Any) -> Any:
        if type(obj) is int:
            return obj
        if isinstance(obj, dict) and obj.get(TAG) == "int" and isinstance(obj.get("value"), str):
            try:
                return int(obj["value"], 16)
            except ValueError:
                pass
        raise Mismatch(self.name, obj)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"type": "integer"}

    def sample(self, depth: int = 0) -> Any:
        return 42


class FloatCodec(Codec):
    """``float``; an int becomes one unless exact. NaN and infinities are the strings that Pydantic reads."""

    name, label, rank, numeric_keys = "float", "FLOAT", RANK_FLOAT, True

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not float:
            value = self._converted(value, exact)
        if value - value == 0.0:
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

    def _converted(self, value: Any, exact: bool) -> float:
        unboxed = _unboxed(value)
        if exact or not isinstance(unboxed, (int, float)):
            raise Mismatch(self.name, value)
        try:
            return float(unboxed)
        except OverflowError:
            raise Mismatch(self.name, value, "too large for a float") from None

    def decode(self, obj: Any) -> Any:
        if type(obj) is float:
            return obj
        if type(obj) is int:
            return self._converted(obj, False)
        if isinstance(obj, str) and obj in _SPECIAL_FLOATS:
            return _SPECIAL_FLOATS[obj]
        raise Mismatch(self.name, obj)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"type": "number"}

    def sample(self, depth: int = 0) -> Any:
        return 0.5


class StrCodec(Codec):
    """``str``; a subclass (a string enum, say) is written as its text unless exact."""

    name, label, rank = "str", "STRING", RANK_STR

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is str:
            return value
        if not exact and isinstance(value, str):
            return str.__str__(value)
        raise Mismatch(self.name, value)

    def decode(self, obj: Any) -> Any:
        if type(obj) is str:
            return obj
        raise Mismatch(self.name, obj)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"type": "string"}

    def sample(self, depth: int = 0) -> Any:
        return "text"


NONE, BOOL, INT, FLOAT, STR = NoneCodec(), BoolCodec(), IntCodec(), FloatCodec(), StrCodec()

PRIMITIVES: dict[Any, Codec] = {None: NONE, type(None): NONE, bool: BOOL, int: INT, float: FLOAT, str: STR}
