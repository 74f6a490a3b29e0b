"""Fields of Pydantic models that are files, directories or data frames."""

from __future__ import annotations

from typing import Any, ClassVar

from flyte._types._mismatch import Mismatch


class Validated:
    """Can be the type of a field of a Pydantic model: an instance, a reference, or a path or URI."""

    _kind: ClassVar[str]

    def _form(self) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def _from_form(cls, obj: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def _validated(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        try:
            return cls._from_form(value)
        except Mismatch as mismatch:
            raise ValueError(str(mismatch)) from None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            cls._validated,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value._form()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return json_schema(cls.__name__, cls._kind)


def json_schema(title: str, kind: str) -> dict[str, Any]:
    """The JSON Schema of references."""
    return {"title": title, "type": ["object", "string"], "format": kind}
