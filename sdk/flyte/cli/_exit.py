"""Exit codes."""

from __future__ import annotations

from flyte import errors

SUCCESS = 0
TASK_FAILED = 1
USAGE = 2
ABORTED = 3
TIMED_OUT = 4
PLATFORM = 5
AUTH = 6
NOT_FOUND = 7
INTERRUPTED = 130

_BY_CODE = {
    "PermissionDeniedError": AUTH,
    "ConfigFileNotFoundError": USAGE,
    "BackendStartError": PLATFORM,
    "BackendNotInstalledError": PLATFORM,
    "DataDirectoryError": PLATFORM,
}


def of_error(error: BaseException) -> int:
    """The exit code of a command that failed before a run took place, or beside one."""
    if isinstance(error, errors.BaseRuntimeError):
        if isinstance(error, errors.AuthenticationError):
            return AUTH
        if error.code in _BY_CODE:
            return _BY_CODE[error.code]
        if error.code.endswith("NotFoundError") or isinstance(error, errors.ActionNotFoundError):
            return NOT_FOUND
        if isinstance(error, errors.ImageBuildError):
            return TASK_FAILED
        return (
            PLATFORM if isinstance(error, (errors.RuntimeSystemError, errors.RuntimeUnknownError)) else USAGE
        )
    return USAGE if isinstance(error, (ValueError, TypeError)) else PLATFORM


def of_run(error: errors.BaseRuntimeError | None) -> int:
    """The exit code of a run that has ended: of success, when there is no error."""
    if error is None:
        return SUCCESS
    if isinstance(error, errors.ActionAbortedError):
        return ABORTED
    if isinstance(error, errors.TaskTimeoutError):
        return TIMED_OUT
    return PLATFORM if isinstance(error, errors.RuntimeSystemError) else TASK_FAILED


_HINTS = {
    "RunAlreadyExistsError": "flyte get run NAME shows the run of that name; without --name one is made up",
}
_HINTS_BY_CODE = {
    AUTH: "ask the operator for a token (hangar token), and set FLYTE_API_KEY to it",
    PLATFORM: "flyte status says whether the backend of this machine runs",
}


def hint(error: BaseException, code: int) -> str:
    """What to run next, empty when nothing helps in general."""
    if isinstance(error, errors.BaseRuntimeError):
        if error.code in _HINTS:
            return _HINTS[error.code]
        if isinstance(error, errors.ActionNotFoundError):
            return "flyte get run lists runs, flyte get action RUN the actions of one"
        return _HINTS_BY_CODE.get(code, "")
    return ""
