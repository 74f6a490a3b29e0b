"""Open files as tasks get them: blocking, or to be awaited."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import IO, Any

from flyte._availability import refuse
from flyte.io._places import Place

_MODES = frozenset({"r", "rb", "rt", "w", "wb", "wt"})
_SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".lzma": "xz"}
_COMPRESSIONS = ("gzip", "bz2", "xz", "lzma")


def check_options(
    mode: str, block_size: int | None, cache_type: str, cache_options: object, compression: str | None
) -> None:
    """Accepts the arguments of `open`.

    Raises:
        ValueError: One has no meaning.
        FeatureNotAvailableError: One is documented and not available; the message says what to do instead.
    """
    if mode not in _MODES:
        raise ValueError(
            f'mode={mode!r} must be "rb" or "wb", or "r" or "w" for text: stored files do not change'
        )
    if block_size is not None and (not isinstance(block_size, int) or block_size < 1):
        raise ValueError(f"block_size={block_size!r} must be a number of bytes above 0")
    if cache_type not in ("readahead", "none"):
        raise refuse(
            f"open(cache_type={cache_type!r})",
            "leave it out: files are on this host, or read in blocks of block_size",
        )
    if cache_options:
        raise refuse(
            f"open(cache_options={cache_options!r})", "set block_size=, which is what is read at once"
        )
    if compression not in (None, "infer", *_COMPRESSIONS):
        raise refuse(
            f"open(compression={compression!r})", f'use one of {", ".join(_COMPRESSIONS)} or "infer"'
        )


def opened(
    place: Place,
    location: str,
    mode: str,
    block_size: int | None,
    compression: str | None,
    hashed: Callable[[IO[bytes]], None] | None,
) -> IO[Any]:
    """Opens a location. A file that was written counts once it is closed.

    Args:
        place: Where the location is.
        location: The file.
        mode: How to open it.
        block_size: Bytes that are read at once.
        compression: What it is compressed with.
        hashed: Called with what was written, before that is stored.
    """
    if compression == "infer":
        compression = next((kind for suffix, kind in _SUFFIXES.items() if location.endswith(suffix)), None)
    writes = "w" in mode
    plain: Any = place.writer(location) if writes else place.reader(location, block_size)
    if hashed is not None:
        plain = _Finished(plain, hashed)
    file: Any = plain
    if compression is not None:
        file = _Compressed(plain, compression, "wb" if writes else "rb")
    return file if "b" in mode else _Text(file)


class _Finished:
    """A new file that is looked at before it is stored."""

    def __init__(self, file: Any, look: Callable[[IO[bytes]], None]) -> None:
        self._file = file
        self._look = look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Finished:
        return self

    def close(self) -> None:
        """Looks at it and stores it."""
        if not self._file.closed:
            self._file.flush()
            self._look(self._file)
            self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.discard()


class _Text(io.TextIOWrapper):
    """Text in UTF-8 around a file of bytes. An error in a `with` block discards what was written."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="utf-8")
        self._file = file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and hasattr(self._file, "discard"):
            self.detach()
            self._file.discard()
        else:
            self.close()


class _Compressed(io.BufferedIOBase):
    """A compressed file around a plain one."""

    def __init__(self, plain: Any, compression: str, mode: str) -> None:
        self._plain = plain
        self._mode = mode
        if compression == "gzip":
            import gzip

            self._file: Any = gzip.GzipFile(fileobj=plain, mode=mode)
        elif compression == "bz2":
            import bz2

            self._file = bz2.open(plain, mode)  # noqa: SIM115 - closed by `close`
        else:
            import lzma

            kind = lzma.FORMAT_ALONE if compression == "lzma" and mode == "wb" else None
            self._file = lzma.LZMAFile(plain, mode, format=kind)  # noqa: SIM115 - as above

    def readable(self) -> bool:
        return self._mode == "rb"

    def writable(self) -> bool:
        return self._mode == "wb"

    def seekable(self) -> bool:
        return self.readable()

    def read(self, size: int | None = -1, /) -> bytes:
        return self._file.read(-1 if size is None else size)  # type: ignore[no-any-return]

    def read1(self, size: int = -1, /) -> bytes:
        return self._file.read1(size)  # type: ignore[no-any-return]

    def write(self, data: Any, /) -> int:
        return self._file.write(data)  # type: ignore[no-any-return]

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)  # type: ignore[no-any-return]

    def tell(self) -> int:
        return self._file.tell()  # type: ignore[no-any-return]

    def discard(self) -> None:
        """Forgets what was written."""
        if not self.closed:
            self._plain.discard()
            super().close()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._plain.close()
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.writable():
            self.discard()
        else:
            self.close()

    def __del__(self) -> None:
        if self.writable() and not self.closed and hasattr(self._plain, "discard"):
            self.discard()


class AsyncFile:
    """An open file whose methods are awaited. Bytes move in a thread, so the event loop goes on.

    Example:
        ```python
        async def size(file: flyte.io.File) -> int:
            async with file.open("rb") as opened:
                return len(await opened.read())
        ```
    """

    def __init__(self, open_file: Callable[[], IO[Any]]) -> None:
        self._open = open_file
        self._file: Any = None

    async def __aenter__(self) -> AsyncFile:
        self._file = await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._file.__exit__, kind, error, trace)

    async def read(self, size: int = -1) -> Any:
        """Read up to `size` bytes (characters in text mode), everything by default."""
        return await asyncio.to_thread(self._file.read, size)

    async def readall(self) -> Any:
        """Read everything that is left."""
        return await self.read()

    async def readline(self) -> Any:
        """Read one line."""
        return await asyncio.to_thread(self._file.readline)

    async def readlines(self) -> list[Any]:
        """Read all lines that are left."""
        return await asyncio.to_thread(self._file.readlines)

    async def write(self, data: Any) -> int:
        """Append bytes (text in text mode); gives how many."""
        return int(await asyncio.to_thread(self._file.write, data))

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        return int(await asyncio.to_thread(self._file.seek, offset, whence))

    def tell(self) -> int:
        """The position."""
        return int(self._file.tell())

    async def flush(self) -> None:
        """Hand on what is buffered. The file counts once it is closed."""
        await asyncio.to_thread(self._file.flush)

    async def close(self) -> None:
        """Finish: what was written is stored."""
        await asyncio.to_thread(self._file.close)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._lines()

    async def _lines(self) -> AsyncIterator[Any]:
        while line := await self.readline():
            yield line
