"""Data: what clients upload by content address."""

from __future__ import annotations

import re
from datetime import timedelta

from hangar.admin.v1 import data_service_pb2 as messages
from hangar.core.v1.payload_pb2 import BlobReference
from services.admin.projects import Projects
from services.common.blobs import BlobStore, sha256_of_key
from services.common.errors import FailedPrecondition, InvalidArgument, NotFound

_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = {
    messages.UPLOAD_KIND_CODE_BUNDLE: "code/{}.tar.gz",
    messages.UPLOAD_KIND_INPUTS: "inputs/{}.json",
    messages.UPLOAD_KIND_BUILD_CONTEXT: "contexts/{}.tar",
}
_URL_TIME = timedelta(hours=1)
_MOST = 1000


class Data:
    """Use cases of uploads.

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
        if len(request.uploads) > _MOST:
            message = f"{len(request.uploads)} uploads are asked for: ask for up to {_MOST} at once"
            raise InvalidArgument(message, field="uploads")
        return [await self._upload(each) for each in request.uploads]

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
        template = _KEYS.get(request.kind)
        if template is None:
            raise InvalidArgument(
                "uploads.kind must be CODE_BUNDLE, INPUTS or BUILD_CONTEXT", field="uploads.kind"
            )
        _check_digest("uploads.sha256", request.sha256)
        self._check_size("uploads.size", request.size)
        key = template.format(request.sha256)
        try:
            exists = (await self._blobs.head(key)).size == request.size
        except NotFound:
            exists = False
        url = "" if exists else await self._blobs.sign_put(key, _URL_TIME)
        return messages.Upload(key=key, exists=exists, url=url)


def _check_digest(field: str, value: str) -> None:
    if not _SHA256.fullmatch(value):
        message = f"{field} is {value[:80]!r}: send the SHA-256 of the content, 64 hex digits in lower case"
        raise InvalidArgument(message, reason="DIGEST_INVALID", field=field)
