"""Maps errors of the platform to gRPC statuses and back.

A status is a `google.rpc.Status` with one `ErrorInfo` (domain ``"hangar"``), so that clients tell cases
apart by their reason instead of by their message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status  # type: ignore[import-untyped]

from services.common import errors
from services.common.interceptor import CallInterceptor, Context

DOMAIN = "hangar"
"""Domain of every `ErrorInfo` that the platform sends."""

_log = structlog.get_logger(__name__)

_CODES: dict[type[errors.HangarError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
_ERRORS = {code: error for error, code in _CODES.items()}
_LOST = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


def code_of(error: errors.HangarError) -> grpc.StatusCode:
    """Returns the gRPC status code of an error."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), grpc.StatusCode.INTERNAL)


def to_status(error: errors.HangarError) -> status_pb2.Status:
    """Returns the rich status of an error."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    code: Any = code_of(error).value
    return status_pb2.Status(code=code[0], message=error.message, details=[detail])


def from_rpc_error(error: grpc.aio.AioRpcError) -> errors.HangarError:
    """Returns the error that another service sent, to be raised or passed on as it is.

    A call that was cancelled or took too long is `Unavailable`; a status that no error has is `Internal`.
    """
    message = error.details() or error.code().name
    kind = _ERRORS.get(error.code(), errors.Unavailable if error.code() in _LOST else errors.Internal)
    for key, value in error.trailing_metadata() or ():
        if key != rpc_status.GRPC_DETAILS_METADATA_KEY or not isinstance(value, bytes):
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                found = kind(message, reason=info.reason)
                found.metadata = dict(info.metadata)
                return found
    return kind(message)


class ErrorInterceptor(CallInterceptor):
    """Turns what servicers raise into rich statuses. What is not expected is logged and becomes INTERNAL."""

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
        """Returns what turns an error of one call into its status."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever it is, it becomes a status
            await _abort(error, context, str(details.method))


async def _abort(error: Exception, context: Context, method: str) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, grpc.aio.AioRpcError):
        error = from_rpc_error(error)
    if not isinstance(error, errors.HangarError):
        _log.error("call failed unexpectedly", method=method, exc_info=error)
        error = errors.Internal(
            f"{method.rsplit('/', 1)[-1]} failed because of a defect of the platform; its log says more",
            reason="UNEXPECTED",
        )
    status = rpc_status.to_status(to_status(error))
    await context.abort(status.code, status.details, status.trailing_metadata)
