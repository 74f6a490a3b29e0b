"""Equality that tells types apart: what "comes back the same" means."""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime, time
from decimal import Decimal
from typing import Any

from pydantic import BaseModel


def same(left: Any, right: Any) -> bool:
    """Whether two values have the same type and value all the way down; NaN is the same as NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left), list(right)) and same(list(left.values()), list(right.values()))
    if isinstance(left, (set, frozenset)):
        return len(left) == len(right) and all(any(same(one, other) for other in right) for one in left)
    if isinstance(left, (datetime, time)):
        zones = [getattr(value.tzinfo, "key", None) for value in (left, right)]
        return (
            left == right and left.fold == right.fold and zones[0] == zones[1] and repr(left) == repr(right)
        )
    if isinstance(left, BaseModel):
        return same(left.__dict__, right.__dict__) and same(
            left.__pydantic_private__, right.__pydantic_private__
        )
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return all(same(getattr(left, name), getattr(right, name)) for name in names)
    return bool(left == right)
