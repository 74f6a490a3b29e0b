"""What can go wrong in a run, as exceptions that tasks and callers can catch.

All of them derive from `BaseRuntimeError`. A child action that fails raises one of them in its parent:

Example:
    ```python
    try:
        await train(rows)
    except flyte.errors.OOMError:
        await train.override(resources=flyte.Resources(memory="8Gi"))(rows)
    except flyte.errors.RuntimeUserError as error:
        print(error.code)  # the class name of what the child raised, such as "ValueError"
    ```

Wrong arguments (a bad environment name, an unknown keyword) are plain `ValueError` and `TypeError`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

__all__ = [
    "ActionAbortedError",
    "ActionNotFoundError",
    "AuthenticationError",
    "BaseRuntimeError",
    "CodeBundleError",
    "CustomError",
    "DeploymentError",
    "FeatureNotAvailableError",
    "ImageBuildError",
    "ImagePullBackOffError",
    "InitializationError",
    "InlineIOMaxBytesBreached",
    "InvalidImageNameError",
    "InvalidPackageError",
    "LogsNotYetAvailableError",
    "ModuleLoadError",
    "NonRecoverableError",
    "NotInTaskContextError",
    "OOMError",
    "OnlyAsyncIOSupportedError",
    "ParameterMaterializationError",
    "PrimaryContainerNotFoundError",
    "RemoteTaskNotFoundError",
    "RemoteTaskUsageError",
    "RestrictedTypeError",
    "RetriesExhaustedError",
    "RuntimeDataValidationError",
    "RuntimeSystemError",
    "RuntimeUnknownError",
    "RuntimeUserError",
    "SlowDownError",
    "TaskInterruptedError",
    "TaskTimeoutError",
    "TraceDoesNotAllowNestedTasksError",
    "UnionRpcError",
    "from_failure",
]

ErrorKind = Literal["system", "unknown", "user"]

_E = TypeVar("_E", bound="BaseRuntimeError")


class BaseRuntimeError(RuntimeError):
    """Root of all errors of the platform.

    Attributes:
        code: Short machine-readable code. For an exception in a child's code, its class name.
        kind: Who is to blame: "user", "system" or "unknown".
        message: What was wrong and what to do. `str(error)` is the same.
        worker: The worker that it happened in, None when unknown.
        user_traceback: Traceback of the user's code as text, empty when there is none.
    """

    def __init__(self, code: str, kind: ErrorKind, message: str, worker: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.kind: ErrorKind = kind
        self.message = message
        self.worker = worker
        self.user_traceback = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message), self.__dict__


class RuntimeUserError(BaseRuntimeError):
    """User code failed: `RuntimeUserError("ValueError", "x is negative")`."""

    def __init__(self, code: str, message: str, worker: str | None = None) -> None:
        super().__init__(code, "user", message, worker)


class RuntimeSystemError(BaseRuntimeError):
    """The platform failed, not the user's code: `RuntimeSystemError("Lost", "host h1 disappeared")`."""

    def __init__(self, code: str, message: str, worker: str | None = None) -> None:
        super().__init__(code, "system", message, worker)


class RuntimeUnknownError(BaseRuntimeError):
    """Something failed, and whose fault it is is unknown: `RuntimeUnknownError("Unknown", "exit code 7")`."""

    def __init__(self, code: str, message: str, worker: str | None = None) -> None:
        super().__init__(code, "unknown", message, worker)


class _NamedUserError(RuntimeUserError):
    """A user error with a class of its own: `OOMError("message")` or `OOMError("code", "message")`."""

    def __init__(self, code: str, message: str | None = None, worker: str | None = None) -> None:
        if message is None:
            code, message = type(self).__name__, code
        super().__init__(code, message, worker)


class _NamedSystemError(RuntimeSystemError):
    """A system error with a class of its own: message only, or code and message."""

    def __init__(self, code: str, message: str | None = None, worker: str | None = None) -> None:
        if message is None:
            code, message = type(self).__name__, code
        super().__init__(code, message, worker)


# -- what happens to a child ----------------------------------------------------------------------------


class OOMError(_NamedUserError):
    """The task exceeded its memory, or the memory of a GPU. Override its resources and call it again."""


class TaskInterruptedError(_NamedUserError):
    """The action was stopped to make room for other work."""


class TaskTimeoutError(_NamedUserError):
    """The action exceeded a time limit (`timeout=`)."""


class RetriesExhaustedError(_NamedUserError):
    """The action has retries (`retries=`), and failed in each of its attempts.

    Its code and message are those of the last failure, such as "ValueError". Failures with a class of their own, such
    as `OOMError`, keep that.
    """


class ActionAbortedError(_NamedUserError):
    """Somebody aborted the action."""


class NonRecoverableError(_NamedUserError):
    """Raise it in a task to fail at once, whatever retries are left.

    Example:
        ```python
        if not rows:
            raise flyte.errors.NonRecoverableError("the table is empty: trying again cannot help")
        ```
    """


class CustomError(RuntimeUserError):
    """An exception of user code under a code of its own."""

    @classmethod
    def from_exception(cls, exception: BaseException) -> CustomError:
        """Wrap an exception; the code is its class name and the cause is the exception itself."""
        error = cls(type(exception).__name__, str(exception) or type(exception).__name__)
        error.__cause__ = exception
        return error


class TraceDoesNotAllowNestedTasksError(_NamedUserError):
    """A task was called inside a traced function."""


# -- data -----------------------------------------------------------------------------------------------


class RuntimeDataValidationError(_NamedUserError):
    """An input or output does not match its type. The message names it, its value and the type."""


class InlineIOMaxBytesBreached(_NamedUserError):
    """Inputs or outputs exceed `max_inline_io_bytes` (10 MiB unless set otherwise)."""


class RestrictedTypeError(RuntimeDataValidationError):
    """An input or output is of a type that cannot be one: an open file, a lock, a secret. See `flyte.types`."""


class ParameterMaterializationError(_NamedUserError):
    """A parameter of an app could not be resolved. Raised by nothing yet: there are no apps."""


# -- images, code, modules ------------------------------------------------------------------------------


class PrimaryContainerNotFoundError(_NamedUserError):
    """A pod template has no container with the primary container's name.

    Raised by nothing here: plain hosts have no pods, and pod templates are refused. It is there for programs that name
    it in an `except`.
    """


class InvalidImageNameError(_NamedUserError):
    """The name of an image is not valid."""


class ImagePullBackOffError(_NamedUserError):
    """An image could not be pulled."""


class ImageBuildError(_NamedUserError):
    """An image or environment could not be built."""


class CodeBundleError(_NamedUserError):
    """The code could not be packed, uploaded or unpacked."""


class ModuleLoadError(_NamedUserError):
    """A module of the user's could not be imported."""


class InvalidPackageError(ImageBuildError):
    """A package of an image does not exist, or not in a version that fits the others. The message names it."""


# -- use of the SDK -------------------------------------------------------------------------------------


class InitializationError(_NamedUserError):
    """The SDK is not configured, or not for this: see `flyte.init` and `flyte.init_from_config`."""


class AuthenticationError(_NamedUserError):
    """The backend demands a token, and none was shown or another one: see `flyte.init` and ``FLYTE_API_KEY``."""


class FeatureNotAvailableError(_NamedUserError, NotImplementedError):
    """A documented feature that this version or engine does not have. Says what to do instead."""


class NotInTaskContextError(_NamedUserError):
    """Something that works only inside a running task was used outside of one."""


class OnlyAsyncIOSupportedError(_NamedUserError):
    """An `.aio` function was awaited in an asynchronous framework other than asyncio, such as trio."""


class ActionNotFoundError(_NamedUserError):
    """No such run or action."""


class RemoteTaskNotFoundError(_NamedUserError):
    """No deployed task of that name and version."""


class RemoteTaskUsageError(_NamedUserError):
    """A remote task was called in a way that it does not support."""


class LogsNotYetAvailableError(_NamedUserError):
    """The action has not written logs yet."""


class DeploymentError(_NamedUserError):
    """Something could not be deployed."""


# -- the platform ---------------------------------------------------------------------------------------


class SlowDownError(_NamedSystemError):
    """The backend asks its callers to send less."""


class UnionRpcError(_NamedSystemError):
    """A call of the backend failed: it is unreachable, or answered with an error."""


# -- failures on the wire -------------------------------------------------------------------------------

# Failure kinds (`hangar.core.v1.FailureKind`, lower case, without the prefix) that have a class of their own.
_BY_KIND: dict[str, type[BaseRuntimeError]] = {
    "oom": OOMError,
    "gpu_oom": OOMError,
    "timeout": TaskTimeoutError,
    "preempted": TaskInterruptedError,
    "image": ImageBuildError,
    "user": RuntimeUserError,
    "system": RuntimeSystemError,
    "lost": RuntimeSystemError,
}


# Codes of failures of kind IMAGE that have a class of their own.
_BY_IMAGE_CODE: dict[str, type[BaseRuntimeError]] = {
    "ImagePullError": ImagePullBackOffError,
    "InvalidPackage": InvalidPackageError,
    "InvalidImageName": InvalidImageNameError,
}


def from_failure(
    kind: str,
    code: str,
    message: str,
    *,
    phase: str = "failed",
    retries: int = 0,
    worker: str | None = None,
    user_traceback: str = "",
) -> BaseRuntimeError:
    """The exception that an action's failure raises in whoever waits for it.

    Args:
        kind: Failure kind, in any of its spellings: "user", "OOM", "FAILURE_KIND_TIMEOUT".
        code: The failure's code, such as "ValueError".
        message: The failure's message.
        phase: Phase that the action ended in, in any spelling: "failed", "ABORTED", "PHASE_TIMED_OUT".
        retries: Retries that the action had, all of them used up; 0 when there were none, or some are left.
        worker: Worker that the failure happened in.
        user_traceback: Traceback of the user's code as text. It becomes the error's own: who raises it sees the
            frames of the task below the own ones, and what caused it.

    Returns:
        An error of the class that fits. A code that names a class of this module gives that class, so that an
        `OOMError` that a child did not catch arrives as such in its parent's parent.
    """
    end = phase.lower().removeprefix("phase_")
    cause = kind.lower().removeprefix("failure_kind_")
    if end == "aborted":
        error_class: type[BaseRuntimeError] = ActionAbortedError
    elif end == "timed_out":
        error_class = TaskTimeoutError
    else:
        error_class = _BY_KIND.get(cause, RuntimeUnknownError)
    if error_class is ImageBuildError:
        error_class = _BY_IMAGE_CODE.get(code, ImageBuildError)
    if error_class is RuntimeUserError:
        if retries:
            error_class = RetriesExhaustedError
        named = globals().get(code) if code in __all__ else None
        if isinstance(named, type) and issubclass(named, BaseRuntimeError) and named is not BaseRuntimeError:
            error_class = named
    error = _rebuild(error_class, message)
    error.code = code or error_class.__name__
    error.worker = worker or None
    error.user_traceback = user_traceback
    if user_traceback:
        from flyte._tracebacks import attach

        attach(error, user_traceback)
    return error


def _rebuild(error_class: type[_E], message: str) -> _E:
    """Make an error without its constructor, whose arguments differ between classes."""
    error = error_class.__new__(error_class, message)
    error.code = error_class.__name__
    error.kind = "system" if issubclass(error_class, RuntimeSystemError) else "user"
    if issubclass(error_class, RuntimeUnknownError):
        error.kind = "unknown"
    error.message = message
    error.worker = None
    error.user_traceback = ""
    return error
