"""The Docker engine that builds: which images it holds, and what its registry holds."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from services.common.emulation import runs_platform
from services.common.errors import FailedPrecondition, Unavailable
from services.common.platforms import image_platform, normalised
from services.common.registry_credentials import RegistryCredentials
from services.common.registry_secrets import RegistrySecret

_SECONDS = 60
_REFUSED_SECONDS = 10.0
"""How long it counts that a kernel did not run another platform: somebody may install emulation at any time."""
_ANY_VERSION = "1.41"
NO_CREDENTIALS = RegistryCredentials(None, "HANGAR_IMAGE_BUILDER_REGISTRY_CREDENTIALS")
"""Those of Docker's command line."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that an engine holds.

    Attributes:
        identity: The engine's identity of it.
        labels: Its labels.
        size_bytes: Its size.
        created_at: When it was made.
        platform: Operating system and architecture.
        repo_digests: Its digests in registries, each behind the name of a repository.
    """

    identity: str
    labels: dict[str, str]
    size_bytes: int
    created_at: datetime
    platform: str
    repo_digests: tuple[str, ...] = ()


class BuilderEngine:
    """A Docker engine.

    Args:
        url: Its URL; empty for ``DOCKER_HOST``, else the local socket.
        credentials: What registries want to be shown.
    """

    def __init__(self, url: str, credentials: RegistryCredentials = NO_CREDENTIALS) -> None:
        self._url = url
        self._credentials = credentials
        self._client: Any = None
        self._platform = ""
        self._runs: dict[str, bool] = {}
        self._refused_until: dict[str, float] = {}
        self._identity = ""
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Closes connections."""
        client, self._client = self._client, None
        if client is not None:
            await asyncio.to_thread(client.close)

    async def platform(self) -> str:
        """Returns the engine's platform, such as "linux/amd64".

        Raises:
            Unavailable: The engine is not reachable (reason ``ENGINE_UNAVAILABLE``).
        """
        if not self._platform:
            version = await self._call(lambda client: client.version())
            self._platform = normalised(f"{version['Os']}/{version['Arch']}")
        return self._platform

    async def runs(self, platform: str) -> bool:
        """Says whether the engine's kernel runs programs of a platform, by itself or by emulation. It is tried out.

        Raises:
            Unavailable: The engine is not reachable.
        """
        if platform == await self.platform() or self._runs.get(platform):
            return True
        if time.monotonic() < self._refused_until.get(platform, 0.0):
            return False
        if await self._call(lambda client: runs_platform(client.api, platform)):
            self._runs[platform] = True
            return True
        self._refused_until[platform] = time.monotonic() + _REFUSED_SECONDS
        return False

    async def identity(self) -> str:
        """Returns what tells the engine from others, on this machine too.

        Raises:
            Unavailable: The engine is not reachable (reason ``ENGINE_UNAVAILABLE``).
        """
        if not self._identity:
            info = await self._call(lambda client: client.info())
            # Engines of one machine may share their ID: that of 20.10 is a file outside of what each has of its own.
            parts = [info["ID"], info["Name"], info["DockerRootDir"]]
            self._identity = hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
        return self._identity

    async def image(self, reference: str) -> StoredImage | None:
        """Returns an image that the engine holds, None when it does not.

        Raises:
            Unavailable: The engine is not reachable.
        """
        try:
            found = await self._call(lambda client: client.api.inspect_image(reference))
        except _library().errors.ImageNotFound:
            return None
        return StoredImage(
            identity=str(found["Id"]),
            labels=dict(found["Config"].get("Labels") or {}),
            size_bytes=int(found["Size"]),
            created_at=_time(found["Created"]),
            platform=image_platform(found),
            repo_digests=tuple(found.get("RepoDigests") or ()),
        )

    async def registry_digest(self, reference: str, secret: RegistrySecret | None = None) -> str:
        """Returns the digest of an image in its registry, empty when it is not there or the registry does not say.

        Args:
            reference: The image.
            secret: Credentials of its author, which go before the builder's.
        """
        found = await self._distribution(reference, secret)
        return str(found["Descriptor"]["digest"]) if found else ""

    async def registry_platforms(
        self, reference: str, secret: RegistrySecret | None = None
    ) -> tuple[str, ...]:
        """Returns the platforms of an image in its registry, none when it does not say. See `registry_digest`."""
        found = await self._distribution(reference, secret)
        platforms = (found.get("Platforms") or ()) if found else ()
        lower = ({key.capitalize(): value for key, value in each.items()} for each in platforms)
        return tuple(image_platform(each) for each in lower)

    async def _distribution(self, reference: str, secret: RegistrySecret | None) -> Any:
        login = secret.login_for(reference) if secret is not None else None

        def ask(client: Any) -> Any:
            if login is not None:
                return client.api.inspect_distribution(reference, auth_config=login)
            self._credentials.load_into(client.api)
            return client.api.inspect_distribution(reference)

        try:
            return await self._call(ask)
        except _library().errors.APIError:
            return None

    async def pull(self, reference: str, platform: str, secret: RegistrySecret | None = None) -> None:
        """Pulls an image.

        Args:
            reference: The image.
            platform: The one of several platforms.
            secret: Credentials of an author, which go before the builder's.

        Raises:
            Unavailable: It cannot be had now (reason ``BASE_IMAGE_NOT_PULLED``).
        """
        login = secret.login_for(reference) if secret is not None else None

        def pull(client: Any) -> None:
            options = {"auth_config": login} if login is not None else {}
            if login is None:
                self._credentials.load_into(client.api)
            repository, tag = _library().utils.parse_repository_tag(reference)
            for event in client.api.pull(
                repository, tag or "latest", stream=True, decode=True, platform=platform, **options
            ):
                if "error" in event:
                    raise _library().errors.APIError(str(event["error"]))

        try:
            await self._call(pull)
        except _library().errors.APIError as error:
            message = f"image {reference} cannot be pulled: {error.explanation or error}"
            raise Unavailable(message, reason="BASE_IMAGE_NOT_PULLED") from error

    async def labelled(self, label: str) -> list[StoredImage]:
        """Returns the images that have a label, or a label with a value (``label=value``)."""
        found = await self._call(lambda client: client.api.images(filters={"label": label}))
        return [
            StoredImage(
                str(each["Id"]),
                dict(each["Labels"] or {}),
                int(each["Size"]),
                datetime.fromtimestamp(each["Created"], UTC),
                "",
            )
            for each in found
        ]

    async def read_file(self, reference: str, path: str) -> bytes:
        """Returns a file of an image, empty when it has none, or is not here. Nothing is started for it."""

        def read(client: Any) -> bytes:
            try:
                container = client.api.create_container(reference, command=["true"])["Id"]
            except _library().errors.ImageNotFound:
                return b""
            try:
                stream, _ = client.api.get_archive(container, path)
                with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
                    member = archive.extractfile(archive.getmembers()[0])
                    return member.read() if member is not None else b""
            except _library().errors.NotFound:
                return b""
            finally:
                client.api.remove_container(container, force=True)

        return await self._call(read)

    async def remove(self, reference: str) -> None:
        """Removes a name of an image, and the image with the last one; what is not there is no error.

        Raises:
            FailedPrecondition: A container uses it (reason ``IMAGE_IN_USE``).
        """
        try:
            await self._call(lambda client: client.api.remove_image(reference))
        except _library().errors.ImageNotFound:
            return
        except _library().errors.APIError as error:
            message = f"image {reference} cannot be removed: {error.explanation or error}"
            raise FailedPrecondition(message, reason="IMAGE_IN_USE") from error

    async def tag(self, reference: str, other: str) -> None:
        """Gives an image a further name."""
        repository, _, tag = other.rpartition(":")
        if not repository or "/" in tag:
            repository, tag = other, "latest"
        await self._call(lambda client: client.api.tag(reference, repository, tag, force=True))

    async def _call(self, ask: Callable[[Any], T]) -> T:
        try:
            async with self._opening:
                if self._client is None:
                    self._client = await asyncio.to_thread(self._connect)
            return await asyncio.to_thread(ask, self._client)
        except _library().errors.APIError:
            raise
        except (_library().errors.DockerException, OSError) as error:
            message = (
                f"the Docker engine at {self._url or 'DOCKER_HOST or the local socket'} is not reachable ({error}): "
                "start it, or name another one in HANGAR_IMAGE_BUILDER_ENGINE"
            )
            raise Unavailable(message, reason="ENGINE_UNAVAILABLE") from error

    def _connect(self) -> Any:
        docker = _library()
        address = {"base_url": self._url} if self._url else docker.utils.kwargs_from_env()
        # Asking for the version by ourselves closes the connection when the engine does not answer.
        probe = docker.APIClient(**address, version=_ANY_VERSION, timeout=_SECONDS)
        try:
            version = probe.version(api_version=False)["ApiVersion"]
        finally:
            probe.close()
        return docker.DockerClient(**address, version=version, timeout=_SECONDS)


def _library() -> Any:
    """The Docker library, imported at its first use: it would cost every `hangar up` a tenth of a second."""
    import docker  # noqa: PLC0415

    return docker


def _time(text: str) -> datetime:
    """Reads a time of the engine, which has nanoseconds."""
    whole, _, _ = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole[:19]).replace(tzinfo=UTC)
