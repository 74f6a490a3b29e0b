"""From an annotation to its codec. Codecs are made once per annotation and shared."""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import enum
import inspect
import ipaddress
import sys
import threading
import types
import typing
from collections.abc import Callable
from typing import Any, ForwardRef, Literal, TypeVar, Union

from flyte._types._choices import EnumCodec, LiteralCodec, UnionCodec
from flyte._types._codec import RANK_OPAQUE, Codec, Definitions
from flyte._types._containers import (
    DictCodec,
    KindredCodec,
    ListCodec,
    SetCodec,
    TupleCodec,
    UniformTupleCodec,
)
from flyte._types._hints import LOCAL, has_unpacked, substituted, variable_stand_in
from flyte._types._mismatch import Mismatch, type_name
from flyte._types._scalars import PRIMITIVES
from flyte._types._structures import DataclassCodec, NamedTupleCodec, StructureCodec, TypedDictCodec
from flyte._types._tags import FRAME_LIBRARIES, UntypedCodec
from flyte._types._texts import TEXTS, TextCodec

_ADDRESSES = (
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network,
    ipaddress.IPv6Network, ipaddress.IPv4Interface, ipaddress.IPv6Interface,
)  # fmt: skip
_ITEM_CODECS: dict[type, Callable[[Codec], Codec]] = {
    list: ListCodec,
    tuple: UniformTupleCodec,
    set: lambda item: SetCodec(set, item),
    frozenset: lambda item: SetCodec(frozenset, item),
}
_MEMBER_KINDS: dict[Any, tuple[type, ...]] = {
    list: (list,),
    set: (set,),
    frozenset: (frozenset,),
    collections.abc.Sequence: (list, tuple),
    collections.abc.MutableSequence: (list,),
    collections.abc.Set: (set, frozenset),
    collections.abc.MutableSet: (set,),
    collections.abc.Iterable: (list, tuple, set, frozenset),
    collections.abc.Collection: (list, tuple, set, frozenset),
}
"""The classes that stand for a generic one: an abstract class keeps which of them a value was."""
_MAPPINGS = (collections.abc.Mapping, collections.abc.MutableMapping)
_ANYTHING = (Any, object, inspect.Parameter.empty, typing.Hashable)
_TRANSPARENT = (typing.Final, typing.ClassVar)

_lock = threading.RLock()
_codecs: dict[Any, Codec] = {}
_by_id: dict[int, tuple[Any, Codec]] = {}
_registered: list[tuple[type, Codec]] = []


class OpaqueCodec(Codec):
    """A class that has no form of its own: checked, then written as an untyped value, mostly pickled."""

    rank = RANK_OPAQUE

    def __init__(self, annotation: Any, untyped: Codec) -> None:
        origin = typing.get_origin(annotation) or annotation
        self.kind = (
            origin if isinstance(origin, type) and not getattr(origin, "_is_protocol", False) else None
        )
        self.name = (
            type_name(annotation) if isinstance(annotation, type) else str(annotation).replace("typing.", "")
        )
        self.label = "PICKLE"
        self.untyped = untyped

    def encode(self, value: Any, exact: bool = False) -> Any:
        self._check(value)
        return self.untyped.encode(value)

    def decode(self, obj: Any) -> Any:
        value = self.untyped.decode(obj)
        self._check(value)
        return value

    def _check(self, value: Any) -> None:
        if self.kind is not None and not isinstance(value, self.kind):
            raise Mismatch(self.name, value)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"description": f"{self.name.rpartition('.')[2]}, pickled"}


def register(cls: type, codec: Codec) -> None:
    """Uses a codec for a class and its subclasses, ahead of the built-in ones.

    Annotations that were compiled before keep the codec they have.
    """
    with _lock:
        _registered.insert(0, (cls, codec))
        _codecs.clear()
        _by_id.clear()


def codec_for(annotation: Any) -> Codec:
    """The codec of an annotation.

    Raises:
        TypeError: The annotation is not a type, or a string that could not be resolved.
    """
    try:
        found = _codecs.get(annotation)
    except TypeError:  # an annotation with unhashable metadata
        kept = _by_id.get(id(annotation))
        if kept is not None:
            return kept[1]
        codec = _compiled(annotation)
        _by_id[id(annotation)] = (annotation, codec)
        return codec
    if found is not None:
        return found
    if isinstance(annotation, Codec):  # what a schema says has no other type
        return annotation
    with _lock:
        codec = _compiled(annotation)
        _codecs[annotation] = codec
        if isinstance(codec, StructureCodec) and LOCAL in codec.cls.__qualname__:
            with contextlib.suppress(NameError):  # met again at first use, when the name may be there
                _ = codec.fields  # now, while the scope that its names live in is still there
    return codec


UNTYPED = UntypedCodec(codec_for)


def _compiled(annotation: Any) -> Codec:
    if annotation is None or (isinstance(annotation, type) and annotation in PRIMITIVES):
        return PRIMITIVES[annotation]
    if any(annotation is anything for anything in _ANYTHING):
        return UNTYPED
    if isinstance(annotation, (str, ForwardRef)):
        raise TypeError(f"the annotation {annotation!r} does not name anything that is defined")
    if isinstance(annotation, TypeVar):
        return codec_for(variable_stand_in(annotation))
    if hasattr(annotation, "__supertype__"):
        return codec_for(annotation.__supertype__)
    if type(annotation).__name__ == "TypeAliasType":
        return _LateCodec(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if type(origin).__name__ == "TypeAliasType":
        return codec_for(substituted(origin.__value__, dict(zip(origin.__type_params__, args, strict=True))))
    if origin is not None:
        return _of_generic(annotation, origin, args)
    if isinstance(annotation, type):
        return _of_class(annotation, ())
    if annotation in (typing.NoReturn, getattr(typing, "Never", typing.NoReturn)):
        return PRIMITIVES[None]
    if getattr(annotation, "_name", None) == "LiteralString":
        return PRIMITIVES[str]
    if callable(annotation) or type(annotation).__module__ in ("typing", "typing_extensions"):
        return OpaqueCodec(annotation, UNTYPED)
    raise TypeError(f"{annotation!r} is not a type")


def _of_generic(annotation: Any, origin: Any, args: tuple[Any, ...]) -> Codec:
    if origin is typing.Annotated:
        return _of_annotated(annotation, args)
    if origin in (Union, types.UnionType):
        return UnionCodec([codec_for(arg) for arg in args])
    if origin is Literal:
        return LiteralCodec(args, UNTYPED)
    if origin in _TRANSPARENT:
        return codec_for(args[0])
    if has_unpacked(args):
        return _of_class(origin, ())
    return _of_container(origin, args) or _of_class(origin, args)


def _of_annotated(annotation: Any, args: tuple[Any, ...]) -> Codec:
    inner = codec_for(args[0])
    if hasattr(inner, "annotated"):
        inner = inner.annotated(args[1:])
    if "pydantic" in sys.modules or any(type(m).__module__.startswith("annotated_types") for m in args[1:]):
        from flyte._types import _rules  # only where Pydantic is used anyway: it takes time to load

        if _rules.constrains(args[1:]):
            if str(getattr(args[0], "__module__", "")).startswith("pydantic"):
                return _rules.PydanticCodec(annotation)
            return _rules.ConstrainedCodec(annotation, inner)
    return inner


def _of_container(origin: Any, args: tuple[Any, ...]) -> Codec | None:
    if origin is tuple:
        items = [codec_for(arg) for arg in args if arg is not Ellipsis]
        return UniformTupleCodec(items[0]) if args[-1:] == (Ellipsis,) else TupleCodec(items)
    if origin is dict or origin in _MAPPINGS:
        return DictCodec(codec_for(args[0]), codec_for(args[1]))
    if origin in (collections.OrderedDict, collections.Counter):
        value = codec_for(args[1]) if origin is collections.OrderedDict else PRIMITIVES[int]
        return KindredCodec(origin, dict, DictCodec(codec_for(args[0]), value))
    if origin is collections.deque:
        return KindredCodec(origin, list, ListCodec(codec_for(args[0])))
    kinds = _MEMBER_KINDS.get(origin)
    if kinds is None:
        return None
    item = codec_for(args[0])
    made = [_ITEM_CODECS[kind](item) for kind in kinds]
    return made[0] if len(made) == 1 else UnionCodec(made)


_BARE: dict[Any, Callable[[], Codec]] = {
    list: lambda: ListCodec(UNTYPED),
    tuple: lambda: UniformTupleCodec(UNTYPED),
    dict: lambda: DictCodec(UNTYPED, UNTYPED),
    set: lambda: SetCodec(set, UNTYPED),
    frozenset: lambda: SetCodec(frozenset, UNTYPED),
}


def _of_class(cls: Any, args: tuple[Any, ...]) -> Codec:
    for base, codec in _registered:
        if isinstance(cls, type) and issubclass(cls, base):
            return codec
    if cls in _BARE:
        codec = _BARE[cls]()
        codec.name = cls.__name__
        return codec
    if cls in TEXTS:
        return TEXTS[cls]
    if cls in _ADDRESSES:
        return TextCodec(cls, "ADDRESS", str, cls, "10.0.0.1")
    if not isinstance(cls, type):
        return OpaqueCodec(cls, UNTYPED)
    if (data := data_codec(cls, args)) is not None:
        return data
    if issubclass(cls, enum.Enum):
        return EnumCodec(cls)
    if hasattr(cls, "__pydantic_decorators__") or hasattr(cls, "__get_pydantic_core_schema__"):
        from flyte._types import _models, _rules  # see above

        if hasattr(cls, "__pydantic_decorators__") and hasattr(cls, "model_validate"):
            return _models.ModelCodec(cls, codec_for, UNTYPED)
        if not hasattr(cls, "__dataclass_fields__"):
            return _rules.PydanticCodec(cls)
    if hasattr(cls, "__dataclass_fields__"):
        return DataclassCodec(cls, args, codec_for, UNTYPED)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return NamedTupleCodec(cls, args, codec_for, UNTYPED)
    if issubclass(cls, dict) and hasattr(cls, "__required_keys__"):
        return TypedDictCodec(cls, args, codec_for, UNTYPED)
    if cls.__module__ == "collections.abc" and (bare := _of_container(cls, (Any, Any))):
        return bare
    return _of_plugin(cls) or OpaqueCodec(cls, UNTYPED)


def _of_plugin(cls: type) -> Codec | None:
    """The codec that an installed package has for a class without a form. Looked for once per process."""
    from flyte.types._engine import TypeEngine

    if not TypeEngine.load_plugins():
        return None
    return next((codec for base, codec in _registered if issubclass(cls, base)), None)


def data_codec(cls: type, args: tuple[Any, ...] = ()) -> Codec | None:
    """The codec of a file, directory or data frame, None for other classes. Imports nothing for those."""
    if cls.__module__.partition(".")[0] not in FRAME_LIBRARIES and not _is_data(cls):
        return None
    from flyte.io import _codecs  # only where a task has bulk data

    return _codecs.data_codec(cls, args)


def _is_data(cls: type) -> bool:
    return any(base.__module__.startswith("flyte.io") for base in cls.__mro__)


class _LateCodec(Codec):
    """A type alias, which may name itself: its codec is found at first use."""

    def __init__(self, alias: Any) -> None:
        self.alias = alias
        self.name = str(alias)

    def _inner(self) -> Codec:
        return codec_for(self.alias.__value__)

    def encode(self, value: Any, exact: bool = False) -> Any:
        return self._inner().encode(value, exact)

    def decode(self, obj: Any) -> Any:
        return self._inner().decode(obj)

    def knows(self, obj: Any) -> bool:
        return self._inner().knows(obj)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return definitions.reference(self, lambda: self._inner().schema(definitions))

    def sample(self, depth: int = 0) -> Any:
        return None if depth > 3 else self._inner().sample(depth + 1)
