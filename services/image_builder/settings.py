"""Settings of the image builder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from services.common.image_definition import PLATFORM, REGISTRY
from services.common.platforms import normalised
from services.common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Settings of the image builder, from ``HANGAR_IMAGE_BUILDER_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="HANGAR_IMAGE_BUILDER_")

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback it needs a token."""
    grpc_port: int = Field(8092, ge=0, le=65535)
    """Port for gRPC; 0 for any that is free."""
    engine: str = ""
    """URL of the Docker engine that builds; empty for ``DOCKER_HOST``, else the local socket."""
    platform_engines: dict[str, str] = Field(default_factory=dict)
    """URLs of Docker engines that build for other platforms, as a JSON object such as
    ``{"linux/arm64": "unix:///run/arm64.sock"}``. A platform without one is emulated, where the
    engine's kernel does that."""
    uv: str = ""
    """Path of the `uv` that installs packages inside images, with ``{arch}`` where there is one per architecture of
    engines ("amd64"). Empty for that of this installation, or a static one where it does not run."""
    base_image: str = "python:{python}-slim-bookworm"
    """Address of the image behind ``Image.from_debian_base``, with ``{python}`` in place of the version, and ``{arch}``
    ("arm64") where it is another one for each platform."""
    registry: str = ""
    """Registry that images are pushed to, such as ``registry.example:5000``; empty for the engine alone."""
    scheduler: str = ""
    """Address of the scheduler, which tells hosts to pull images ahead that go to a registry; empty to tell nobody."""
    registries: tuple[str, ...] = ()
    """Further registries that authors may name with ``registry=``, as a JSON list of prefixes such as
    ``["ghcr.io/team"]``; ``["*"]`` for all. The builder's own credentials are used, so nothing is allowed unless it is
    named."""
    author_registries: tuple[str, ...] = ("*",)
    """Registries that authors may push to with credentials of their own (``registry_secret=``), as in ``registries``;
    ``["*"]`` for all. That of ``registry`` has to be in ``registries``."""
    registry_credentials: Path | None = None
    """File of credentials for image registries, in the format of Docker's ``config.json``. That of `docker login` by
    default."""
    allowed_bases: tuple[str, ...] = ()
    """Base images that authors may use, as a JSON list of patterns such as ``["python:*"]``; empty for all. The one of
    ``base_image`` always is."""
    secrets: str = ""
    """Directory of secrets for builds, a file for each, named by its key; empty for none."""
    database: str = ""
    """Path or URL of the record of builds; empty for ``image-builder.db`` in the data directory."""
    blobs: str = ""
    """URL of the blob store, which has files of authors; empty for ``blobs`` in the data directory."""
    network: Literal["default", "host", "none"] = "default"
    """Network of build steps. ``host`` where mirrors or proxies listen on this machine's loopback."""
    index_url: str = ""
    """Default package index of builds, in place of the one that this host's settings name."""
    concurrency: int = Field(2, ge=1)
    """Most builds at the same time."""
    timeout: float = Field(3600, gt=0)
    """Longest time in seconds that a build may run."""
    log_lines: int = Field(10_000, ge=100)
    """Most lines of a build's log that are kept; the oldest go first."""
    kept_builds: int = Field(200, ge=1)
    """Most finished builds that are kept; the oldest go first. Images are not touched."""
    keep: float = Field(0, ge=0)
    """Seconds after which an image that nobody asked for is removed where it was built; 0 for never."""
    linger: float = Field(300, ge=0)
    """Seconds for which it waits for others once nobody uses it. For that of an author's machine only."""
    failure_ttl: float = Field(30, ge=0)
    """Seconds for which a failed build is answered again instead of tried again."""

    @field_validator("platform_engines")
    @classmethod
    def _names_platforms(cls, value: dict[str, str]) -> dict[str, str]:
        for name, url in value.items():
            if not PLATFORM.fullmatch(normalised(name)) or "://" not in url:
                raise ValueError(
                    'write platforms and URLs, such as {"linux/arm64": "unix:///run/arm64.sock"}'
                )
            if url.startswith("ssh://"):
                host = url.removeprefix("ssh://")
                raise ValueError(
                    "ssh:// is not available: bring the engine's socket here, `ssh -N -L /run/arm64.sock:"
                    f"/var/run/docker.sock {host}`, and name unix:///run/arm64.sock"
                )
        return {normalised(name): url for name, url in value.items()}

    @field_validator("base_image")
    @classmethod
    def _names_the_version(cls, value: str) -> str:
        if "{python}" not in value or any(character.isspace() for character in value):
            raise ValueError("write {python} where the version goes, such as 'python:{python}-slim-bookworm'")
        return value

    @field_validator("registry")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not REGISTRY.fullmatch(value):
            raise ValueError("write host and port without a scheme, such as 'registry.example:5000'")
        return value

    @property
    def blobs_url(self) -> str:
        """URL of the blob store."""
        return self.blobs or (self.data_dir.expanduser().absolute() / "blobs").as_uri()

    @property
    def state_dir(self) -> Path:
        """Directory of what builds need while they run."""
        return self.data_dir / "image-builder"
