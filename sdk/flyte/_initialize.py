"""`flyte.init` and `flyte.init_from_config`: which backend, which project, which code."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._availability import refuse as not_available
from flyte._client._twins import immediate_twin
from flyte._loading import in_worker
from flyte._logging import use_format
from flyte.config._load import auto, checked_auth_type, checked_builder
from flyte.config._model import (
    DEFAULT_DOMAIN,
    DEFAULT_PROJECT,
    AdminConfig,
    Config,
    ImageConfig,
    LocalConfig,
    TaskConfig,
)

if TYPE_CHECKING:  # gRPC takes 0.2 s to import: only when a backend is talked to
    from flyte._client._client import Client
    from flyte._client._local_builder import LocalBuilder
    from flyte._image_definition import Resolved
    from hangar.image.v1 import image_build_pb2

_NO_AUTH = "only tokens are available yet; give api_key=…, or set FLYTE_API_KEY"
_API_KEY = "FLYTE_API_KEY"
_NO_STORAGE = "the backend's own storage is used; leave it out"


@dataclass
class Session:
    """What `init` set: read by everything that talks to a backend.

    Attributes:
        config: The configuration. Without an endpoint, the embedded backend is used.
        root_dir: Directory that code is bundled from; None to detect it.
        sync_local_sys_paths: True to give workers the entries of ``sys.path`` that are below the root.
        starts_backend: True to start the embedded backend when it is needed and does not run.
        api_key: Token that the backend demands; None for that of ``FLYTE_API_KEY``, if any.
        own_images: Addresses of images by name, over those of the configuration.
        built: What was built on this machine, by the digests of the definitions that it was made of.
        build_watcher: Is told what happens while images of a run or deployment are built on this machine, with the
            environments that an image is for.
    """

    config: Config = field(default_factory=Config)
    root_dir: Path | None = None
    sync_local_sys_paths: bool = True
    starts_backend: bool = True
    api_key: str | None = field(default=None, repr=False)
    own_images: Mapping[str, str] = field(default_factory=dict)
    built: dict[str, Resolved] = field(default_factory=dict)
    build_watcher: Callable[[str, image_build_pb2.ImageBuild, list[str]], None] = lambda names, build, lines: (
        None
    )
    _client: Client | None = None
    _builder: LocalBuilder | None = None
    _opening: asyncio.Lock | None = None

    @property
    def images(self) -> dict[str, str]:
        """Addresses of images by name."""
        return {**self.config.image.image_refs, **self.own_images}

    @property
    def builds_locally(self) -> bool:
        """True when images are built on this machine."""
        return self.config.image.builder == "local"

    @property
    def project(self) -> str:
        """Project of new runs."""
        return self.config.task.project

    @property
    def domain(self) -> str:
        """Domain of new runs."""
        return self.config.task.domain

    async def client(self) -> Client:
        """The client of the backend, opened when it is first asked for. Runs on the SDK's own loop.

        Raises:
            flyte.errors.InitializationError: When the embedded backend is needed and cannot be started.
        """
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._client is None:
                self._client = await self._open()
            return self._client

    @asynccontextmanager
    async def image_client(self) -> AsyncIterator[Client]:
        """The client of what builds images, which is there while it is used.

        Raises:
            flyte.errors.InitializationError: As `client`; or images are built here, and there is no image builder.
        """
        if not self.builds_locally:
            yield await self.client()
            return
        from flyte._client._local_builder import LocalBuilder

        if self._builder is None:
            self._builder = LocalBuilder()
        async with self._builder.client() as client:
            yield client

    async def _open(self) -> Client:
        from flyte._client._channel import Endpoint
        from flyte._client._client import Client
        from flyte._client._embedded import ensure_backend, locate_backend, running_backend

        admin = self.config.admin
        token = self.api_key or os.environ.get(_API_KEY, "").strip()
        _check_token(token)
        if admin.endpoint is None:
            backend = await (ensure_backend() if self.starts_backend else running_backend())
            endpoint = Endpoint.parse(backend.grpc, insecure=True)
            return Client(endpoint, locate=locate_backend, token=token or backend.token())
        endpoint = Endpoint.parse(
            admin.endpoint, insecure=admin.insecure, ca_cert_file=admin.ca_cert_file_path
        )
        if token and endpoint.insecure and not admin.insecure and not endpoint.is_loopback:
            raise errors.InitializationError(
                "InsecureTokenError",
                f"the token would go to {endpoint.address} in plain text, where others can read it. Use an endpoint "
                "with TLS; or, when the network can be trusted, say so with insecure=True (admin.insecure: true)",
            )
        return Client(endpoint, token=token, auth_type=admin.auth_type)

    def forget_client(self) -> None:
        """Drops the client: after a fork its thread is gone."""
        self._client = None
        self._builder = None
        self._opening = None


_session: Session | None = None


def current_session() -> Session | None:
    """What `init` set, None before."""
    return _session


def require_session() -> Session:
    """What `init` set; the default configuration is loaded when nothing was.

    Raises:
        flyte.errors.InitializationError: When the configuration is wrong.
    """
    return _session or install(Session(config=auto()))


def install(session: Session) -> Session:
    """Makes a session the current one."""
    global _session  # noqa: PLW0603 - one session per process is what `init` documents
    _session = session
    return session


def uninstall() -> None:
    """Forgets what `init` set."""
    global _session  # noqa: PLW0603
    _session = None


def _use_storage(storage: Any | None) -> None:
    if storage is not None:
        from flyte.storage._settings import use

        use(storage)


def refuse(**parameters: tuple[Any, str]) -> None:
    """Refuses documented parameters that are not built: ``refuse(storage=(value, "what to do"))``.

    Raises:
        flyte.errors.FeatureNotAvailableError: When one of them is given.
    """
    for name, (value, instead) in parameters.items():
        if value is not None:
            raise not_available(f"{name}={value!r}", instead)


@immediate_twin
async def init(
    org: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    root_dir: Path | str | None = None,
    log_level: int | str | None = None,
    log_format: str | None = None,
    endpoint: str | None = None,
    headless: bool | None = None,
    insecure: bool = False,
    insecure_skip_verify: bool | None = None,
    ca_cert_file_path: str | None = None,
    auth_type: str | None = None,
    api_key: str | None = None,
    command: list[str] | None = None,
    proxy_command: list[str] | None = None,
    client_id: str | None = None,
    client_credentials_secret: str | None = None,
    auth_client_config: Any | None = None,
    rpc_retries: int | None = None,
    http_proxy_url: str | None = None,
    storage: Any | None = None,
    batch_size: int | None = None,
    image_builder: str | None = None,
    images: dict[str, str] | None = None,
    source_config_path: Path | str | None = None,
    sync_local_sys_paths: bool = True,
    local_persistence: bool | None = None,
) -> None:
    """Says which backend to use. Does not connect yet. In a worker, which needs none, it does nothing.

    Args:
        org: Refused: this platform has no organisations.
        project: Project of new runs; "default" unless given.
        domain: Domain of new runs; "development" unless given.
        root_dir: Directory that code is bundled from. Detected from the task's module unless given.
        log_level: Level of the SDK's own logger, such as "DEBUG".
        log_format: How it writes: "console" for lines of text, "json" for an object per line.
        endpoint: Backend, such as "dns:///flyte.example.com" or "localhost:8090". Without one the embedded
            backend of this machine is used, and started when it does not run.
        headless: Refused: nobody has to log in.
        insecure: True for plain text instead of TLS.
        insecure_skip_verify: Refused.
        ca_cert_file_path: PEM file of the certificates that TLS trusts, in place of those of the system.
        auth_type: A way to sign in, such as "Pkce". None is available yet: it is refused when the backend demands a
            token and there is no `api_key`.
        api_key: Token that the backend demands. Unless given, that of the environment variable ``FLYTE_API_KEY``.
        command: Refused: only tokens are available yet.
        proxy_command: Refused, as `command`.
        client_id: Refused, as `command`.
        client_credentials_secret: Refused, as `command`.
        auth_client_config: Refused, as `command`.
        rpc_retries: Refused: calls are tried again for a fixed time.
        http_proxy_url: Refused.
        storage: How object stores outside of the platform are reached: a `flyte.storage.S3`, `GCS` or `ABFS`.
            Holds in workers as well.
        batch_size: Refused.
        image_builder: What builds images: "remote" for the backend, "local" for this machine, with its Docker.
        images: Addresses of images by name, for `Image.from_ref_name`; "default" stands for the image of
            environments that name none, too.
        source_config_path: File that these settings came from, shown by `flyte get config`.
        sync_local_sys_paths: True to give workers the entries of ``sys.path`` that are below the root.
        local_persistence: True to record local runs, for `flyte get run --local` and `flyte start tui`.

    Raises:
        flyte.errors.FeatureNotAvailableError: When a refused parameter is given.
        flyte.errors.InitializationError: When `root_dir` is no directory, `endpoint` is no address, or `auth_type`
            or `api_key` is not valid.

    Example:
        ```python
        flyte.init(endpoint="localhost:8090", insecure=True, project="demo")
        ```
    """
    _use_storage(storage)
    if in_worker():
        return
    refuse(
        org=(org, "this platform has no organisations; leave it out"),
        headless=(headless, _NO_AUTH),
        insecure_skip_verify=(insecure_skip_verify, "use insecure=True for a backend without TLS"),
        command=(command, _NO_AUTH),
        proxy_command=(proxy_command, _NO_AUTH),
        client_id=(client_id, _NO_AUTH),
        client_credentials_secret=(None if client_credentials_secret is None else "…", _NO_AUTH),
        auth_client_config=(auth_client_config, _NO_AUTH),
        rpc_retries=(rpc_retries, "calls are tried again until the backend is back, for up to a minute"),
        http_proxy_url=(http_proxy_url, "set the https_proxy environment variable"),
        batch_size=(batch_size, _NO_STORAGE),
    )
    builder = checked_builder(image_builder or "remote", "image_builder")
    _set_log_level(log_level)
    if log_format is not None:
        use_format(log_format)
    if endpoint is not None:
        from flyte._client._channel import Endpoint

        Endpoint.parse(endpoint, insecure=insecure)
    _check_token(api_key or "")
    admin = AdminConfig(endpoint, insecure, checked_auth_type(auth_type, "auth_type"), ca_cert_file_path)
    config = Config(
        admin=admin,
        task=TaskConfig(project or DEFAULT_PROJECT, domain or DEFAULT_DOMAIN),
        local=LocalConfig(bool(local_persistence)),
        source=Path(source_config_path) if source_config_path is not None else None,
        image=ImageConfig(builder=builder),
    )
    install(
        Session(
            config,
            checked_root(root_dir),
            sync_local_sys_paths,
            api_key=api_key,
            own_images=checked_images(images or {}),
        )
    )


@immediate_twin
async def init_from_api_key(
    endpoint: str | None = None,
    api_key: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    root_dir: Path | str | None = None,
    log_level: int | str | None = None,
    insecure: bool = False,
    ca_cert_file_path: str | None = None,
    sync_local_sys_paths: bool = True,
) -> None:
    """Says which backend to use, and the token that it demands. Does not connect yet; in a worker it does nothing.

    Args:
        endpoint: Backend, such as "dns:///flyte.example.com"; the embedded backend of this machine unless given.
        api_key: The token. Unless given, that of the environment variable ``FLYTE_API_KEY``.
        project: Project of new runs; "default" unless given.
        domain: Domain of new runs; "development" unless given.
        root_dir: Directory that code is bundled from. Detected from the task's module unless given.
        log_level: Level of the SDK's own logger, such as "DEBUG".
        insecure: True for plain text instead of TLS. Whoever can read the network can then read the token.
        ca_cert_file_path: PEM file of the certificates that TLS trusts, in place of those of the system.
        sync_local_sys_paths: True to give workers the entries of ``sys.path`` that are below the root.

    Raises:
        flyte.errors.InitializationError: When there is no token, or as `init`.

    Example:
        ```python
        flyte.init_from_api_key("dns:///flyte.example.com", api_key="hgr_token")  # better: FLYTE_API_KEY
        ```
    """
    if in_worker():
        return
    if not (api_key or os.environ.get(_API_KEY, "").strip()):
        raise errors.InitializationError(
            "ApiKeyMissingError",
            "there is no token: give api_key=…, or set the environment variable FLYTE_API_KEY",
        )
    await init.aio(
        endpoint=endpoint,
        api_key=api_key,
        project=project,
        domain=domain,
        root_dir=root_dir,
        log_level=log_level,
        insecure=insecure,
        ca_cert_file_path=ca_cert_file_path,
        sync_local_sys_paths=sync_local_sys_paths,
    )


@immediate_twin
async def init_from_config(
    path_or_config: str | Path | Config | None = None,
    root_dir: Path | str | None = None,
    log_level: int | str | None = None,
    log_format: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    storage: Any | None = None,
    batch_size: int | None = None,
    image_builder: str | None = None,
    images: tuple[str, ...] | None = None,
    sync_local_sys_paths: bool = True,
) -> None:
    """Says which backend to use, from a configuration file. Does not connect yet; in a worker it does nothing.

    Args:
        path_or_config: File or configuration. Without one, the first file of the search order
            (`flyte.config`); without any file, the embedded backend of this machine.
        root_dir: Directory that code is bundled from. Detected from the task's module unless given.
        log_level: Level of the SDK's own logger, such as "DEBUG".
        log_format: How it writes: "console" for lines of text, "json" for an object per line.
        project: Project of new runs, over the file's.
        domain: Domain of new runs, over the file's.
        storage: How object stores outside of the platform are reached: a `flyte.storage.S3`, `GCS` or `ABFS`.
            Holds in workers as well.
        batch_size: Refused.
        image_builder: What builds images, over the file's: "remote" for the backend, "local" for this machine.
        images: Addresses of images by name, for `Image.from_ref_name`; "default" stands for the image of
            environments that name none, too.
        sync_local_sys_paths: True to give workers the entries of ``sys.path`` that are below the root.

    Raises:
        flyte.errors.InitializationError: When the file is wrong, or does not exist (code
            "ConfigFileNotFoundError").
        flyte.errors.FeatureNotAvailableError: When a refused parameter is given.

    Example:
        ```python
        flyte.init_from_config()
        run = flyte.run(greet, name="World")
        ```
    """
    _use_storage(storage)
    if in_worker():
        return
    refuse(batch_size=(batch_size, _NO_STORAGE))
    _set_log_level(log_level)
    if log_format is not None:
        use_format(log_format)
    config = path_or_config if isinstance(path_or_config, Config) else auto(path_or_config)
    task = TaskConfig(project or config.task.project, domain or config.task.domain)
    builder = checked_builder(image_builder or config.image.builder, "image_builder")
    config = replace(config, task=task, image=replace(config.image, builder=builder))
    install(
        Session(config, checked_root(root_dir), sync_local_sys_paths, own_images=checked_images(images or ()))
    )


@immediate_twin
async def init_in_cluster(
    org: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    api_key: str | None = None,
    endpoint: str | None = None,
    insecure: bool = False,
) -> None:
    """Says that code runs on the platform already. In a task it does nothing: a task calls others as it is.

    Args:
        org: Refused: this platform has no organisations.
        project: Project, when it runs elsewhere with `endpoint`.
        domain: Domain, when it runs elsewhere with `endpoint`.
        api_key: Token, when it runs elsewhere with `endpoint`.
        endpoint: Backend, for a program that is no task, such as a service beside the platform.
        insecure: True for plain text instead of TLS.

    Raises:
        flyte.errors.InitializationError: The program is no task and names no endpoint (code "NotInClusterError").

    Example:
        ```python
        await flyte.init_in_cluster.aio(endpoint="localhost:8090", insecure=True)
        ```
    """
    refuse(org=(org, "this platform has no organisations; leave it out"))
    if in_worker():
        return
    if endpoint is None:
        raise errors.InitializationError(
            "NotInClusterError",
            "this program is no task of the platform: name the backend with endpoint=…, or use init_from_config()",
        )
    await init.aio(endpoint=endpoint, api_key=api_key, project=project, domain=domain, insecure=insecure)


def checked_images(images: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    """Addresses of images by name.

    Args:
        images: Names and addresses, or texts such as "gpu=ghcr.io/team/gpu:1.4"; without a name it is "default".

    Raises:
        ValueError: One of them is none.
    """
    if isinstance(images, str):
        images = [images]
    pairs = images.items() if isinstance(images, Mapping) else [_name_and_address(each) for each in images]
    for name, uri in pairs:
        if not name or not isinstance(uri, str) or not uri or any(character.isspace() for character in uri):
            raise ValueError(
                f"images: {name!r}={uri!r} is no name and address of an image: write name=address"
            )
    return dict(pairs)


def _name_and_address(text: str) -> tuple[str, str]:
    name, separator, uri = text.partition("=")
    return (name, uri) if separator else ("default", text)


def _check_token(token: str) -> None:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise errors.InitializationError(
            "InvalidApiKeyError",
            "the token (api_key, FLYTE_API_KEY) holds blanks, line ends or letters that cannot be sent: copy it again",
        )


def checked_root(root_dir: Path | str | None) -> Path | None:
    """An absolute directory.

    Raises:
        flyte.errors.InitializationError: When it is none.
    """
    if root_dir is None:
        return None
    root = Path(root_dir).expanduser().resolve()
    if not root.is_dir():
        raise errors.InitializationError(
            "InvalidRootDirError", f"root_dir {str(root_dir)!r} is not a directory"
        )
    return root


def _set_log_level(level: int | str | None) -> None:
    if level is None:
        return
    try:
        logging.getLogger("flyte").setLevel(level.upper() if isinstance(level, str) else level)
    except ValueError:
        raise ValueError(
            f"log_level {level!r} is not a level: use DEBUG, INFO, WARNING, ERROR or CRITICAL"
        ) from None


def _forget_client() -> None:
    if _session is not None:
        _session.forget_client()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_client)
