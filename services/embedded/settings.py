"""Settings of the embedded backend."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings

GRPC_PORT, HTTP_PORT = 8090, 8080


class Settings(ServiceSettings):
    """Settings of `hangar up`, from ``HANGAR_EMBEDDED_<NAME>``. The services in it read their own too."""

    model_config = SettingsConfigDict(env_prefix="HANGAR_EMBEDDED_")

    host: str = "127.0.0.1"
    """Address to listen on. With one beyond loopback every call needs the token, which is made when there is none."""
    grpc_port: int | None = Field(None, ge=0, le=65535)
    """Port for gRPC; not given: 8090, or any that is free when that is in use."""
    http_port: int | None = Field(None, ge=0, le=65535)
    """Port for pages and signed URLs; not given: 8080, or any that is free when that is in use."""
    executor: bool = True
    """False to run no tasks in this process: executors of their own connect to it."""
