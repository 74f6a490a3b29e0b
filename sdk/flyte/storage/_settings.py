"""Addresses and credentials of object stores."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True)
class Storage:
    """What all kinds of object stores have.

    Args:
        retries: How often a request is tried again.
        backoff: Longest pause between two tries.
    """

    schemes: ClassVar[tuple[str, ...]] = ()

    retries: int = 3
    backoff: timedelta = timedelta(seconds=5)

    def options(self) -> dict[str, Any]:
        """What `obstore.store.from_url` is given besides the URL."""
        retry = {
            "max_retries": self.retries,
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": self.backoff, "base": 2},
        }
        config = {name: value for name, value in self._config().items() if value}
        return {"config": config, "retry_config": retry, "client_options": self._client_options()}

    def _config(self) -> dict[str, Any]:
        return {}

    def _client_options(self) -> dict[str, Any]:
        return {"timeout": timedelta(seconds=60), "connect_timeout": timedelta(seconds=10)}


@dataclass(frozen=True)
class S3(Storage):
    """Amazon S3, or a store that speaks its language.

    Args:
        endpoint: URL of the service; Amazon's own unless given here or in ``AWS_ENDPOINT_URL``.
        access_key_id: Unless given that of the environment (``AWS_ACCESS_KEY_ID``, a role of the machine, …).
        secret_access_key: The other half.
        region: Region of the buckets.

    Example:
        ```python
        store = flyte.storage.S3(endpoint="http://localhost:9000", access_key_id="k", secret_access_key="s")
        ```
    """

    schemes: ClassVar[tuple[str, ...]] = ("s3", "s3a")

    endpoint: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    region: str | None = None

    @classmethod
    def auto(cls, region: str | None = None) -> S3:
        """What the environment says.

        Args:
            region: Region of the buckets.
        """
        return cls(region=region)

    def _config(self) -> dict[str, Any]:
        return {
            "endpoint": self._endpoint(),
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "region": self.region,
        }

    def _endpoint(self) -> str | None:
        return self.endpoint or next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)

    def _client_options(self) -> dict[str, Any]:
        plain = (self._endpoint() or "").startswith("http://")
        return {**super()._client_options(), **({"allow_http": True} if plain else {})}


@dataclass(frozen=True)
class GCS(Storage):
    """Google Cloud Storage.

    Args:
        service_account_path: File with the key of a service account; unless given what the environment says.
    """

    schemes: ClassVar[tuple[str, ...]] = ("gs",)

    service_account_path: str | None = None

    @classmethod
    def auto(cls) -> GCS:
        """What the environment says."""
        return cls()

    def _config(self) -> dict[str, Any]:
        return {"service_account": self.service_account_path}


@dataclass(frozen=True)
class ABFS(Storage):
    """Azure Blob Storage.

    Args:
        account_name: The storage account; unless given what the environment says, as all of these.
        account_key: Its key.
        tenant_id: Of an application that may read it.
        client_id: Of that application.
        client_secret: Of that application.
    """

    schemes: ClassVar[tuple[str, ...]] = ("abfs", "abfss", "az", "azure", "adl")

    account_name: str | None = None
    account_key: str | None = field(default=None, repr=False)
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)

    @classmethod
    def auto(cls) -> ABFS:
        """What the environment says."""
        return cls()

    def _config(self) -> dict[str, Any]:
        names = ("account_name", "account_key", "tenant_id", "client_id", "client_secret")
        return {name: getattr(self, name) for name in names}


_KINDS: tuple[type[Storage], ...] = (S3, GCS, ABFS)
_given: dict[type[Storage], Storage] = {}


def use(storage: Storage) -> None:
    """Reach stores of its kind with these settings from now on.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(storage, _KINDS):
        raise TypeError(f"storage={storage!r} must be a flyte.storage.S3, GCS or ABFS")
    _given[type(storage)] = storage


def settings_for(scheme: str) -> Storage | None:
    """The settings for URLs of a scheme, None for one that is none of an object store."""
    kind = next((kind for kind in _KINDS if scheme in kind.schemes), None)
    return None if kind is None else _given.get(kind) or kind()
