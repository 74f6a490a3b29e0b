"""Codecs of dataclasses, named tuples and typed dicts."""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from functools import cached_property
from typing import Any

from flyte._types._canonical import TAG, sort_key
from flyte._types._codec import RANK_STRUCTURE, Codec, Compile, Definitions
from flyte._types._hints import class_hints, substituted, type_arguments
from flyte._types._mismatch import Mismatch
from flyte._types._moves import describing, moved, remembering
from flyte._types._tags import UntypedCodec

_QUALIFIERS = ("Required", "NotRequired", "ReadOnly")
MISSING = object()


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a structure."""

    name: str
    codec: Codec
    required: bool
    default: Any = MISSING


def object_schema(title: str, fields: list[Field], definitions: Definitions) -> dict[str, Any]:
    """The schema of an object with these fields and no others."""
    properties = {}
    for field in fields:
        schema = field.codec.schema(definitions)
        if field.default is not MISSING:
            with (
                contextlib.suppress(Mismatch),
                describing(),
            ):  # a default of another type stays out of the form
                schema = {**schema, "default": field.codec.encode(field.default)}
        properties[field.name] = schema
    required = [field.name for field in fields if field.required]
    schema = {"title": title, "type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


class StructureCodec(Codec):
    """What the codecs of classes with fields share.

    Args:
        cls: The class.
        args: What its type variables stand for.
        compile_codec: Finds the codecs of the fields.
        untyped: Writes instances of subclasses.
    """

    rank = RANK_STRUCTURE

    def __init__(
        self, cls: Any, args: tuple[Any, ...], compile_codec: Compile, untyped: UntypedCodec
    ) -> None:
        self.cls, self.args, self.compile, self.untyped = cls, args, compile_codec, untyped
        inner = ", ".join(getattr(arg, "__name__", str(arg)) for arg in args)
        self.name = f"{cls.__name__}[{inner}]" if args else cls.__name__

    @property
    def identity(self) -> str:
        return f"{self.cls.__module__}.{self.cls.__qualname__}" + self.name[len(self.cls.__name__) :]

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The annotations of the fields. Resolved late: a class may name one that is defined after it."""
        arguments = type_arguments(self.cls, self.args)
        try:
            hints = class_hints(self.cls)
        except NameError as error:
            raise NameError(f"{self.identity}: cannot resolve its annotations: {error}") from error
        return {name: substituted(hint, arguments) for name, hint in hints.items()}

    @cached_property
    def fields(self) -> list[Field]:
        raise NotImplementedError

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    def encoded(self, field: Field, value: Any) -> Any:
        try:
            return field.codec.encode(value)
        except Mismatch as mismatch:
            mismatch.within(f".{field.name}")
            raise

    def decoded(self, obj: dict[str, Any]) -> dict[str, Any]:
        """The values of an object's fields, by name."""
        values = {}
        for name, form in obj.items():
            field = self.by_name.get(name)
            if field is None:
                known = ", ".join(self.by_name)
                raise Mismatch(self.name, obj, f"unknown field {name!r}; the fields are {known}")
            try:
                values[name] = field.codec.decode(form)
            except Mismatch as mismatch:
                mismatch.within(f".{name}")
                raise
        missing = [field.name for field in self.fields if field.required and field.name not in values]
        if missing:
            raise Mismatch(self.name, obj, f"missing {', '.join(missing)}")
        return values

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return definitions.reference(self, lambda: object_schema(self.cls.__name__, self.fields, definitions))

    def sample(self, depth: int = 0) -> Any:
        if depth >= 3:
            return {}
        chosen = [field for field in self.fields if field.required] or self.fields[:2]
        return {field.name: field.codec.sample(depth + 1) for field in chosen}

    def foreign(self, value: Any, exact: bool) -> Any:
        """The form of a value whose class is not exactly this one: a subclass by its name, others refused."""
        if exact or not isinstance(value, self.cls):
            reason = f"pass {self.cls.__name__}(…)" if isinstance(value, dict) else ""
            raise Mismatch(self.name, value, reason)
        return self.untyped.instance(value)

    def of_subclass(self, obj: Any) -> Any:
        value = self.untyped.decode(obj)
        if not isinstance(value, self.cls):
            raise Mismatch(self.name, value)
        return value


class DataclassCodec(StructureCodec):
    """A dataclass: an object of its fields, made through its ``__init__``.

    Where ``__init__`` would not give the same value back, the fields are tagged as a state and set directly.
    """

    @cached_property
    def fields(self) -> list[Field]:
        fields = []
        for field in dataclasses.fields(self.cls):
            required = field.init and field.default is field.default_factory is dataclasses.MISSING
            default = MISSING if field.default is dataclasses.MISSING else field.default
            hint = self.hints.get(field.name, Any)
            fields.append(Field(field.name, self.compile(hint), required, default))
        return fields

    @cached_property
    def _unset_by_init(self) -> set[str]:
        return {field.name for field in dataclasses.fields(self.cls) if not field.init}

    @cached_property
    def _has_hooks(self) -> bool:
        every = self.cls.__dataclass_fields__.values()
        return bool(
            hasattr(self.cls, "__post_init__")
            or hasattr(self.cls, "__pydantic_validator__")
            or self._unset_by_init
            or not self.cls.__dataclass_params__.init
            or any(field._field_type is dataclasses._FIELD_INITVAR for field in every)  # type: ignore[attr-defined]
        )

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not self.cls:
            return self.foreign(value, exact)
        if self._has_hooks and moved.get() is None:
            with remembering():
                return self.encode(value, exact)
        form = {
            field.name: self.encoded(field, getattr(value, field.name))
            for field in self.fields
            if hasattr(value, field.name)
        }
        if self._has_hooks and not self._comes_back(form):
            return {TAG: "state", "fields": form}
        return form

    def _comes_back(self, form: dict[str, Any]) -> bool:
        try:
            again = self._made(form)
            forms = {field.name: field.codec.encode(getattr(again, field.name)) for field in self.fields}
        except (Mismatch, AttributeError):
            return False
        return sort_key(forms) == sort_key(form)

    def decode(self, obj: Any) -> Any:
        if type(obj) is not dict:
            raise Mismatch(self.name, obj)
        tag = obj.get(TAG)
        if tag == "state" and type(obj.get("fields")) is dict:
            value = object.__new__(self.cls)
            for name, member in self.decoded({**obj["fields"]}).items():
                object.__setattr__(value, name, member)
            return value
        return self._made(obj) if tag is None else self.of_subclass(obj)

    def _made(self, obj: dict[str, Any]) -> Any:
        values = self.decoded(obj)
        late = {name: values.pop(name) for name in self._unset_by_init if name in values}
        try:
            value = self.cls(**values)
        except Exception as error:  # the user's own __post_init__ may raise anything
            raise Mismatch(self.name, obj, f"{type(error).__name__}: {error}") from error
        for name, member in late.items():
            object.__setattr__(value, name, member)
        return value


class NamedTupleCodec(StructureCodec):
    """A named tuple: an array, as Pydantic writes it. An object of its fields is read too."""

    @cached_property
    def fields(self) -> list[Field]:
        defaults = self.cls._field_defaults
        return [
            Field(
                name,
                self.compile(self.hints.get(name, Any)),
                name not in defaults,
                defaults.get(name, MISSING),
            )
            for name in self.cls._fields
        ]

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not self.cls:
            return self.foreign(value, exact)
        return [self.encoded(field, member) for field, member in zip(self.fields, value, strict=True)]

    def decode(self, obj: Any) -> Any:
        if type(obj) is dict:
            return self.of_subclass(obj) if TAG in obj else self.cls(**self.decoded(obj))
        if type(obj) is not list or len(obj) > len(self.fields):
            raise Mismatch(self.name, obj)
        return self.cls(**self.decoded(dict(zip(self.by_name, obj, strict=False))))

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return definitions.reference(self, lambda: self._array_schema(definitions))

    def _array_schema(self, definitions: Definitions) -> dict[str, Any]:
        items = [{**field.codec.schema(definitions), "title": field.name} for field in self.fields]
        least = sum(field.required for field in self.fields)
        return {
            "title": self.name,
            "type": "array",
            "prefixItems": items,
            "minItems": least,
            "maxItems": len(items),
        }


class TypedDictCodec(StructureCodec):
    """A typed dict: an object of its keys."""

    @cached_property
    def fields(self) -> list[Field]:
        fields = []
        for name, written in self.hints.items():
            hint = written
            required = name in self.cls.__required_keys__
            while getattr(typing.get_origin(hint), "_name", None) in _QUALIFIERS:
                qualifier = typing.get_origin(hint)._name
                required = qualifier == "Required" or (required and qualifier != "NotRequired")
                hint = typing.get_args(hint)[0]
            fields.append(Field(name, self.compile(hint), required))
        return fields

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not dict:
            raise Mismatch(self.name, value)
        missing = [field.name for field in self.fields if field.required and field.name not in value]
        unknown = [name for name in value if name not in self.by_name]
        if missing or unknown:
            parts = [f"missing {', '.join(missing)}"] * bool(missing)
            parts += [f"unknown {', '.join(map(repr, unknown))}"] * bool(unknown)
            raise Mismatch(self.name, value, "; ".join(parts))
        return {name: self.encoded(self.by_name[name], member) for name, member in value.items()}

    def decode(self, obj: Any) -> Any:
        if type(obj) is not dict:
            raise Mismatch(self.name, obj)
        return self.decoded(obj)
