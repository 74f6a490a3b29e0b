"""The code of runs and deployed tasks, as it was sent."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from flyte import errors
from flyte._client._transfer import get
from hangar.admin.v1 import data_service_pb2, task_service_pb2

if TYPE_CHECKING:
    from flyte._initialize import Session

_PLATFORMS_OWN = ".flyte/"
"""What the SDK adds to bundles: nobody wrote it."""


async def download_code(session: Session, task: task_service_pb2.Task, destination: Path | str) -> list[Path]:
    """Writes the files of a task's code bundle below a directory, which is made.

    Raises:
        ValueError: The directory has files already.
        flyte.errors.RuntimeUserError: The code is in the image (code "CodeInImageError"), or the bundle is gone.
    """
    digest = task.spec.code.bundle_digest
    if not digest:
        raise errors.RuntimeUserError(
            "CodeInImageError", f"the code of task {task.spec.name} is in its image: there is no bundle of it"
        )
    place = Path(destination).expanduser()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ValueError(f"{place} exists and is not an empty directory: name another one")
    client = await session.client()
    request = data_service_pb2.CreateDownloadsRequest(
        project=task.project, domain=task.domain, keys=[f"code/{digest}.tar.gz"]
    )

    async def url() -> str:
        [found] = (await client.call(client.data.CreateDownloads, request)).downloads
        if not found.exists:
            raise errors.RuntimeUserError(
                "CodeNotFoundError",
                f"the code bundle {digest} of task {task.spec.name} is not stored any more",
            )
        return found.url

    archive = await get(await url(), url)
    return await asyncio.to_thread(_unpack, archive, place)


def _unpack(archive: bytes, place: Path) -> list[Path]:
    """Writes the regular files of an archive, and refuses everything else: bundles have nothing else."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as bundle:
        members = bundle.getmembers()
        for member in members:
            name = PurePosixPath(member.name)
            if not (member.isfile() or member.isdir()) or name.is_absolute() or ".." in name.parts:
                raise errors.CodeBundleError(
                    f"the code bundle is refused: {member.name!r} is no file below its root"
                )
        place.mkdir(parents=True, exist_ok=True)
        written = []
        for member in members:
            content = bundle.extractfile(member) if member.isfile() else None
            if content is None or member.name.startswith(_PLATFORMS_OWN):
                continue
            path = place / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
            path.chmod(0o755 if member.mode & 0o100 else 0o644)
            written.append(path)
    return written
