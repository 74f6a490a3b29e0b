"""The Docker engine that builds: which images it holds, and what its registry holds."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import ssl
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from services.common.emulation import runs_platform
from services.common.errors import FailedPrecondition, Unavailable
from services.common.platforms import image_platform, normalised
from services.common.registry_credentials import RegistryCredentials
from services.common.registry_secrets import RegistrySecret, registry_of
from services.image_builder.engine_streams import Address, NotTakenOverError, in_thread, take_over

_SECONDS = 60
_CANCEL_SECONDS = 10.0
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
        self._address = Address("")
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

    async def take_over(
        self, path: str, headers: Sequence[tuple[str, str]]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Opens a connection on which the engine speaks HTTP/2, as the client.

        Raises:
            Unavailable: It is not reachable.
            FailedPrecondition: It does not know what this asks for (reason ``BUILDKIT_MISSING``).
        """
        api = (await self._connected()).api
        try:
            return await take_over(self._address, f"/v{api.api_version}{path}", headers)
        except NotTakenOverError as error:
            message = (
                f"image builds need a Docker engine with BuildKit: the one at {self._place} answers {path} with "
                f"{str(error)!r}. Use Docker Engine 20.10 or later, or name one in HANGAR_IMAGE_BUILDER_ENGINE"
            )
            raise FailedPrecondition(message, reason="BUILDKIT_MISSING") from error
        except OSError as error:
            raise self._unreachable(error) from error

    async def build(self, parameters: Mapping[str, str], on_event: Callable[[dict[str, Any]], None]) -> None:
        """Builds an image. Cancelled, it ends the build and waits for that.

        Args:
            parameters: Of the engine's `POST /build`, with the identity of the build as ``buildid``.
            on_event: Called with what the engine tells, its errors among that.

        Raises:
            Unavailable: The engine is not reachable, or ended before the build did.
        """
        api = (await self._connected()).api
        url = f"{api.base_url}/v{api.api_version}/build"

        def ask() -> Iterator[dict[str, Any]]:
            with api.post(url, params=parameters, stream=True, timeout=(_SECONDS, None)) as answer:
                for line in answer.iter_lines(chunk_size=None):
                    if line:
                        yield json.loads(line)

        building = asyncio.create_task(in_thread(ask, on_event))
        try:
            await asyncio.shield(building)
        except asyncio.CancelledError:
            ending = f"{url}/cancel?id={parameters['buildid']}"
            with suppress(Unavailable):
                await self._call(lambda client: client.api.post(ending, timeout=_CANCEL_SECONDS))
            await asyncio.wait([building], timeout=_CANCEL_SECONDS)
            building.cancel()
            raise
        except _failures() as error:
            raise self._unreachable(error) from error

    async def push(
        self, reference: str, on_line: Callable[[str], None], secret: RegistrySecret | None = None
    ) -> tuple[str, str]:
        """Pushes an image to its registry.

        Args:
            reference: Its address.
            on_line: Called with lines for people.
            secret: Credentials of its author, which go before the builder's.

        Returns:
            Its digest there, and what went wrong; one of them is empty.

        Raises:
            Unavailable: The engine is not reachable.
        """
        client = await self._connected()
        login = secret.login_for(reference) if secret is not None else None

        def ask() -> Iterator[dict[str, Any]]:
            if login is None:
                self._credentials.load_into(client.api)
            options = {"auth_config": login} if login is not None else {}
            repository, tag = _library().utils.parse_repository_tag(reference)
            yield from client.api.push(repository, tag or "latest", stream=True, decode=True, **options)

        digest = problem = ""

        def read(event: dict[str, Any]) -> None:
            nonlocal digest, problem
            digest = (event.get("aux") or {}).get("Digest") or digest
            problem = event.get("error") or problem
            if event.get("status") and not event.get("progressDetail"):
                on_line(f"{event['id']}: {event['status']}" if event.get("id") else event["status"])

        try:
            await in_thread(ask, read)
        except _library().errors.APIError as error:
            problem = str(error.explanation or error)
        except _failures() as error:
            raise self._unreachable(error) from error
        return ("" if problem else digest), problem

    def login(self, host: str) -> tuple[str, str]:
        """Returns user and password that the builder has for a registry's host; empty texts for none. May block.

        Raises:
            FailedPrecondition: The file of credentials cannot be used.
            docker.errors.DockerException: A credential helper fails.
        """
        config = _library().auth.load_config(self._credentials.file())
        found = config.resolve_authconfig(registry_of(f"{host}/")) or {}
        given = {name.lower(): value for name, value in found.items()}
        if given.get("identitytoken"):
            return "", str(given["identitytoken"])
        return str(given.get("username") or ""), str(given.get("password") or "")

    async def prune_cache(self, max_age_seconds: float) -> int:
        """Removes what BuildKit keeps and did not use for so long. Returns the bytes that it took.

        Raises:
            Unavailable: The engine is not reachable.
        """
        filters = {"until": f"{max(int(max_age_seconds), 0)}s"}
        freed = await self._call(lambda client: client.api.prune_builds(filters=filters, all=True))
        return int(freed["SpaceReclaimed"])

    async def _call(self, ask: Callable[[Any], T]) -> T:
        client = await self._connected()
        try:
            return await asyncio.to_thread(ask, client)
        except _library().errors.APIError:
            raise
        except _failures() as error:
            raise self._unreachable(error) from error

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                try:
                    self._client = await asyncio.to_thread(self._connect)
                except _failures() as error:
                    raise self._unreachable(error) from error
            return self._client

    @property
    def _place(self) -> str:
        return self._url or "DOCKER_HOST or the local socket"

    def _unreachable(self, error: Exception) -> Unavailable:
        message = (
            f"the Docker engine at {self._place} is not reachable ({error}): "
            "start it, or name another one in HANGAR_IMAGE_BUILDER_ENGINE"
        )
        return Unavailable(message, reason="ENGINE_UNAVAILABLE")

    def _connect(self) -> Any:
        docker = _library()
        address = {"base_url": self._url} if self._url else docker.utils.kwargs_from_env()
        # Asking for the version by ourselves closes the connection when the engine does not answer.
        probe = docker.APIClient(**address, version=_ANY_VERSION, timeout=_SECONDS)
        try:
            version = probe.version(api_version=False)["ApiVersion"]
        finally:
            probe.close()
        self._address = _address(address)
        client = docker.DockerClient(**address, version=version, timeout=_SECONDS)
        # Proxies and credentials in the configuration of the user's client are not for an engine.
        client.api.trust_env = False
        return client


def _address(address: Mapping[str, Any]) -> Address:
    docker = _library()
    url = docker.utils.parse_host(address.get("base_url"))
    tls = address.get("tls")
    if not tls:
        return Address(url)
    context = ssl.create_default_context(cafile=tls.ca_cert if tls.verify else None)
    if not tls.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls.cert:
        context.load_cert_chain(*tls.cert)
    return Address(url, context)


def _failures() -> tuple[type[Exception], ...]:
    """What the library raises when the engine is away."""
    return _library().errors.DockerException, OSError  # among these are the errors of requests


def _library() -> Any:
    """The Docker library, imported at its first use: it would cost every `hangar up` a tenth of a second."""
    import docker  # noqa: PLC0415

    return docker


def _time(text: str) -> datetime:
    """Reads a time of the engine, which has nanoseconds."""
    whole, _, _ = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole[:19]).replace(tzinfo=UTC)
