"""The interface of a generator: its items, taken together, are its one output."""

from __future__ import annotations

import collections.abc
import typing
from typing import Any

from flyte._types._interface import Interface

_STREAMS = frozenset(
    {
        collections.abc.AsyncIterable,
        collections.abc.AsyncIterator,
        collections.abc.AsyncGenerator,
        collections.abc.Iterable,
        collections.abc.Iterator,
        collections.abc.Generator,
    }
)
_RETURN = 2


class StreamInterface(Interface):
    """Inputs of a generator function, and the list of its items as output ``o0``."""

    def _hints(self) -> dict[str, Any]:
        hints = dict(super()._hints())
        hints["return"] = list[_item(self.name, hints.get("return", typing.Any))]  # type: ignore[misc]
        return hints


def _item(name: str, annotation: Any) -> Any:
    origin = typing.get_origin(annotation) or annotation
    if annotation is Any:
        return Any
    if origin not in _STREAMS:
        raise TypeError(
            f"{name} is a generator: annotate it with what it yields, such as -> Iterator[str] or AsyncIterator[str]"
        )
    args = typing.get_args(annotation)
    if (
        origin is collections.abc.Generator
        and len(args) > _RETURN
        and args[_RETURN] not in (None, type(None), Any)
    ):
        raise ValueError(
            f"{name} is a generator that returns a value, which a trace cannot record: yield it instead"
        )
    return args[0] if args else Any
