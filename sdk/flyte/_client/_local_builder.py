"""The image builder of this machine, for `image.builder: local`: that of the platform, which `hangar` brings.

One serves all commands of a user. Who uses it holds a shared lock on a file in its directory; it ends when nobody has
for a while, and at once when what it builds is wanted by nobody any more.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from flyte import errors
from flyte._client._addresses import BackendFile, data_directory, read_backend_file
from flyte._client._channel import Endpoint
from flyte._client._client import Client
from flyte._client._errors import UNAVAILABLE
from flyte._client._programs import (
    POLL_SECONDS,
    STOP_SECONDS,
    Program,
    end,
    find_hangar,
    is_ours,
    prepare_directory,
    process_exists,
)
from flyte._client._retry import Patience
from flyte._image_files import Archive
from flyte._version import __version__

_PATIENCE = Patience(first=5.0, later=2.0, watching=2.0)
"""It is on this machine: when it does not answer it has ended."""
_SETTINGS = re.compile(
    r"(PIP|UV|DOCKER|BUILDKIT|BUILDX|HANGAR|OTEL)_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CAINFO"
    r"|NODE_EXTRA_CA_CERTS|NETRC|\w+_proxy|PATH|HOME|XDG_CONFIG_HOME|XDG_RUNTIME_DIR",
    re.IGNORECASE,
)
"""Variables that change what a builder makes, or how."""
_NOT_ITS_OWN = (
    "HANGAR_TOKEN",
    "HANGAR_TOKEN_FILE",
    "HANGAR_IMAGE_BUILDER_HOST",
    "HANGAR_IMAGE_BUILDER_GRPC_PORT",
)
_NOT_INSTALLED = (
    "image.builder is local, and the image builder is not installed beside this SDK. Either install it:\n"
    "    pip install hangar\n"
    "or let the backend build: set image.builder to remote (flyte create config --builder remote)."
)


class LocalBuilder:
    """The image builder of this machine as a session uses it. Runs on the SDK's own loop."""

    def __init__(self) -> None:
        self._client: tuple[BackendFile, Client] | None = None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Its client. It is started when it does not run, and stays while this is open.

        Raises:
            flyte.errors.InitializationError: It is not installed, or does not start.
            flyte.errors.RuntimeSystemError: It has ended meanwhile.
        """
        directory = builder_directory()
        prepare_directory(directory)
        lock = _Lock(directory / "users")
        try:
            file = await _ensure(directory, lock)
            if self._client is None or self._client[0] != file:
                endpoint = Endpoint.parse(file.grpc, insecure=True)
                self._client = file, Client(endpoint, _PATIENCE, token=file.token())
            with _explained(directory):
                yield self._client[1]
        finally:
            lock.close()


def builder_directory() -> Path:
    """Where it keeps everything: beside the data of the embedded backend."""
    return data_directory() / "local-builder"


def keep_archives(archives: Iterable[Archive]) -> None:
    """Puts local files of images where the builder takes them from.

    Raises:
        ValueError: A file has changed since the definition was made.
        OSError: They cannot be written.
    """
    place = builder_directory() / "blobs" / "contexts"
    place.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        sha256, _ = archive.identity
        path = place / f"{sha256}.tar"
        with suppress(FileNotFoundError):
            os.utime(path)  # it is not removed as unused
            continue
        draft = place / f".{sha256}-{os.getpid()}-{time.monotonic_ns()}"
        try:
            with draft.open("w+b") as file:
                archive.write(file)
                file.seek(0)
                content = hashlib.sha256()
                while chunk := file.read(1 << 20):
                    content.update(chunk)
            if content.hexdigest() != sha256:
                raise ValueError("image: local files of the image changed while they were read: try again")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


class _Lock:
    """The lock on the file of users. It ends with this process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, *, alone: bool) -> bool:
        """Takes it, together with others or alone, in place of what was held. False when others prevent it."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Gives it back."""
        os.close(self._descriptor)


async def _ensure(directory: Path, lock: _Lock) -> BackendFile:
    """Finds the builder with the settings of this process, or starts it. The lock is held with others then."""
    identity = _identity()
    program = _program(directory, identity)
    told = time.monotonic() + 2.0
    while True:
        if lock.take(alone=False):
            found = await program.find()
            if found is not None and found.identity == identity:
                return found
            if found is not None and time.monotonic() > told:
                told = float("inf")
                _say(
                    "Waiting for the image builder of this machine: another program uses it with other settings …"
                )
            # Nobody starts or ends one but who is alone.
            if lock.take(alone=True):
                found = await program.find()
                if found is None or found.identity != identity:
                    found = await _start(program, directory)
                if lock.take(alone=False):
                    return found
        await asyncio.sleep(POLL_SECONDS)


async def _start(program: Program, directory: Path) -> BackendFile:
    command = find_hangar()
    if command is None:
        raise errors.InitializationError("ImageBuilderNotInstalledError", _NOT_INSTALLED)
    await _end_other(directory)
    found, _ = await program.start(command)
    return found


async def _end_other(directory: Path) -> None:
    """Ends the builder of other settings, which nobody uses."""
    file = read_backend_file(directory)
    if file is None or not process_exists(file.pid) or not await is_ours(file):
        return
    if not await end(file, STOP_SECONDS):
        raise errors.InitializationError(
            "ImageBuilderStartError",
            f"The image builder of this machine (process {file.pid}) does not end. To end it the hard way: "
            f"kill -9 {file.pid}",
        )


def _program(directory: Path, identity: str) -> Program:
    return Program(
        "The image builder of this machine",
        ("serve", "image-builder", "--while-used", identity),
        directory,
        "ImageBuilderStartError",
        "image-builder.log",
        removed=_NOT_ITS_OWN,
    )


def _identity() -> str:
    """What tells the settings that a builder is started with from others."""
    own = sorted((name, value) for name, value in os.environ.items() if _SETTINGS.fullmatch(name))
    installation = (__version__, sys.prefix, find_hangar() or "")
    return hashlib.blake2b(repr((installation, own)).encode(errors="replace"), digest_size=16).hexdigest()


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Says of a builder that does not answer any more where its log is."""
    try:
        yield
    except errors.RuntimeSystemError as error:
        if error.code != UNAVAILABLE:
            raise
        log = _program(directory, "").log_path
        raise errors.RuntimeSystemError(
            "ImageBuilderUnavailableError",
            f"The image builder of this machine has ended; run the command again. Its log: {log}",
        ) from None


def _say(text: str) -> None:
    from flyte._client._embedded import say_to_stderr

    say_to_stderr(text)
