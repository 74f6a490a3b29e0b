"""Values of tasks as canonical JSON: interfaces, codecs, digests, and what people type.

Works in user processes: the standard library, Pydantic where the user's own types need it, and cloudpickle
where nothing else can write a value. ``import flyte`` does not import it.
"""

from __future__ import annotations

from typing import Any

from flyte._types._arguments import parse_argument
from flyte._types._canonical import (
    MAX_DEPTH,
    DocumentError,
    canonical,
    digest,
    dumps,
    input_digests,
    is_trivial,
    lineage_digests,
    loads,
)
from flyte._types._codec import Codec
from flyte._types._compile import codec_for, register
from flyte._types._describe import describe_type, json_schema
from flyte._types._interface import Interface
from flyte._types._mismatch import Mismatch
from flyte._types._stream import StreamInterface
from flyte._types._variable import NO_DEFAULT, Variable
from flyte.errors import RuntimeDataValidationError

__all__ = [
    "MAX_DEPTH",
    "NO_DEFAULT",
    "Codec",
    "DocumentError",
    "Interface",
    "Mismatch",
    "StreamInterface",
    "Variable",
    "canonical",
    "codec_for",
    "describe_type",
    "digest",
    "dumps",
    "from_jsonable",
    "input_digests",
    "is_trivial",
    "json_schema",
    "lineage_digests",
    "loads",
    "parse_argument",
    "register",
    "to_jsonable",
]


def to_jsonable(value: Any, annotation: Any) -> Any:
    """A value as an object that :func:`json.dumps` takes, in the form that documents have.

    Raises:
        RuntimeDataValidationError: The value is not of the annotation's type, or cannot be serialised.
    """
    try:
        return codec_for(annotation).encode(value)
    except (Mismatch, DocumentError) as mismatch:
        raise RuntimeDataValidationError(str(mismatch)) from mismatch.__cause__
    except RecursionError:
        raise RuntimeDataValidationError("the value is nested too deeply, or contains itself") from None


def from_jsonable(obj: Any, annotation: Any) -> Any:
    """The value that a JSON-ready object stands for; the reverse of :func:`to_jsonable`.

    Raises:
        RuntimeDataValidationError: The object is not a form of the annotation's type.
    """
    try:
        return codec_for(annotation).decode(obj)
    except (Mismatch, DocumentError) as mismatch:
        raise RuntimeDataValidationError(str(mismatch)) from mismatch.__cause__
    except RecursionError:
        raise RuntimeDataValidationError("the object is nested too deeply") from None
