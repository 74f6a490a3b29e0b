"""Data: what clients upload, and what they may read of it and of what tasks wrote."""

from __future__ import annotations

import re
from datetime import timedelta

from hangar.admin.v1 import data_service_pb2 as messages
from hangar.core.v1.payload_pb2 import BlobReference
from services.admin.projects import Projects
from services.common.blobs import BlobStore, check_key, sha256_of_key
from services.common.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied

_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = {
    messages.UPLOAD_KIND_CODE_BUNDLE: "code/{}.tar.gz",
    messages.UPLOAD_KIND_INPUTS: "inputs/{}.json",
    messages.UPLOAD_KIND_BUILD_CONTEXT: "contexts/{}.tar",
}
_BUNDLE = re.compile(r"code/[0-9a-f]{64}\.tar\.gz")
_COLLECTION = re.compile(r"[0-9a-f]{32}")
_URL_TIME = timedelta(hours=1)
_MOST = 1000


class Data:
    """Use cases of uploads and downloads.

    Args:
        blobs: Where objects are stored.
        projects: Knows what projects there are.
        limit: Largest object in bytes.
    """

    def __init__(self, blobs: BlobStore, projects: Projects, limit: int) -> None:
        self._blobs = blobs
        self._projects = projects
        self._limit = limit

    async def create_uploads(self, request: messages.CreateUploadsRequest) -> list[messages.Upload]:
        """Says for each object whether it is stored already, or where to PUT it."""
        await self._projects.check_open(request.project, request.domain)
        _check_count("uploads", len(request.uploads))
        return [await self._upload(each) for each in request.uploads]

    async def create_downloads(self, request: messages.CreateDownloadsRequest) -> list[messages.Download]:
        """Says where to GET each object, or that there is none."""
        _check_count("keys", len(request.keys))
        return [await self._download(request.project, request.domain, key) for key in request.keys]

    async def list_objects(self, request: messages.ListObjectsRequest) -> messages.ListObjectsResponse:
        """Lists a page of the objects of a directory."""
        prefix = request.prefix
        if not prefix.endswith("/"):
            raise InvalidArgument(f"prefix {prefix[:100]!r} must end with a slash", field="prefix")
        check_key(prefix.removesuffix("/"))
        _check_readable(request.project, request.domain, prefix)
        size = request.page_size if 0 < request.page_size <= _MOST else _MOST
        # Stores list in no order that all of them share, so the whole is looked at for each page.
        found = sorted([(blob.key, blob.size) async for blob in self._blobs.list(prefix)])
        rest = [entry for entry in found if entry[0] > request.page_token]
        page = [messages.ListedObject(key=key, size=bytes_) for key, bytes_ in rest[:size]]
        return messages.ListObjectsResponse(
            objects=page, next_page_token=page[-1].key if len(rest) > size else ""
        )

    async def _download(self, project: str, domain: str, key: str) -> messages.Download:
        check_key(key)
        _check_readable(project, domain, key)
        try:
            blob = await self._blobs.head(key)
        except NotFound:
            return messages.Download(key=key)
        url = await self._blobs.sign_get(key, _URL_TIME)
        return messages.Download(key=key, exists=True, url=url, size=blob.size)

    async def check_bundle(self, digest: str) -> None:
        """Accepts a code bundle that was uploaded.

        Raises:
            InvalidArgument: The digest is none.
            FailedPrecondition: It was not uploaded (reason ``BUNDLE_NOT_UPLOADED``).
            Unavailable: The blob store does not answer.
        """
        _check_digest("task.code.bundle_digest", digest)
        try:
            blob = await self._blobs.head(_KEYS[messages.UPLOAD_KIND_CODE_BUNDLE].format(digest))
        except NotFound as error:
            message = f"code bundle {digest} was not uploaded: upload it with DataService.CreateUploads first"
            raise FailedPrecondition(message, reason="BUNDLE_NOT_UPLOADED", digest=digest) from error
        self._check_size("the code bundle", blob.size)  # an object store takes any size by a signed URL

    async def check_inputs(self, reference: BlobReference) -> None:
        """Accepts inputs that were uploaded.

        Raises:
            InvalidArgument: The key is not one of uploaded inputs.
            FailedPrecondition: They were not uploaded (reason ``INPUTS_NOT_UPLOADED``).
        """
        if not reference.key.startswith("inputs/") or not sha256_of_key(reference.key):
            message = f"inputs.reference.key is {reference.key[:100]!r}: use the key that CreateUploads gave"
            raise InvalidArgument(message, reason="INPUTS_INVALID", field="inputs.reference.key")
        try:
            blob = await self._blobs.head(reference.key)
        except NotFound as error:
            message = (
                f"inputs {reference.key} were not uploaded: upload them with DataService.CreateUploads first"
            )
            raise FailedPrecondition(message, reason="INPUTS_NOT_UPLOADED", key=reference.key) from error
        if blob.size != reference.size:
            message = f"inputs.reference.size is {reference.size}, but {reference.key} has {blob.size} bytes"
            raise InvalidArgument(message, reason="INPUTS_INVALID", field="inputs.reference.size")

    def _check_size(self, field: str, size: int) -> None:
        if not 0 < size <= self._limit:
            message = f"{field} is {size}: send the size in bytes, up to {self._limit}"
            raise InvalidArgument(message, reason="BLOB_TOO_LARGE", field=field)

    async def _upload(self, request: messages.UploadRequest) -> messages.Upload:
        key = _key_of(request)
        if request.size or request.kind != messages.UPLOAD_KIND_DATA:
            self._check_size("uploads.size", request.size)
        try:
            exists = (await self._blobs.head(key)).size == request.size
        except NotFound:
            exists = False
        url = "" if exists else await self._blobs.sign_put(key, _URL_TIME)
        return messages.Upload(key=key, exists=exists, url=url)


def _key_of(request: messages.UploadRequest) -> str:
    if request.kind == messages.UPLOAD_KIND_DATA:
        if not request.collection:
            _check_digest("uploads.sha256", request.sha256)
            if "/" in request.name:
                message = f"uploads.name is {request.name[:80]!r}: a file without a collection has no path"
                raise InvalidArgument(message, field="uploads.name")
        elif not _COLLECTION.fullmatch(request.collection):
            message = f"uploads.collection is {request.collection[:80]!r}: send 32 hex digits in lower case"
            raise InvalidArgument(message, field="uploads.collection")
        return check_key(f"data/{request.collection or request.sha256}/{request.name}")
    template = _KEYS.get(request.kind)
    if template is None:
        raise InvalidArgument(
            "uploads.kind must be CODE_BUNDLE, INPUTS, DATA or BUILD_CONTEXT", field="uploads.kind"
        )
    _check_digest("uploads.sha256", request.sha256)
    return template.format(request.sha256)


def _check_count(field: str, count: int) -> None:
    if count > _MOST:
        raise InvalidArgument(f"{count} {field} are asked for: ask for up to {_MOST} at once", field=field)


def _check_readable(project: str, domain: str, key: str) -> None:
    """Accepts code bundles, which who knows the digest may have, and what documents of a project's runs can refer to.

    That is uploaded data, and `data/` of attempts.

    Raises:
        PermissionDenied: It is something else.
    """
    parts = key.split("/")
    uploaded = parts[0] == "data" and len(parts) > 2
    written = parts[:3] == ["runs", project, domain] and len(parts) > 7 and parts[6] == "data"
    if not uploaded and not written and not _BUNDLE.fullmatch(key):
        message = (
            f"object {key[:200]!r} is no data of project {project!r}, domain {domain!r}: ask in the project and domain "
            "of the run that wrote it"
        )
        raise PermissionDenied(message, reason="DATA_OUT_OF_REACH", key=key)


def _check_digest(field: str, value: str) -> None:
    if not _SHA256.fullmatch(value):
        message = f"{field} is {value[:80]!r}: send the SHA-256 of the content, 64 hex digits in lower case"
        raise InvalidArgument(message, reason="DIGEST_INVALID", field=field)
