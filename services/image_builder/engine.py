"""The Docker engine that builds: which images it holds, and what its registry holds."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import ssl
import tarfile
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from services.common.emulation import runs_platform
from services.common.errors import FailedPrecondition, Unavailable
from services.common.platforms import image_platform, normalised
from services.common.registry_credentials import RegistryCredentials
from services.common.registry_secrets import RegistrySecret, registry_of
from services.image_builder.engine_streams import (
    Address,
    Headers,
    NotTakenOverError,
    Streams,
    events,
    fetch,
    in_thread,
    take_over,
)

_SECONDS = 60
_CONNECT_SECONDS = 10
_CANCEL_SECONDS = 10.0
_HELPER_SECONDS = 30.0
_REGISTRY_SECONDS = 30.0
_TRANSFER_SECONDS = 300.0
"""Longest silence of a pull or a push."""
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
        version = (await self._connected()).api.api_version
        path = f"/v{version}/images/{quote(reference, safe='/:@')}/json"
        try:
            status, content = await fetch(self._address, path, _SECONDS)
            if status == HTTPStatus.NOT_FOUND:
                return None
            found = json.loads(content)
            if status != HTTPStatus.OK:
                raise ConnectionError(f"it answers {status}: {found.get('message')}")
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error
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
        login = await self._login_for(reference, secret)
        try:
            async with asyncio.timeout(_REGISTRY_SECONDS):
                return await self._call(lambda client: client.api.inspect_distribution(reference, login))
        except _library().errors.APIError:
            return None
        except TimeoutError as error:
            message = (
                f"the registry {registry_of(reference)} did not answer the Docker engine for {_REGISTRY_SECONDS:g} s, "
                f"which asked for {reference}"
            )
            raise Unavailable(message, reason="REGISTRY_UNAVAILABLE") from error

    async def pull(self, reference: str, platform: str, secret: RegistrySecret | None = None) -> None:
        """Pulls an image.

        Args:
            reference: The image.
            platform: The one of several platforms.
            secret: Credentials of an author, which go before the builder's.

        Raises:
            Unavailable: It cannot be had now (reason ``BASE_IMAGE_NOT_PULLED``).
        """
        repository, tag = _library().utils.parse_repository_tag(reference)
        asked = {"fromImage": repository, "tag": tag or "latest", "platform": platform}
        path = f"/images/create?{urlencode(asked)}"
        problem = await self._transfer(path, reference, secret, lambda event: None)
        if problem:
            message = f"image {reference} cannot be pulled: {problem}"
            raise Unavailable(message, reason="BASE_IMAGE_NOT_PULLED")

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

    async def take_over(self, path: str, headers: Headers) -> Streams:
        """Opens a connection on which the engine speaks HTTP/2, as the client.

        Raises:
            Unavailable: It is not reachable.
            FailedPrecondition: It does not know what this asks for (reason ``BUILDKIT_MISSING``).
        """
        version = (await self._connected()).api.api_version
        try:
            return await take_over(self._address, f"/v{version}{path}", headers)
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
        building = asyncio.create_task(self._listen(f"/build?{urlencode(parameters)}", on_event))
        try:
            await asyncio.shield(building)
        except asyncio.CancelledError:
            ending = f"/build/cancel?{urlencode({'id': parameters['buildid']})}"
            with suppress(TimeoutError, Unavailable):  # its connections end in any case
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await self._listen(ending, lambda event: None)
                    await asyncio.wait([building])
            raise
        finally:
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)

    async def push(
        self, reference: str, on_line: Callable[[str], None], secret: RegistrySecret | None = None
    ) -> tuple[str, str]:
        """Pushes an image to its registry. Cancelled, it ends that.

        Args:
            reference: Its address.
            on_line: Called with lines for people.
            secret: Credentials of its author, which go before the builder's.

        Returns:
            Its digest there, and what went wrong; one of them is empty.

        Raises:
            Unavailable: The engine is not reachable.
            FailedPrecondition: The builder's credentials cannot be had.
        """
        digest = ""

        def read(event: dict[str, Any]) -> None:
            nonlocal digest
            digest = (event.get("aux") or {}).get("Digest") or digest
            if event.get("status") and not event.get("progressDetail"):
                on_line(f"{event['id']}: {event['status']}" if event.get("id") else event["status"])

        repository, tag = _library().utils.parse_repository_tag(reference)
        path = f"/images/{quote(repository, safe='/:')}/push?{urlencode({'tag': tag or 'latest'})}"
        problem = await self._transfer(path, reference, secret, read)
        return ("" if problem else digest), problem

    async def login(self, host: str) -> dict[str, str]:
        """Returns what the builder has to show to a registry, nothing when that is nothing.

        Args:
            host: Host and port of the registry.

        Raises:
            FailedPrecondition: The file of credentials cannot be used, or a credential helper fails or does not answer
                (reason ``REGISTRY_CREDENTIALS_INVALID``).
        """

        def find() -> dict[str, str]:
            config = _library().auth.load_config(self._credentials.file())
            return dict(config.resolve_authconfig(registry_of(f"{host}/")) or {})

        try:
            async with asyncio.timeout(_HELPER_SECONDS):
                found = await in_thread(find)
        except (_library().errors.DockerException, ValueError, TimeoutError) as error:
            problem = str(error) or f"its credential helper did not answer for {_HELPER_SECONDS:g} s"
            raise self._credentials.unusable(host, problem) from error
        return {name.lower(): str(value) for name, value in found.items() if value}

    async def _login_for(self, reference: str, secret: RegistrySecret | None) -> dict[str, str]:
        """What is shown to the registry of an image: its author's credentials, else the builder's."""
        login = secret.login_for(reference) if secret is not None else None
        return login if login is not None else await self.login(registry_of(reference))

    async def _transfer(
        self,
        path: str,
        reference: str,
        secret: RegistrySecret | None,
        on_event: Callable[[dict[str, Any]], None],
    ) -> str:
        """Has the engine pull or push an image. Returns what went wrong, empty for nothing."""
        login = await self._login_for(reference, secret)
        shown = base64.urlsafe_b64encode(json.dumps(login).encode()).decode()
        problem = ""

        def read(event: dict[str, Any]) -> None:
            nonlocal problem
            problem = event.get("error") or event.get("message") or problem
            on_event(event)

        try:
            await self._listen(path, read, {"X-Registry-Auth": shown}, _TRANSFER_SECONDS)
        except Unavailable as error:
            if not isinstance(error.__cause__, TimeoutError):
                raise
            problem = f"the registry {registry_of(reference)} does not answer ({error.__cause__})"
        return problem

    async def _listen(
        self,
        path: str,
        on_event: Callable[[dict[str, Any]], None],
        headers: Headers | None = None,
        longest_silence: float | None = None,
    ) -> None:
        """Asks the engine for what may take long."""
        version = (await self._connected()).api.api_version
        try:
            told = events(self._address, f"/v{version}{path}", headers, longest_silence)
            async with aclosing(told):
                async for event in told:
                    on_event(event)
        except OSError as error:
            raise self._unreachable(error) from error

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
            return await in_thread(lambda: ask(client))
        except _library().errors.APIError:
            raise
        except _failures() as error:
            raise self._unreachable(error) from error

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                try:
                    self._client = await in_thread(self._connect)
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
        probe = docker.APIClient(**address, version=_ANY_VERSION, timeout=_CONNECT_SECONDS)
        probe.trust_env = False  # proxies and certificates for the web are not for an engine
        try:
            version = probe.version(api_version=False)["ApiVersion"]
        finally:
            probe.close()
        self._address = _address(address)
        client = docker.DockerClient(**address, version=version, timeout=_SECONDS)
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
