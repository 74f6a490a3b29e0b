"""Content hashes: what stands for data in cache keys and lineage, instead of where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any, Protocol, runtime_checkable

_PIECE = 1024 * 1024


@runtime_checkable
class HashMethod(Protocol):
    """Computes a hash of bytes as they go by.

    Example:
        ```python
        class Length:
            def __init__(self) -> None:
                self.size = 0

            def update(self, data: memoryview) -> None:
                self.size += len(data)

            def result(self) -> str:
                return str(self.size)

        assert isinstance(Length(), flyte.io.HashMethod)
        ```
    """

    def update(self, data: Any, /) -> None:
        """Take the next piece."""

    def result(self) -> str:
        """The hash of all pieces so far."""


class HashFunction:
    """A hash of a data frame, computed by a function: ``Annotated[pd.DataFrame, HashFunction.from_fn(fn)]``.

    Tasks with a cache then find results by the hash, wherever the frame is stored.

    Example:
        ```python
        by_rows = flyte.io.HashFunction.from_fn(lambda frame: str(len(frame)))
        assert by_rows([1, 2]) == "2"
        ```
    """

    def __init__(self, fn: Callable[[Any], str]) -> None:
        if not callable(fn):
            raise TypeError(f"HashFunction takes a function from a value to text, not {fn!r}")
        self._fn = fn

    @classmethod
    def from_fn(cls, fn: Callable[[Any], str]) -> HashFunction:
        """A hash by a function.

        Args:
            fn: Gets the value, gives its hash as text.
        """
        return cls(fn)

    def __call__(self, value: Any) -> str:
        """The hash of a value.

        Raises:
            TypeError: The function gave something else than text.
        """
        found = self._fn(value)
        if not isinstance(found, str) or not found:
            raise TypeError(f"the hash function gave {found!r}: it must give text that is not empty")
        return found


def hash_of(method: object, file: IO[bytes] | None) -> str | None:
    """The content hash that a `hash_method` argument means.

    Args:
        method: The hash itself, an object of `hashlib`, a `HashMethod`, or None.
        file: What to hash, at its beginning; None when there is nothing to read yet.

    Raises:
        TypeError: It is none of these.
    """
    if method is None:
        return None
    if isinstance(method, str):
        return method or None
    check_method(method)
    if file is not None:
        while piece := file.read(_PIECE):
            method.update(piece)  # type: ignore[attr-defined]
    return result_of(method)


def check_method(method: object) -> None:
    """Accepts what `hash_method` takes.

    Raises:
        TypeError: It is something else.
    """
    if method is None or isinstance(method, str):
        return
    if isinstance(method, HashFunction):
        raise TypeError(
            "HashFunction is for data frames: give a file hash_method=hashlib.sha256(), a flyte.io.HashMethod, or the "
            "hash itself as text"
        )
    if not hasattr(method, "update") or not (hasattr(method, "result") or hasattr(method, "hexdigest")):
        raise TypeError(
            f"hash_method={method!r} must be the hash as text, an object such as hashlib.sha256(), or a "
            "flyte.io.HashMethod with update(data) and result()"
        )


def result_of(method: Any) -> str:
    """The hash that a method has computed."""
    return str(method.result() if hasattr(method, "result") else method.hexdigest())
