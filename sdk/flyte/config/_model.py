"""What a configuration holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_PROJECT = "default"
DEFAULT_DOMAIN = "development"
BUILDERS = ("local", "remote")
AUTH_TYPES = ("Pkce", "ClientSecret", "ExternalCommand", "DeviceFlow")


@dataclass(frozen=True)
class AdminConfig:
    """The backend.

    Attributes:
        endpoint: Where it listens, such as ``dns:///flyte.example.com``; None for the embedded backend.
        insecure: True for plain text instead of TLS.
        auth_type: A way to sign in, such as "Pkce". None is available yet but a token (``FLYTE_API_KEY``), which
            suffices: it matters only when the backend demands one and there is none.
        ca_cert_file_path: PEM file of the certificates that TLS trusts; None for those of the system.
    """

    endpoint: str | None = None
    insecure: bool = False
    auth_type: str | None = None
    ca_cert_file_path: str | None = None


@dataclass(frozen=True)
class TaskConfig:
    """Where runs go.

    Attributes:
        project: Project, "default" unless set.
        domain: Domain, "development" unless set.
    """

    project: str = DEFAULT_PROJECT
    domain: str = DEFAULT_DOMAIN


@dataclass(frozen=True)
class ImageConfig:
    """Images.

    Attributes:
        image_refs: Addresses of images by the names that `Image.from_ref_name` uses; "default" stands for the image
            of environments that name none, too.
        builder: What builds images: "remote" for the backend, "local" for this machine, which then needs Docker.
        registry: Registry that images built on this machine go to, unless they name one; None for none.
    """

    image_refs: Mapping[str, str] = field(default_factory=dict)
    builder: str = "remote"
    registry: str | None = None


@dataclass(frozen=True)
class LocalConfig:
    """Local mode.

    Attributes:
        persistence: True to record local runs, for `flyte get run --local` and `flyte start tui`.
    """

    persistence: bool = False


@dataclass(frozen=True)
class Config:
    """The whole configuration.

    Attributes:
        admin: The backend.
        task: Where runs go.
        local: Local mode.
        source: File that it was read from, None when there was none.
        overrides: Environment variables that took part, in the order of their names.
        image: Images.
    """

    admin: AdminConfig = field(default_factory=AdminConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    local: LocalConfig = field(default_factory=LocalConfig)
    source: Path | None = None
    overrides: tuple[str, ...] = ()
    image: ImageConfig = field(default_factory=ImageConfig)
