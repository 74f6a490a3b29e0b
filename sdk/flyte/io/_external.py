"""Data in object stores outside of the platform: opened by `obstore`, with this process's own credentials."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, ClassVar
from urllib.parse import unquote, urlsplit

from flyte import errors
from flyte.io._drafts import Spool
from flyte.io._packages import need
from flyte.io._ranges import BLOCK_BYTES, Ranges
from flyte.storage._settings import Storage, settings_for

_PIECE = 4 * 1024 * 1024
_PART_BYTES = 8 * 1024 * 1024
_AT_ONCE = 8
_HTTP = ("http", "https")


class ExternalPlace:
    """Objects behind `s3://`, `gs://`, `abfs://`, and `https://` for reading."""

    is_store: ClassVar[bool] = False

    def new(self, name: str) -> str:
        """Not asked for: new data goes to the platform's store."""
        raise NotImplementedError(name)

    def reader(self, location: str, block_size: int | None = None) -> IO[bytes]:
        """Opens an object, which is read in blocks."""
        obstore = _obstore(location)
        store, key = _opened(location)
        with _told(location):
            size = obstore.head(store, key)["size"]

        def fetch(start: int, end: int) -> Any:
            with _told(location):
                return obstore.get_range(store, key, start=start, end=end)

        return io.BufferedReader(Ranges(size, fetch), block_size or BLOCK_BYTES)

    def path(self, location: str) -> str | None:
        """None: the object is elsewhere."""
        return None

    def writer(self, location: str) -> IO[bytes]:
        """Opens a new object: a file of this machine until it is complete."""
        return Spool(lambda path: self.send(path, location))

    def size(self, location: str) -> int | None:
        """Bytes of an object, None when there is none."""
        obstore = _obstore(location)
        store, key = _opened(location)
        try:
            with _told(location):
                return int(obstore.head(store, key)["size"])
        except errors.RuntimeUserError as error:
            if error.code == "FileNotFound":
                return None
            raise

    def entries(self, location: str) -> list[tuple[str, int]]:
        """The objects below a prefix."""
        obstore = _obstore(location)
        store, key = _opened(location)
        prefix = f"{key.rstrip('/')}/" if key else ""
        with _told(location):
            found = [meta for batch in obstore.list(store, prefix=prefix or None) for meta in batch]
        return sorted(
            (meta["path"][len(prefix) :], meta["size"]) for meta in found if meta["path"].startswith(prefix)
        )

    def send(self, source: Path, location: str | None = None) -> str:
        """Uploads a file."""
        assert location is not None
        obstore = _obstore(location)
        store, key = _opened(location)
        if urlsplit(location).scheme in _HTTP:
            raise errors.RuntimeUserError("StorageReadOnly", f"{location} can be read, not written")
        with _told(location):
            obstore.put(store, key, source, chunk_size=_PART_BYTES, max_concurrency=_AT_ONCE)
        return location

    def send_all(self, root: Path, names: Sequence[str], location: str | None = None) -> str:
        """Uploads files."""
        assert location is not None
        base = location.rstrip("/")
        _each(lambda name: self.send(root / name, f"{base}/{_quoted(name)}"), names)
        return location

    def fetch(self, location: str, target: Path) -> None:
        """Downloads an object."""
        obstore = _obstore(location)
        store, key = _opened(location)
        with _told(location), target.open("wb") as file:
            for piece in obstore.get(store, key).stream(min_chunk_size=_PIECE):
                file.write(memoryview(piece))

    def fetch_all(self, location: str, names: Sequence[str], root: Path) -> None:
        """Downloads objects."""
        base = location.rstrip("/")
        _each(lambda name: self.fetch(f"{base}/{_quoted(name)}", root / name), names)


EXTERNAL = ExternalPlace()


def _obstore(location: str) -> Any:
    """The library that opens stores. Images of tasks have it when their authors add it."""
    return need("obstore", f"opening {location}")


def _opened(location: str) -> tuple[Any, str]:
    """The store of a URL, and the key in it.

    Raises:
        RuntimeUserError: The scheme is none that can be opened ("StorageUnknown").
    """
    parts = urlsplit(location)
    settings = settings_for(parts.scheme)
    if settings is None and parts.scheme not in _HTTP:
        raise errors.RuntimeUserError(
            "StorageUnknown",
            f"{location} cannot be opened: use a path, file://, s3://, gs://, abfs://, or https:// for reading",
        )
    return _store(f"{parts.scheme}://{parts.netloc}", settings), unquote(parts.path.lstrip("/"))


@lru_cache(maxsize=64)
def _store(root: str, settings: Storage | None) -> Any:
    stores = need("obstore.store", f"opening {root}")
    with _told(root):
        return stores.from_url(root, **(settings.options() if settings is not None else {}))


def _each(function: Callable[[str], object], names: Sequence[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(function, names))


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name)


@contextmanager
def _told(location: str) -> Iterator[None]:
    """Errors of the store as errors of the SDK."""
    exceptions = need("obstore.exceptions", f"opening {location}")
    try:
        yield
    except FileNotFoundError:
        raise errors.RuntimeUserError("FileNotFound", f"there is no {location}") from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
        raise errors.RuntimeUserError(
            "StorageRefused",
            f"the store of {location} refuses access: set its credentials in the environment (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, …) or with flyte.init(storage=…)",
        ) from None
    except exceptions.BaseError as error:
        reason = str(error).split("\n", 1)[0][:300]
        raise errors.RuntimeSystemError("StorageError", f"{location} cannot be used: {reason}") from error
