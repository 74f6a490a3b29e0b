"""A value that does not fit its type, and how values are shown in messages."""

from __future__ import annotations

import reprlib
from typing import Any

_LIMIT = 80
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _LIMIT


class Mismatch(Exception):
    """A value does not fit the type of its place.

    Attributes:
        expected: The type as people read it.
        value: What was there instead.
        reason: Why it does not fit, when that is not plain from the two.
        path: Where inside the whole value, as ``.field`` and ``[key]`` parts.
    """

    def __init__(self, expected: str, value: Any, reason: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value
        self.reason = reason
        self.path: list[str] = []

    def within(self, part: str) -> None:
        """Says that the place so far is inside ``part`` of something larger."""
        self.path.insert(0, part)

    def __str__(self) -> str:
        place = f"at {''.join(self.path)}: " if self.path else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{place}expected {self.expected}, got {show(self.value)}{reason}"


class Unsendable(Mismatch):
    """A value of a type that cannot be an input or output, whatever the place asks for."""

    def __init__(self, value: Any, reason: str) -> None:
        super().__init__("a value that can be serialised", value, reason)


def show(value: Any) -> str:
    """A value's type and its shortened representation, for a message."""
    if value is None:
        return "None"
    try:
        text = _repr.repr(value)
    except Exception as error:  # noqa: BLE001, a user's __repr__ may do anything
        text = f"<repr failed: {type(error).__name__}>"
    if len(text) > _LIMIT:
        text = text[: _LIMIT - 1] + "…"
    return f"{type_name(type(value))} {text}"


def type_name(cls: type) -> str:
    """A class's name with its module, except for builtins."""
    module = getattr(cls, "__module__", "builtins")
    name = getattr(cls, "__qualname__", repr(cls)).rsplit("<locals>.", 1)[-1]
    return name if module in ("builtins", "__main__") else f"{module}.{name}"
