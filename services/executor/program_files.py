"""Files and directories of programs: fetched from the blob store before the start, stored after the end."""

import asyncio
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.common.errors import InvalidArgument
from services.executor.leases import Lease
from services.executor.objects import Objects
from services.executor.outgoing import Outgoing
from services.executor.reach import CODE, NotInReachError
from services.executor.reaches import Reaches

PLACES = frozenset({"file", "dir"})
"""Formats of schemas whose values are references to files or directories."""


class ProgramError(Exception):
    """Inputs cannot be given to a program, or it has not written what its task declares. A failure of kind USER.

    Attributes:
        code: Such as "OutputMissing", "OutputInvalid" or "InlineIOMaxBytesBreached".
        message: What is wrong with which input or file.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ProgramFiles:
    """Moves what references stand for between the blob store and directories of programs.

    Args:
        objects: The blob store and what is kept of it on this host.
        reaches: Says what a lease may read.
        outgoing: Shows why the store is waited for.
    """

    def __init__(self, objects: Objects, reaches: Reaches, outgoing: Outgoing) -> None:
        self._objects = objects
        self._reaches = reaches
        self._outgoing = outgoing

    async def bring(self, lease: Lease, name: str, reference: Any, path: Path) -> None:
        """Copies what an input refers to.

        Raises:
            ProgramError: It is not in the blob store, or not in reach of the lease.
            HangarError: It is gone.
            OSError: It cannot be written.
        """
        key = reference.get("key") if isinstance(reference, dict) else None
        if not isinstance(key, str):
            where = reference.get("uri") if isinstance(reference, dict) else reference
            raise ProgramError(
                "InputNotStored",
                f"input {name!r} is at {where}, which this host does not open: store it with File.from_local or "
                "Dir.from_local, and pass that",
            )
        waiting = self._outgoing.explains(lease.lease_id, "the inputs cannot be fetched yet")
        try:
            self._reaches.of(lease).check_get(key)
        except NotInReachError as error:
            raise ProgramError(CODE, error.message) from error
        if not key.endswith("/"):
            await self._copy(key, path, waiting)
            return
        path.mkdir(exist_ok=True)
        listing = await self._objects.listing(key, waiting)
        for found, _size in await asyncio.to_thread(_listed, listing):
            inside = path / found.removeprefix(key)
            inside.parent.mkdir(parents=True, exist_ok=True)
            await self._copy(found, inside, waiting)

    async def _copy(self, key: str, path: Path, waiting: Any) -> None:
        await asyncio.to_thread(_write_out, await self._objects.open(key, waiting), path)

    async def keep(self, lease: Lease, name: str, kind: str, path: Path, shown: str) -> dict[str, Any]:
        """Stores an output below the prefix of its attempt, and returns the reference to it.

        Raises:
            ProgramError: There is no such file or directory, or something in it cannot be stored.
            HangarError: The store refuses it.
            OSError: It cannot be read.
        """
        key = f"{lease.prefix}/data/{name}"
        waiting = self._outgoing.explains(lease.lease_id, "the outputs cannot be stored yet")
        if kind == "dir":
            key += "/"
            drafts = await asyncio.to_thread(
                lambda: {key + each: path / each for each in _names(path, shown)}
            )
        else:
            if not _has_mode(path, stat.S_ISREG):
                raise ProgramError(
                    "OutputMissing", f"the program exited with code 0 and {shown} is no plain file"
                )
            drafts = {key: path}
        try:
            await self._objects.store(drafts, waiting)
        except InvalidArgument as error:
            raise ProgramError("OutputInvalid", f"{shown} cannot be stored: {error.message}") from error
        return {"$type": "ref", "kind": kind, "key": key}


def _listed(descriptor: int) -> list[list[Any]]:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        found: list[list[Any]] = json.load(file)
    return found


def _write_out(descriptor: int, path: Path) -> None:
    with os.fdopen(descriptor, "rb") as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _names(directory: Path, shown: str) -> Iterator[str]:
    """Plain files below a directory, by their paths in it.

    Raises:
        ProgramError: It is no directory, or something in it is neither a plain file nor a directory.
    """
    if not _has_mode(directory, stat.S_ISDIR):
        raise ProgramError("OutputMissing", f"the program exited with code 0 and {shown} is no directory")
    for place, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(place, name)
            inside = path.relative_to(directory)
            if name in directories and _has_mode(path, stat.S_ISDIR):
                continue
            if not _has_mode(path, stat.S_ISREG):
                raise ProgramError(
                    "OutputInvalid", f"{shown}/{inside} is neither a plain file nor a directory"
                )
            yield str(inside)


def _has_mode(path: Path, test: Any) -> bool:
    try:
        return bool(test(path.lstat().st_mode))
    except OSError:
        return False
