"""Exceptions of user code as failures on the wire."""

from __future__ import annotations

from typing import Any

from flyte import errors
from flyte._tracebacks import user_text

Failure = dict[str, Any]

_GPU_MEMORY_ERRORS = frozenset({"OutOfMemoryError", "CudaOutOfMemoryError"})
_MAX_TEXT = 64 * 1024


def from_exception(error: BaseException) -> Failure:
    """The failure that an exception of user code is: kind, code, message, traceback of the user's frames."""
    return {
        "kind": _kind(error),
        "code": _code(error),
        "message": _shortened(_message(error)),
        "traceback": _shortened(user_text(error)),
        "non_recoverable": isinstance(error, errors.NonRecoverableError),
    }


def platform_failure(code: str, message: str) -> Failure:
    """A failure that the platform is to blame for."""
    return {"kind": "SYSTEM", "code": code, "message": message, "traceback": "", "non_recoverable": False}


def _kind(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "OOM"
    is_gpu = type(error).__name__ in _GPU_MEMORY_ERRORS and type(error).__module__.split(".")[0] in {
        "torch",
        "cupy",
    }
    return "GPU_OOM" if is_gpu else "USER"


def _code(error: BaseException) -> str:
    """The class name; for a child's failure that the parent let through, the child's own code."""
    if type(error) in (errors.RuntimeUserError, errors.CustomError) and isinstance(
        error, errors.BaseRuntimeError
    ):
        return error.code
    return type(error).__name__


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as broken:  # noqa: BLE001 - a user's __str__ may do anything, sys.exit included
        text = f"(its __str__ raised {type(broken).__name__})"
    if isinstance(error, SystemExit):
        return f"the task called sys.exit({text}): return a value or raise an exception instead"
    return text or type(error).__name__


def _shortened(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= _MAX_TEXT:
        return text
    half = _MAX_TEXT // 2
    return f"{text[:half]}\n[… {len(text) - _MAX_TEXT} characters left out …]\n{text[-half:]}"
