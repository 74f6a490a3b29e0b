"""Exceptions of user code as failures on the wire."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from flyte import errors

Failure = dict[str, Any]

# Frames name files as they were found: perhaps through a symbolic link.
_SDK = tuple({f"{path.parents[1]}/" for path in (Path(__file__), Path(__file__).resolve())})
_GPU_MEMORY_ERRORS = frozenset({"OutOfMemoryError", "CudaOutOfMemoryError"})
_MAX_TEXT = 64 * 1024


def from_exception(error: BaseException) -> Failure:
    """The failure that an exception of user code is: kind, code, message, traceback of the user's frames."""
    return {
        "kind": _kind(error),
        "code": _code(error),
        "message": _shortened(_message(error)),
        "traceback": _shortened(user_traceback(error)),
        "non_recoverable": isinstance(error, errors.NonRecoverableError),
    }


def platform_failure(code: str, message: str) -> Failure:
    """A failure that the platform is to blame for."""
    return {"kind": "SYSTEM", "code": code, "message": message, "traceback": "", "non_recoverable": False}


def user_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, without the frames of the SDK. Empty when no user code took part."""
    report = traceback.TracebackException.from_exception(error)
    _strip(report, set())
    others = (report.__cause__, report.__context__, getattr(report, "exceptions", None))
    return "".join(report.format()) if report.stack or any(others) else ""


def trimmed(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the SDK's frames at its start: what local mode shows its callers."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_SDK):
        trace = trace.tb_next
    return trace


def _strip(report: traceback.TracebackException, seen: set[int]) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    report.stack = traceback.StackSummary.from_list(
        [frame for frame in report.stack if not _is_ours(frame.filename)]
    )
    for other in getattr(report, "exceptions", None) or []:
        _strip(other, seen)
    for link in ("__cause__", "__context__"):
        other = getattr(report, link)
        if other is None:
            continue
        was_raised = bool(other.stack)
        _strip(other, seen)
        if was_raised and not other.stack:  # all of it happened in our code: our error says what was wrong
            setattr(report, link, None)


def _is_ours(filename: str) -> bool:
    return filename.startswith((*_SDK, "<frozen importlib", "<string>")) or "/cloudpickle/" in filename


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
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may do anything
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
