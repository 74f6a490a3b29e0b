"""Where bulk data is: the platform's store, this machine, or somewhere else.

A location is a URL: `hangar://KEY` in the platform's store, a path or `file://…` on this machine, anything else is
opened by `obstore` in this process. New data goes to where the code runs: inside a worker and from a client to the
store, in local mode to a directory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, ClassVar, Protocol
from urllib.parse import unquote, urlsplit

from flyte import errors
from flyte._context import ctx, current_controller

STORE = "hangar://"
"""How locations in the platform's store begin."""


class Place(Protocol):
    """Files and directories. Everything blocks; nothing is held in memory as a whole.

    Attributes:
        is_store: Whether it is the platform's store.
    """

    is_store: ClassVar[bool]

    def new(self, name: str) -> str:
        """A location for a new file or, with a slash at the end, a directory, that nobody has used before."""

    def reader(self, location: str, block_size: int | None = None) -> IO[bytes]:
        """Open for reading, at any position."""

    def path(self, location: str) -> str | None:
        """A path under which libraries find a file for as long as the task runs, None where there is none."""

    def writer(self, location: str) -> IO[bytes]:
        """Open a new file for writing and reading. It counts once it is closed; `discard` forgets it."""

    def size(self, location: str) -> int | None:
        """Bytes of a file, None when there is none."""

    def entries(self, location: str) -> list[tuple[str, int]]:
        """Paths below a directory, parted by slashes, with sizes, in order."""

    def send(self, source: Path, location: str | None = None) -> str:
        """Copy a file of this machine to a location, a new one unless given; returns it."""

    def send_all(self, root: Path, names: Sequence[str], location: str | None = None) -> str:
        """Copy files below a directory of this machine; returns the location of the new directory."""

    def fetch(self, location: str, target: Path) -> None:
        """Copy a file to this machine."""

    def fetch_all(self, location: str, names: Sequence[str], root: Path) -> None:
        """Copy files of a directory to a directory of this machine."""


_home: ContextVar[Place | None] = ContextVar("flyte_place", default=None)


@contextmanager
def at_home(place: Place) -> Iterator[None]:
    """New data goes to this place, whatever else holds."""
    token = _home.set(place)
    try:
        yield
    finally:
        _home.reset(token)


def home() -> Place:
    """Where new data goes."""
    place = _home.get()
    if place is not None:
        return place
    context = ctx()
    if context is not None and context.mode == "local":
        return _local()
    return _store() or _local()


def place_of(location: str) -> Place:
    """What opens a location.

    Raises:
        RuntimeUserError: It is in the platform's store, which cannot be asked from here ("NoBackend").
    """
    scheme = urlsplit(location).scheme if "://" in location else ""
    if location.startswith(STORE):
        place = _home.get()
        store = place if place is not None and place.is_store else _store()
        if store is None:
            raise errors.RuntimeUserError(
                "NoBackend",
                f"{location} is in the store of a backend, and this program is connected to none: "
                "call flyte.init(endpoint=…) or flyte.init_from_config() first",
            )
        return store
    if scheme in ("", "file"):
        return _local()
    from flyte.io._external import EXTERNAL

    return EXTERNAL


def local_path(location: str) -> Path | None:
    """The path of a location on this machine, None for others."""
    if location.startswith("file://"):
        return Path(unquote(urlsplit(location).path))
    return None if "://" in location else Path(location).expanduser()


def name_of(location: str) -> str:
    """The last part of a location, in the user's spelling."""
    from flyte.io._names import from_key

    last = location.rstrip("/").rpartition("/")[2]
    if location.startswith(STORE):
        return from_key(last)
    return unquote(last) if "://" in location else last


def _store() -> Place | None:
    """The platform's store as it is reached from here: through the executor, or as a client."""
    objects = getattr(current_controller(), "objects", None)
    if objects is not None:
        from flyte.io._lease_place import LeasePlace

        return LeasePlace(objects)
    from flyte._initialize import current_session
    from flyte._loading import in_worker

    session = None if in_worker() else current_session()
    if session is None:
        return None
    from flyte._client._data import ClientPlace

    return ClientPlace(session)


def _local() -> Place:
    from flyte.io._local_place import LocalPlace

    return LocalPlace()


def raw_data_path() -> Path:
    """Where local mode, and programs without a backend, put data."""
    context = ctx()
    if context is not None and context.mode == "local" and context.raw_data_path:
        return Path(context.raw_data_path)
    base = Path(tempfile.gettempdir()) / "flyte" / "raw_data"
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError:  # somebody else's file is there
        return Path(tempfile.mkdtemp(prefix="flyte-"))
    return base if os.access(base, os.W_OK) else Path(tempfile.mkdtemp(prefix="flyte-"))
