"""The interface of a task whose function is not here, from its definition."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from flyte._types._canonical import loads
from flyte._types._codec import Codec
from flyte._types._from_schema import ChoiceCodec, codec_of_schema
from flyte._types._interface import Interface, OutputStyle
from flyte._types._variable import NO_DEFAULT, Variable


class _Elsewhere:
    """Stands for a default that only the task itself has."""

    def __repr__(self) -> str:
        return "set by the task"


_ELSEWHERE = _Elsewhere()


class SchemaVariable(Variable):
    """An input or output as a task's definition describes it.

    Args:
        message: The `hangar.core.v1.Variable` as proto-JSON with snake_case names.
    """

    def __init__(self, message: Mapping[str, Any]) -> None:
        self._message = message
        super().__init__(str(message["name"]), None, description=str(message.get("description") or ""))
        self.default = NO_DEFAULT if message.get("required") else self._default()

    def _default(self) -> Any:
        text = self.default_json
        return _ELSEWHERE if text is None else self.codec.decode(loads(text.encode()))

    @cached_property
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = loads(str(self._message.get("schema_json") or "{}").encode())
        return found

    @cached_property
    def codec(self) -> Codec:
        codec = codec_of_schema(self.schema)
        names = self.type_name.removeprefix("ENUM[").removesuffix("]").split("|")
        if isinstance(codec, ChoiceCodec) and len(names) == len(codec.values):
            codec.names = dict(zip(names, codec.values, strict=True))
        return codec

    @cached_property
    def annotation(self) -> Any:
        return self.codec

    @cached_property
    def default_json(self) -> str | None:
        return self._message.get("default_json") or None

    @cached_property
    def type_name(self) -> str:
        return str(self._message.get("type_name") or "JSON")


class SchemaInterface(Interface):
    """Inputs and outputs of a task, with structures as `Record`.

    Args:
        name: Fully qualified name of the task.
        description: What it does.
        message: Its `hangar.core.v1.Interface` as proto-JSON with snake_case names.
    """

    def __init__(self, name: str, description: str, message: Mapping[str, Any]) -> None:
        self.name = name
        self.description = description
        inputs = tuple(map(SchemaVariable, message.get("inputs") or ()))
        outputs = tuple(map(SchemaVariable, message.get("outputs") or ()))
        self._parameters = tuple(
            inspect.Parameter(
                variable.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if variable.required else variable.default,
            )
            for variable in inputs
        )
        self._names = frozenset(variable.name for variable in inputs)
        style: OutputStyle = "none" if not outputs else "single" if len(outputs) == 1 else "tuple"
        self._resolved = (inputs, outputs, style, None)
