"""`TypeTransformer` and the engine that knows them."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from typing import Any, ClassVar, Generic, TypeVar

from flyte._types._codec import RANK_OTHER, Codec, Definitions
from flyte._types._compile import UNTYPED, register
from flyte._types._mismatch import Mismatch
from flyte._types._moves import may_block

T = TypeVar("T")

ENTRY_POINTS = "flyte.plugins.types"
"""Group of entry points: each names a transformer, its class, or a function that registers some."""


class TypeTransformer(Generic[T]):
    """Writes values of one type for documents, and reads them back.

    A literal is any value that tasks take themselves: numbers, text, lists, dicts, bytes, files, data frames. The
    methods may be coroutines.

    Args:
        name: Name for messages.
        t: The type. Its subclasses are written with it as well.
        enable_type_assertions: Refuse values that are not of the type.
    """

    def __init__(self, name: str, t: type[T], enable_type_assertions: bool = True) -> None:
        if not isinstance(t, type):
            raise TypeError(f"TypeTransformer({name!r}): {t!r} is no class")
        self._name = name
        self._type = t
        self._checked = enable_type_assertions

    @property
    def name(self) -> str:
        """Name for messages."""
        return self._name

    @property
    def python_type(self) -> type[T]:
        """The type."""
        return self._type

    @property
    def type_assertions_enabled(self) -> bool:
        """Whether values of other types are refused."""
        return self._checked

    def get_literal_type(self, t: type[T]) -> dict[str, Any]:
        """The JSON Schema of literals, for launch forms and cache keys. Any value unless you say more."""
        return {}

    def to_literal(self, python_val: T, python_type: type[T], expected: dict[str, Any]) -> Any:
        """The literal of a value.

        Args:
            python_val: The value.
            python_type: The annotation.
            expected: What `get_literal_type` gave.
        """
        raise NotImplementedError(f"{type(self).__name__} has no to_literal")

    def to_python_value(self, lv: Any, expected_python_type: type[T]) -> Any:
        """The value of a literal.

        Args:
            lv: What `to_literal` gave.
            expected_python_type: The annotation.
        """
        raise NotImplementedError(f"{type(self).__name__} has no to_python_value")


class TypeEngine:
    """Knows the transformers: those that were registered, and those of installed packages."""

    _known: ClassVar[dict[type, TypeTransformer[Any]]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()
    _searched: ClassVar[bool] = False

    @classmethod
    def register(
        cls, transformer: TypeTransformer[Any], additional_types: Sequence[type] | None = None
    ) -> None:
        """Use a transformer for its type from now on.

        Args:
            transformer: The transformer.
            additional_types: More types that it writes.

        Raises:
            TypeError: It is none.
            ValueError: Another one is registered for the type.
        """
        if not isinstance(transformer, TypeTransformer):
            raise TypeError(f"{transformer!r} is no flyte.types.TypeTransformer")
        types = (transformer.python_type, *(additional_types or ()))
        with cls._lock:
            for each in types:
                known = cls._known.get(each)
                if known is not None and type(known) is not type(transformer):
                    raise ValueError(f"{each!r} has a transformer already: {known.name}")
            for each in types:
                cls._known[each] = transformer
        for each in types:
            register(each, _TransformedCodec(transformer, each))

    @classmethod
    def get_transformer(cls, python_type: type) -> TypeTransformer[Any]:
        """The transformer of a type.

        Raises:
            ValueError: There is none.
        """
        cls.load_plugins()
        for base in python_type.__mro__:
            if base in cls._known:
                return cls._known[base]
        raise ValueError(
            f"{python_type!r} has no transformer: give it one with flyte.types.TypeEngine.register"
        )

    @classmethod
    def load_plugins(cls) -> bool:
        """Load the transformers of installed packages, once; gives whether anything was loaded now."""
        with cls._lock:
            if cls._searched:
                return False
            cls._searched = True
        before = len(cls._known)
        for point in entry_points(group=ENTRY_POINTS):
            found = point.load()
            made = found() if callable(found) else found  # of a function that registers by itself: nothing
            if isinstance(made, TypeTransformer):
                cls.register(made)
        return len(cls._known) > before


class _TransformedCodec(Codec):
    """Values through a transformer of the user's."""

    rank = RANK_OTHER

    def __init__(self, transformer: TypeTransformer[Any], cls: type) -> None:
        self._transformer = transformer
        self._cls = cls
        self.name = transformer.name

    @property
    def identity(self) -> str:
        return f"{self._cls.__module__}.{self._cls.__qualname__}"

    def encode(self, value: Any, exact: bool = False) -> Any:
        transformer = self._transformer
        if transformer.type_assertions_enabled and not isinstance(value, self._cls):
            raise Mismatch(self.name, value)
        expected = transformer.get_literal_type(self._cls)
        return UNTYPED.encode(self._called(value, transformer.to_literal, value, self._cls, expected))

    def decode(self, obj: Any) -> Any:
        value = self._called(obj, self._transformer.to_python_value, UNTYPED.decode(obj), self._cls)
        if self._transformer.type_assertions_enabled and not isinstance(value, self._cls):
            raise Mismatch(self.name, obj, f"its transformer gave a {type(value).__name__}")
        return value

    def _called(self, value: Any, method: Any, *args: Any) -> Any:
        if inspect.iscoroutinefunction(method):
            may_block()
        try:
            return _awaited(method(*args))
        except Mismatch:
            raise
        except Exception as error:  # a transformer may raise anything
            raise Mismatch(self.name, value, f"{type(error).__name__}: {error}") from error

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"title": self.name, **self._transformer.get_literal_type(self._cls)}


def _awaited(result: Any) -> Any:
    if not inspect.isawaitable(result):
        return result

    async def main() -> Any:
        return await result

    if asyncio._get_running_loop() is None:
        return asyncio.run(main())
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, main()).result()
