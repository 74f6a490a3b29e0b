"""Codecs of Pydantic models. Imported when one is met."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pydantic
from pydantic_core import PydanticUndefined

from flyte._types._canonical import TAG, sort_key
from flyte._types._codec import Compile, Definitions
from flyte._types._mismatch import Mismatch
from flyte._types._moves import moved, remembering
from flyte._types._rules import REFERENCES, Schemas, decoded_or_raw, problems
from flyte._types._structures import MISSING, Field, StructureCodec, object_schema
from flyte._types._tags import UntypedCodec


class ModelCodec(StructureCodec):
    """A Pydantic model: an object of its fields under their aliases, validated by the model when it is read.

    Where validation would not give the same model back, the fields are tagged as a state and set as they are.
    """

    def __init__(self, cls: Any, compile_codec: Compile, untyped: UntypedCodec) -> None:
        super().__init__(cls, (), compile_codec, untyped)
        self.is_root = issubclass(cls, pydantic.RootModel)

    @cached_property
    def fields(self) -> list[Field]:
        if not self.cls.__pydantic_complete__:
            self.cls.model_rebuild(raise_errors=False)
        return [
            Field(
                name,
                self.compile(info.annotation),
                info.is_required(),
                MISSING if info.default is PydanticUndefined else info.default,
            )
            for name, info in self.cls.model_fields.items()
        ]

    @cached_property
    def _keys(self) -> dict[str, str]:
        """The key of each field in the object; none where an alias is a path."""
        by_alias = self.cls.model_config.get("validate_by_alias", True)
        keys = {}
        for name, info in self.cls.model_fields.items():
            alias = info.validation_alias or info.alias
            if isinstance(alias, pydantic.AliasChoices):
                alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
            if alias is None or isinstance(alias, str) or not by_alias:
                keys[name] = alias if isinstance(alias, str) and by_alias else name
        return keys

    @cached_property
    def _readable(self) -> dict[str, Field]:
        """Every key that a field can be given under."""
        readable = {key: self.by_name[name] for name, key in self._keys.items()}
        for name, info in self.cls.model_fields.items():
            if isinstance(info.validation_alias, pydantic.AliasChoices):
                for choice in info.validation_alias.choices:
                    if isinstance(choice, str):
                        readable.setdefault(choice, self.by_name[name])
        if any(self.cls.model_config.get(option) for option in ("populate_by_name", "validate_by_name")):
            for name, field in self.by_name.items():
                readable.setdefault(name, field)
        return readable

    @cached_property
    def _has_hooks(self) -> bool:
        found = self.cls.__pydantic_decorators__
        return bool(
            found.field_validators
            or found.validators
            or found.model_validators
            or found.root_validators
            or self.cls.model_post_init is not pydantic.BaseModel.model_post_init
            or self.cls.__init__ is not (pydantic.RootModel if self.is_root else pydantic.BaseModel).__init__
            or len(self._keys) < len(self.fields)
            or self.cls.__private_attributes__
            or any(info.metadata for info in self.cls.model_fields.values())
            or any(
                self.cls.model_config.get(o) for o in ("str_to_lower", "str_to_upper", "str_strip_whitespace")
            )
        )

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not self.cls:
            return self.foreign(value, exact)
        if self._has_hooks and moved.get() is None:
            with remembering():
                return self.encode(value, exact)
        form = self._plain(value)
        if form is not None and not self._has_hooks:
            return form
        if form is not None and self._comes_back(value, form):
            return form
        return self._state(value)

    def _plain(self, value: Any) -> Any:
        """The form that people read, or nothing where a field has no key in it."""
        members = value.__dict__
        if self.is_root:
            return self.encoded(self.fields[0], value.root)
        form = {}
        for field in self.fields:
            if field.name in members:
                if field.name not in self._keys:
                    return None
                form[self._keys[field.name]] = self.encoded(field, members[field.name])
        for name, member in (value.__pydantic_extra__ or {}).items():
            if name in form:
                return None
            form[name] = self.untyped.encode(member)
        return None if TAG in form else form

    def _comes_back(self, value: Any, form: Any) -> bool:
        try:
            again = self._made(form)
            same = sort_key(self._plain(again)) == sort_key(form)
        except Mismatch:
            return False
        return same and bool(again.__pydantic_private__ == value.__pydantic_private__)

    def _state(self, value: Any) -> dict[str, Any]:
        members = value.__dict__
        state = {
            TAG: "state",
            "fields": {f.name: self.encoded(f, members[f.name]) for f in self.fields if f.name in members},
            "set": sorted(value.__pydantic_fields_set__),
        }
        private = {k: v for k, v in (value.__pydantic_private__ or {}).items() if v is not PydanticUndefined}
        if private:
            state["private"] = self.untyped.encode(private)
        if value.__pydantic_extra__:
            state["extra"] = self.untyped.encode(value.__pydantic_extra__)
        return state

    def decode(self, obj: Any) -> Any:
        if type(obj) is dict and TAG in obj and obj[TAG] not in self._tag_values:
            if obj[TAG] == "state" and type(obj.get("fields")) is dict:
                return self._restored(obj)
            if obj[TAG] in ("instance", "pickle"):
                return self.of_subclass(obj)
        return self._made(obj)

    @cached_property
    def _tag_values(self) -> tuple[Any, ...]:
        # A model may have a field whose alias is the tag's key; its literal values are then not tags.
        field = self._readable.get(TAG)
        return tuple(getattr(field.codec, "values", ())) if field else ()

    def _restored(self, obj: dict[str, Any]) -> Any:
        value = self.cls.__new__(self.cls)
        members = {}
        for name, form in obj["fields"].items():
            if name not in self.by_name:
                raise Mismatch(self.name, obj, f"unknown field {name!r}")
            members[name] = self.by_name[name].codec.decode(form)
        allows_extra = self.cls.model_config.get("extra") == "allow"
        private = self.untyped.decode(obj["private"]) if "private" in obj else None
        if private is None and self.cls.__private_attributes__:
            private = {}
        object.__setattr__(value, "__dict__", members)
        object.__setattr__(value, "__pydantic_fields_set__", set(obj.get("set", members)))
        object.__setattr__(
            value, "__pydantic_extra__", self.untyped.decode(obj.get("extra", {})) if allows_extra else None
        )
        object.__setattr__(value, "__pydantic_private__", private)
        return value

    def _made(self, obj: Any) -> Any:
        """The model that validation makes. What a codec cannot read is left to the model's rules."""
        if self.is_root:
            arguments: Any = decoded_or_raw(self.fields[0].codec, obj)
        elif type(obj) is dict:
            extra = (
                self.untyped.decode if self.cls.model_config.get("extra") == "allow" else lambda form: form
            )
            arguments = {
                key: decoded_or_raw(field.codec, form) if (field := self._readable.get(key)) else extra(form)
                for key, form in obj.items()
            }
        else:
            raise Mismatch(self.name, obj)
        try:
            return self.cls.model_validate(arguments)
        except Exception as error:  # the user's own validators may raise anything
            raise Mismatch(self.name, obj, problems(error)) from error

    def knows(self, obj: Any) -> bool:
        if self.is_root or type(obj) is not dict or self.cls.model_config.get("extra") == "allow":
            return True
        return obj.get(TAG) in ("state", "instance", "pickle") or all(key in self._readable for key in obj)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        try:
            schema = self.cls.model_json_schema(
                by_alias=True, ref_template=REFERENCES, schema_generator=Schemas, mode="validation"
            )
        except pydantic.errors.PydanticUserError:  # a field of a class that Pydantic cannot describe
            return definitions.reference(self, lambda: object_schema(self.name, self.fields, definitions))
        for name, definition in schema.pop("$defs", {}).items():
            definitions.setdefault(name, definition)
        if set(schema) == {"$ref"}:
            return dict(schema)
        return definitions.reference(self, lambda: dict(schema))

    def sample(self, depth: int = 0) -> Any:
        if self.is_root:
            return self.fields[0].codec.sample(depth)
        sample = super().sample(depth)
        return {self._keys.get(name, name): form for name, form in sample.items()}
