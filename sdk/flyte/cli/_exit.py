"""Exit codes, and errors as people read them."""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path

import click

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

_INTERNAL = (
    str(Path(__file__).parent.parent),  # as it was found: perhaps through a symbolic link
    str(Path(__file__).resolve().parent.parent),
    str(Path(importlib.__file__).parent),
    str(Path(click.__file__).parent),
    "<frozen ",
    "<string>",  # methods that dataclasses generate
)

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


def user_frames(error: BaseException) -> str:
    """The traceback of an error without the frames of the SDK and of Python's import machinery."""
    shown = traceback.TracebackException.from_exception(error)
    _keep_user_frames(shown)
    return "".join(shown.format()).rstrip()


def _keep_user_frames(shown: traceback.TracebackException) -> None:
    frames = [frame for frame in shown.stack if not _is_internal(frame.filename)]
    shown.stack = traceback.StackSummary.from_list(frames)
    for other in (shown.__cause__, shown.__context__):
        if other is not None:
            _keep_user_frames(other)


def _is_internal(filename: str) -> bool:
    return filename.startswith(_INTERNAL)
