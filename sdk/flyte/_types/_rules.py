"""Codecs of types with rules of Pydantic, and of types that only Pydantic knows. Imported when one is met."""

from __future__ import annotations

from typing import Any

import pydantic
from pydantic.json_schema import GenerateJsonSchema

from flyte._types._canonical import TAG, DocumentError, sort_key
from flyte._types._codec import RANK_OTHER, Codec, Definitions
from flyte._types._mismatch import Mismatch, Unsendable
from flyte._types._tags import pickled, unpickled

_CONSTRAINTS = {
    "title", "description", "examples", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems", "discriminator",
    "format",
}  # fmt: skip
REFERENCES = "#/$defs/{model}"


class Schemas(GenerateJsonSchema):
    """Pydantic's schemas, with bytes as they are written here."""

    def bytes_schema(self, schema: Any) -> dict[str, Any]:
        """The schema of base64 text."""
        return {"type": "string", "contentEncoding": "base64"}


def problems(error: Exception) -> str:
    """What a validation found, on one line."""
    if not isinstance(error, pydantic.ValidationError):
        return f"{type(error).__name__}: {error}"
    found = [
        (".".join(map(str, problem["loc"])), problem["msg"])
        for problem in error.errors(include_url=False)[:3]
    ]
    return "; ".join(f"{place}: {message}" if place else message for place, message in found)


def decoded_or_raw(codec: Codec, form: Any) -> Any:
    """The value of a form, or the form itself where the codec cannot read it and Pydantic may."""
    try:
        return codec.decode(form)
    except Mismatch:
        return form


class ConstrainedCodec(Codec):
    """``Annotated`` with rules of Pydantic, which are checked when a value is written and when it is read."""

    def __init__(self, annotation: Any, inner: Codec) -> None:
        self.inner, self.adapter = inner, _adapter(annotation)
        self.name, self.label, self.rank = inner.name, inner.label, inner.rank
        self.numeric_keys = inner.numeric_keys

    @property
    def identity(self) -> str:
        return self.inner.identity

    def encode(self, value: Any, exact: bool = False) -> Any:
        form = self.inner.encode(value, exact)
        self.validated(value)
        return form

    def decode(self, obj: Any) -> Any:
        return self.validated(decoded_or_raw(self.inner, obj))

    def validated(self, value: Any) -> Any:
        """The value after Pydantic's validation."""
        try:
            return self.adapter.validate_python(value)
        except Exception as error:  # the user's own validators may raise anything
            raise Mismatch(self.name, value, problems(error)) from error

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        inner = self.inner.schema(definitions)
        try:
            own = self.adapter.json_schema(schema_generator=Schemas, ref_template=REFERENCES)
        except pydantic.errors.PydanticUserError:
            return inner
        return {
            **inner,
            **{key: value for key, value in own.items() if key in _CONSTRAINTS and key not in inner},
        }

    def sample(self, depth: int = 0) -> Any:
        return self.inner.sample(depth)

    def knows(self, obj: Any) -> bool:
        return self.inner.knows(obj)


class PydanticCodec(Codec):
    """A type that only Pydantic knows, such as ``HttpUrl``: in its form, or pickled where that loses."""

    rank = RANK_OTHER

    def __init__(self, annotation: Any) -> None:
        self.adapter = _adapter(annotation)
        self.name = getattr(annotation, "__name__", str(annotation))
        self.is_secret = isinstance(annotation, type) and hasattr(annotation, "get_secret_value")

    def encode(self, value: Any, exact: bool = False) -> Any:
        if self.is_secret:
            raise Unsendable(value, "secrets are not written; pass it with env_vars=")
        try:
            checked = self.adapter.validate_python(value, strict=True)
        except pydantic.ValidationError as error:
            raise Mismatch(self.name, value, problems(error)) from error
        try:
            form = self.adapter.dump_python(checked, mode="json")
            sort_key(form)
            again = self.adapter.validate_python(form)
        except (ValueError, TypeError, DocumentError):
            return pickled(value)
        tagged = isinstance(form, dict) and TAG in form
        return form if type(again) is type(value) and again == value and not tagged else pickled(value)

    def decode(self, obj: Any) -> Any:
        if isinstance(obj, dict) and obj.get(TAG) == "pickle":
            return unpickled(obj)
        try:
            return self.adapter.validate_python(obj)
        except Exception as error:  # the type's own validators may raise anything
            raise Mismatch(self.name, obj, problems(error)) from error

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        try:
            schema = self.adapter.json_schema(schema_generator=Schemas, ref_template=REFERENCES)
        except pydantic.errors.PydanticUserError:
            return {}
        definitions.update(schema.pop("$defs", {}))
        return dict(schema)


def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    try:
        return pydantic.TypeAdapter(annotation)
    except pydantic.errors.PydanticSchemaGenerationError:
        return pydantic.TypeAdapter(annotation, config=pydantic.ConfigDict(arbitrary_types_allowed=True))


def constrains(metadata: tuple[Any, ...]) -> bool:
    """Whether any metadata of an ``Annotated`` is a rule rather than a remark."""
    for item in metadata:
        if isinstance(item, pydantic.fields.FieldInfo):
            if item.metadata or item.discriminator:
                return True
        elif hasattr(item, "__get_pydantic_core_schema__") or type(item).__module__.partition(".")[0] in (
            "annotated_types",
            "pydantic",
        ):
            return True
    return False
