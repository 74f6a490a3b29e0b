"""Values where no annotation tells their type: plain JSON where that is exact, tagged objects elsewhere.

A tag is an object whose ``$type`` says what it stands for. A dict of the user that has such a key itself is
written as a tagged list of pairs, so nothing a user writes can be mistaken for a tag.
"""

from __future__ import annotations

import enum
import functools
import importlib
import io
import sys
import types
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from flyte._types._canonical import TAG
from flyte._types._codec import RANK_ANY, Codec, Compile, Definitions
from flyte._types._containers import decode_items, encode_items, object_of, pairs_of, sorted_forms
from flyte._types._hints import LOCAL
from flyte._types._mismatch import Mismatch, Unsendable, type_name
from flyte._types._moves import probing
from flyte._types._scalars import FLOAT, INT
from flyte._types._texts import TEXTS, bytes_from_text, bytes_to_text
from flyte._types._times import moment_from_tag

PICKLE_PROTOCOL = 5
INLINE_PICKLE_BYTES = 10 * 1024
"""Longest pickle that stands in a document; others are files."""
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial, type)
_warned: set[type] = set()
FRAME_LIBRARIES = frozenset({"pandas", "polars", "pyarrow"})
"""Libraries whose frames are bulk data."""

_SCALARS: dict[type, tuple[str, Codec]] = {
    **{cls: (cls.__name__, codec) for cls, codec in TEXTS.items() if not issubclass(cls, PurePath)},
    type(Path()): ("Path", TEXTS[Path]),
    PurePosixPath: ("PurePosixPath", TEXTS[PurePosixPath]),
    PureWindowsPath: ("PureWindowsPath", TEXTS[PureWindowsPath]),
}
_SCALAR_TAGS: dict[str, Codec] = {"float": FLOAT, "int": INT, **dict(_SCALARS.values())}
_SEQUENCES: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


class UntypedCodec(Codec):
    """Any value at all, exactly.

    Args:
        compile_codec: Finds the codec of a dataclass, model, named tuple or enum.
    """

    name, label, rank = "any value", "JSON", RANK_ANY

    def __init__(self, compile_codec: Compile) -> None:
        self._compile = compile_codec

    @property
    def identity(self) -> str:
        return "Any"

    def encode(self, value: Any, exact: bool = False) -> Any:
        kind = type(value)
        if kind is str or kind is bool or value is None:
            return value
        if kind is int:
            return INT.encode(value)
        if kind is float:
            form = FLOAT.encode(value)
            return form if type(form) is float else {TAG: "float", "value": form}
        if kind is list:
            return encode_items(value, self, False)
        if kind is dict:
            return self._dict(value)
        if kind in _SCALARS:
            tag, codec = _SCALARS[kind]
            form = codec.encode(value)
            return form if isinstance(form, dict) else {TAG: tag, "value": form}
        if kind is tuple:
            return {TAG: "tuple", "items": encode_items(value, self, False)}
        if kind is set or kind is frozenset:
            return {TAG: kind.__name__, "items": sorted_forms([self.encode(member) for member in value])}
        return self.instance(value)

    def _dict(self, value: dict[Any, Any]) -> dict[str, Any]:
        forms = []
        for key, member in value.items():
            try:
                forms.append(self.encode(member))
            except Mismatch as mismatch:
                mismatch.within(f"[{key!r}]")
                raise
        return object_of([self.encode(key) for key in value], forms)

    def instance(self, value: Any) -> dict[str, Any]:
        """A class's instance by the class's name where that can be imported and has fields, else pickled."""
        cls = type(value)
        if cls.__module__.startswith("flyte.io._"):
            return self._compile(cls).encode(value)  # type: ignore[no-any-return]
        if cls.__module__.partition(".")[0] in FRAME_LIBRARIES:
            from flyte.io._frames import library_of

            if (library := library_of(cls)) is not None:
                return {TAG: "frame", "library": library.title, "value": self._compile(cls).encode(value)}
        if has_form(cls) and _importable(cls):
            try:
                form = self._compile(cls).encode(value, True)
                return {TAG: "instance", "class": f"{cls.__module__}:{cls.__qualname__}", "value": form}
            except (Mismatch, TypeError, NameError):
                pass
        return pickled(value)

    def decode(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is list:
            return decode_items(obj, self)
        if kind is not dict:
            return obj
        tag = obj.get(TAG)
        if type(tag) is not str or tag == "dict":
            return self._decoded_dict(obj)
        if tag == "moment":
            return moment_from_tag(obj)
        if tag in _SCALAR_TAGS:
            return _SCALAR_TAGS[tag].decode(obj if tag == "int" else obj.get("value"))
        if tag in _SEQUENCES:
            items = obj.get("items")
            if type(items) is not list:
                raise Mismatch(f"the items of a {tag}", obj)
            return _built(_SEQUENCES[tag], decode_items(items, self), obj)
        if tag == "instance":
            return self._compile(_class_of(obj)).decode(obj.get("value"))
        if tag == "pickle":
            return unpickled(obj)
        if tag == "ref":
            from flyte.io._codecs import value_of  # only where a document has bulk data

            return value_of(obj)
        if tag == "frame":
            from flyte.io._codecs import frame_of

            return frame_of(obj)
        return self._decoded_dict(obj)

    def _decoded_dict(self, obj: dict[str, Any]) -> dict[Any, Any]:
        decoded = {}
        for text, form in pairs_of(obj):
            try:
                decoded[self.decode(text)] = self.decode(form)
            except Mismatch as mismatch:
                mismatch.within(f"[{text!r}]")
                raise
            except TypeError as error:
                raise Mismatch(self.name, obj, str(error)) from None
        return decoded

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {}

    def sample(self, depth: int = 0) -> Any:
        return {"key": "value"} if depth == 0 else "value"


def _built(kind: Any, members: list[Any], obj: Any) -> Any:
    try:
        return kind(members)
    except TypeError as error:
        raise Mismatch(kind.__name__, obj, str(error)) from None


def has_form(cls: type) -> bool:
    """Whether a class has a readable form: enums, dataclasses, Pydantic models, named tuples."""
    return (
        issubclass(cls, enum.Enum)
        or hasattr(cls, "__dataclass_fields__")
        or hasattr(cls, "__pydantic_decorators__")
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
    )


def _importable(cls: type) -> bool:
    if cls.__module__ == "__main__" or LOCAL in cls.__qualname__:
        return False
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is cls


def _class_of(obj: dict[str, Any]) -> Any:
    module, _, qualname = str(obj.get("class")).partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise Mismatch("an instance of an importable class", obj, str(error)) from None
    if not isinstance(found, type) or not has_form(found):
        raise Mismatch("an instance of a dataclass, model, named tuple or enum", obj)
    return found


def pickled(value: Any) -> dict[str, Any]:
    """The last resort: a pickle, marked as one, with the name of the value's class.

    Raises:
        Mismatch: The value cannot be pickled, or is nested too deeply.
    """
    import cloudpickle  # here, since few values need it and it takes time to load

    name = type_name(type(value))
    try:
        if isinstance(value, io.IOBase):
            raise TypeError("an open file belongs to this process")
        data = cloudpickle.dumps(value, protocol=PICKLE_PROTOCOL)
    except RecursionError:
        raise Mismatch("a value that can be serialised", value, "nested too deeply") from None
    except Exception as error:  # pickling runs the user's own __reduce__ and __getstate__
        reason = (
            f"{str(error)[:150] or type(error).__name__}; pass what the task needs to make its own {name}"
        )
        raise Unsendable(value, reason) from error
    _warn(type(value), name)
    if len(data) <= INLINE_PICKLE_BYTES:
        return {TAG: "pickle", "name": name, "data": bytes_to_text(data)}
    from flyte.io._pickles import stored_pickle  # long pickles are rare

    return {TAG: "pickle", "name": name, "file": stored_pickle(value, data, name)}


def _warn(cls: type, name: str) -> None:
    """Says once per type that it is pickled. Functions have no other form, and everybody knows."""
    if cls in _warned or issubclass(cls, _FUNCTIONS):
        return
    _warned.add(cls)
    from flyte._logging import logger

    logger.warning(
        "values of type %s are pickled, which ties them to this version of Python and of their library, and nobody can "
        "read them: use a dataclass, a Pydantic model or a file, or give the type a flyte.types.TypeTransformer",
        name,
    )


def unpickled(obj: dict[str, Any]) -> Any:
    """The value of a pickle.

    Raises:
        Mismatch: The pickle is damaged, or names code that is not here.
    """
    import cloudpickle  # pickles by value need it to be importable

    if "file" in obj:
        if probing.get():
            return None
        from flyte.io._pickles import fetched_pickle  # long pickles are rare

        data = fetched_pickle(obj["file"])
    else:
        data = bytes_from_text(str(obj.get("data")))
    try:
        return cloudpickle.loads(data)
    except Exception as error:  # unpickling runs the user's own __setstate__
        reason = f"cannot be unpickled here: {type(error).__name__}: {error}"
        raise Mismatch(f"a pickled {obj.get('name')}", f"<{obj.get('name')}>", reason) from error
