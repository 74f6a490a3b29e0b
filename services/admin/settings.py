"""Settings of admin."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Settings of admin, from ``HANGAR_ADMIN_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="HANGAR_ADMIN_")

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback it needs a token."""
    grpc_port: int = Field(8091, ge=0, le=65535)
    """Port for gRPC; 0 for any that is free."""
    http_port: int = Field(8080, ge=0, le=65535)
    """Port for pages and signed URLs; 0 for any that is free."""
    scheduler: str = "127.0.0.1:8090"
    """Host and port of the scheduler; with standbys those of all, separated by commas."""
    public_url: str = ""
    """Address of the HTTP port as clients see it, such as "https://hangar.example.com"; empty for the one that it
    listens on. Requests for other host names are refused."""
    database: str = ""
    """Path or URL of admin's database; empty for ``admin.db`` in the data directory."""
    ledger: str = ""
    """Path or URL of the ledger; empty for ``ledger.db`` in the data directory."""
    blobs: str = ""
    """URL of the blob store; empty for ``blobs`` in the data directory."""
    blobs_public_endpoint: str = ""
    """Address of the object store as clients see it, such as "https://blobs.example.com"; empty for the one that
    services use. Signed URLs are for it."""
    upload_limit: int = Field(4 * 1024**3, ge=1)
    """Largest object in bytes that may be uploaded."""
