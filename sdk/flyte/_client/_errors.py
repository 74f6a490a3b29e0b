"""From gRPC errors to the SDK's exceptions."""

from __future__ import annotations

import grpc
import grpc.aio

from flyte import errors

_DETAILS_KEY = "grpc-status-details-bin"

UNAVAILABLE = "BackendUnavailableError"
"""Code of the error that says that no backend answers."""


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason (``google.rpc.ErrorInfo.reason``) of an RPC error, empty when it has none."""
    from google.rpc import error_details_pb2, status_pb2

    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS_KEY or not isinstance(value, bytes):
            continue
        status = status_pb2.Status.FromString(value)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return str(info.reason)
    return ""


def from_rpc_error(error: grpc.aio.AioRpcError, endpoint: str) -> errors.BaseRuntimeError:
    """The exception to raise for an RPC error.

    Its code is the reason that the backend gave, in the form of a class name: ``RUN_ALREADY_EXISTS`` is
    ``RunAlreadyExistsError``.
    """
    code = error.code()
    message = error.details() or f"The backend at {endpoint} answered {code.name} without a message."
    reason = reason_of(error)
    name = _class_name(reason) if reason else _DEFAULT_CODES.get(code, "InternalError")
    if code is grpc.StatusCode.UNAVAILABLE and not reason:
        return unreachable(endpoint, message)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return errors.AuthenticationError(name, message)
    if code is grpc.StatusCode.NOT_FOUND:
        return _NOT_FOUND.get(name, errors.RuntimeUserError)(name, message)
    if code in _USER_CODES:
        return errors.RuntimeUserError(name, message)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.SlowDownError(name, message)
    return errors.UnionRpcError(name, message)


def unreachable(endpoint: str, detail: str) -> errors.UnionRpcError:
    """The error of a backend that does not answer."""
    return errors.UnionRpcError(
        UNAVAILABLE,
        f"No backend answers at {endpoint} ({detail.strip().rstrip('.')}). Check that it runs (`flyte "
        "status`, `flyte start` for the one on this machine) and that the endpoint is right (`flyte get "
        "config`).",
    )


_DEFAULT_CODES = {
    grpc.StatusCode.NOT_FOUND: "NotFoundError",
    grpc.StatusCode.ALREADY_EXISTS: "AlreadyExistsError",
    grpc.StatusCode.INVALID_ARGUMENT: "InvalidArgumentError",
    grpc.StatusCode.FAILED_PRECONDITION: "FailedPreconditionError",
    grpc.StatusCode.OUT_OF_RANGE: "InvalidArgumentError",
    grpc.StatusCode.UNAUTHENTICATED: "AuthenticationError",
    grpc.StatusCode.PERMISSION_DENIED: "PermissionDeniedError",
    grpc.StatusCode.UNIMPLEMENTED: "UnimplementedError",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DeadlineExceededError",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "ResourceExhaustedError",
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
}

_NOT_FOUND: dict[str, type[errors.RuntimeUserError]] = {
    "RunNotFoundError": errors.ActionNotFoundError,
    "ActionNotFoundError": errors.ActionNotFoundError,
    "TaskNotFoundError": errors.RemoteTaskNotFoundError,
}

_USER_CODES = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


def _class_name(reason: str) -> str:
    name = "".join(word.capitalize() for word in reason.split("_"))
    return name if name.endswith("Error") else f"{name}Error"
