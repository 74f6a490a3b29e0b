"""Object stores that speak S3: how one is opened, and what its errors mean."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from services.common.errors import FailedPrecondition, InvalidArgument

VARIABLES = "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ALLOW_HTTP"
"""Environment variables that say where an object store is and who asks."""

_CONNECT, _REQUEST = timedelta(seconds=3), timedelta(seconds=20)
# A store that refuses connections is given up after two seconds or so, one that swallows them after fifteen, one
# that takes them and says nothing after twenty. A request moves a few megabytes at most: slow lines are no problem.
# Whoever can wait longer tries again by itself and can say why it waits.
_RETRIES: Any = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=12),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
}
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_OTHER_CREDENTIALS = (
    "AWS_SKIP_SIGNATURE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
)
_CODE = re.compile(r"<Code>(\w+)</Code>")
_REFUSED = (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)


@dataclass(frozen=True)
class ObjectStore:
    """A bucket, and where it is."""

    store: Any
    """For reading and writing."""
    signing: Any
    """For signing URLs: it is at the address that clients see."""
    bucket: str
    """Name of the bucket."""
    endpoint: str
    """URL of the service, empty for Amazon's own."""

    def __str__(self) -> str:
        return f"bucket {self.bucket!r} at {self.endpoint or 'Amazon S3'}"


def open_object_store(
    url: str, public_endpoint: str = "", environ: Mapping[str, str] = os.environ
) -> ObjectStore:
    """Opens ``s3://bucket/prefix`` with what the usual variables say. Nothing is asked of the store yet.

    Objects are addressed by path (``http://endpoint/bucket/key``), which every S3 implementation understands.

    Args:
        url: Bucket and prefix.
        public_endpoint: URL of the service as clients see it, for signed URLs; empty for the same.
        environ: The environment.

    Raises:
        InvalidArgument: The URL has no bucket, or `public_endpoint` is not the address of a host.
        FailedPrecondition: A variable that is needed is missing.
    """
    bucket = urlsplit(url).netloc
    if not bucket:
        message = f"blob store {url!r} has no bucket: write s3://bucket/prefix"
        raise InvalidArgument(message, reason="BLOB_STORE_URL_INVALID")
    _check_public(public_endpoint)
    endpoint = next((environ[name] for name in ENDPOINT_VARIABLES if environ.get(name)), "")
    _check_variables(url, endpoint, environ)
    prefix = urlsplit(url).path.strip("/") or None

    def made(at: str) -> S3Store:
        options: Any = {"timeout": _REQUEST, "connect_timeout": _CONNECT}
        options["allow_http"] = at.startswith("http://")
        config: Any = {"endpoint": at} if at else {}
        return S3Store(bucket, prefix=prefix, config=config, client_options=options, retry_config=_RETRIES)

    store = made(endpoint)
    signing = made(public_endpoint.rstrip("/")) if public_endpoint else store
    return ObjectStore(store, signing, bucket, endpoint)


ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Of these the first that is set says where the store is."""


def _check_public(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if endpoint and (parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/")):
        message = (
            f"the public endpoint of the blob store is {endpoint!r}: write http://HOST:PORT or https://HOST, "
            "without a path, since the path is part of what is signed"
        )
        raise InvalidArgument(message, reason="BLOB_PUBLIC_ENDPOINT_INVALID")


def _check_variables(url: str, endpoint: str, environ: Mapping[str, str]) -> None:
    missing = ""
    if endpoint.startswith("http://") and environ.get("AWS_ALLOW_HTTP", "").lower() not in _TRUE:
        missing = "AWS_ALLOW_HTTP=true is not set, which allows an endpoint without TLS: set it, or use https"
    elif bool(environ.get("AWS_ACCESS_KEY_ID")) != bool(environ.get("AWS_SECRET_ACCESS_KEY")):
        missing = "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY one is set without the other: set both"
    elif (
        endpoint
        and not environ.get("AWS_ACCESS_KEY_ID")
        and not any(environ.get(n) for n in _OTHER_CREDENTIALS)
    ):
        missing = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set: set both"
    if missing:
        message = f"blob store {url} at {endpoint or 'Amazon S3'} cannot be used: {missing}"
        raise FailedPrecondition(message, reason="BLOB_STORE_UNUSABLE")


def is_refused(error: Exception) -> bool:
    """Says whether the store refused the credentials, or what they may do."""
    return isinstance(error, _REFUSED) or " 403 " in str(error) or " 401 " in str(error)


def is_bucket_missing(error: Exception) -> bool:
    """Says whether the bucket does not exist, as far as the store tells it apart from a missing object."""
    return code_of(error) == "NoSuchBucket"


def is_range_invalid(error: Exception) -> bool:
    """Says whether a range was asked for that begins behind the end of the object."""
    return code_of(error) == "InvalidRange" or "Requested range was invalid" in str(error)


def code_of(error: Exception) -> str:
    """Returns the store's own name of an error, such as ``"SignatureDoesNotMatch"``; empty without one."""
    match = _CODE.search(str(error))
    return match[1] if match else ""


def cause_of(error: Exception) -> str:
    """Returns what went wrong, in one line for people. URLs and credentials are not in it."""
    code = code_of(error)
    if code:
        return code
    line = str(error).split("\n", 1)[0].strip()
    cause = line.rpartition(" - ")[2].removeprefix("HTTP error: ").rstrip(": ")
    return "it does not answer" if cause == "error sending request" else cause
