"""Settings of the scheduler."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict

from services.common.settings import ServiceSettings
from services.scheduler.destinations import checked


def _prefixes(value: object) -> object:
    """Beginnings of addresses in a text with commas."""
    if not isinstance(value, str):
        return value
    return checked([prefix.strip() for prefix in value.split(",") if prefix.strip()])


class Settings(ServiceSettings):
    """Settings of the scheduler, from ``HANGAR_SCHEDULER_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="HANGAR_SCHEDULER_")

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback it needs a token."""
    grpc_port: int = Field(8090, ge=0, le=65535)
    """Port for gRPC; 0 for any that is free."""
    database: str = ""
    """Path or URL of the ledger; empty for ``ledger.db`` in the data directory."""
    address: str = ""
    """Where others reach this scheduler, for who asks a standby; empty for host and port as above."""
    lease_seconds: float = Field(10.0, ge=1.0, le=300.0)
    """How long the database may go without a sign of life before a standby takes over. PostgreSQL only."""
    heartbeat_millis: int = Field(2000, ge=100, le=5000)
    """How often executors give a sign of life, in milliseconds."""
    notification_destinations: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_prefixes)] = ()
    """Beginnings of addresses that runs may have notifications sent to, such as
    "https://hooks.example.com/ci/,https://hooks.slack.com/services/"; empty for none at all."""
    notification_key: SecretStr = SecretStr("")
    """Signs notifications, so that who gets them can tell that they are this installation's; empty for no signature."""
    payload_cache_bytes: int = Field(64 * 1024 * 1024, ge=0)
    """Memory for inputs and outputs that were written lately; others are read from the ledger when needed."""
