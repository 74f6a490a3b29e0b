"""One input or output of a task."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any, Optional

from flyte._types._canonical import DocumentError, dumps
from flyte._types._codec import Codec
from flyte._types._compile import codec_for
from flyte._types._describe import json_schema, label_of
from flyte._types._mismatch import Mismatch
from flyte._types._moves import describing

NO_DEFAULT = inspect.Parameter.empty


class Variable:
    """A named, typed value that goes into a task or comes out of it.

    Attributes:
        name: The parameter's name, or ``o0``, ``o1``, … of an output.
        annotation: Its type; ``Any`` where the function says none.
        default: What the function takes when the value is missing; ``NO_DEFAULT`` when it must be given.
        description: What the function's docstring says of it, or an empty string.
    """

    def __init__(self, name: str, annotation: Any, default: Any = NO_DEFAULT, description: str = "") -> None:
        self.name = name
        self.default = default
        self.description = description
        self._annotation = annotation

    def __repr__(self) -> str:
        return f"Variable({self.name}: {self.codec.name})"

    @cached_property
    def annotation(self) -> Any:
        if self.default is None and self._annotation is not Any:
            try:
                codec_for(self._annotation).encode(None)
            except Mismatch:
                return Optional[self._annotation]  # noqa: UP045, of any annotation
        return self._annotation

    @cached_property
    def codec(self) -> Codec:
        """What writes and reads the values."""
        return codec_for(self.annotation)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the value."""
        return json_schema(self.annotation)

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is NO_DEFAULT

    @cached_property
    def default_json(self) -> str | None:
        """The default as JSON, or nothing when there is none or it cannot be written."""
        if self.required:
            return None
        try:
            with describing():
                return dumps(self.codec.encode(self.default)).decode()
        except (Mismatch, DocumentError):
            return None

    @cached_property
    def type_name(self) -> str:
        """The type as the command line shows it, such as ``INTEGER`` or ``ENUM[a|b]``."""
        return label_of(self.codec)
