"""Types in words, for help texts and error messages."""

from __future__ import annotations

from typing import Any

from flyte._types._choices import UnionCodec
from flyte._types._codec import Codec, Definitions
from flyte._types._compile import codec_for


def describe_type(annotation: Any) -> str:
    """A type as people read it, such as ``list[int]``, ``Color`` or ``int | None``."""
    return codec_for(annotation).name


def label_of(codec: Codec) -> str:
    """A type as the command line shows it, such as ``INTEGER``, ``ENUM[a|b]`` or ``JSON``."""
    if isinstance(codec, UnionCodec) and "JSON" in codec.label.split("|"):
        return "JSON"
    return codec.label


def json_schema(annotation: Any) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a type's documents.

    It describes the plain forms. A value that has none (NaN in an untyped list, say) is written as a tagged
    object instead.
    """
    definitions = Definitions()
    schema = codec_for(annotation).schema(definitions)
    return {**schema, "$defs": dict(definitions)} if definitions else schema
