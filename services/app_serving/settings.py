"""Settings of app-serving."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Settings of app-serving, from ``HANGAR_APP_SERVING_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="HANGAR_APP_SERVING_")

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback it needs a token."""
    grpc_port: int = Field(8093, ge=0, le=65535)
    """Port for gRPC; 0 for any that is free."""
