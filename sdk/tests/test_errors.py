"""Errors: their classes, and how failures become errors."""

from __future__ import annotations

import copy
import pickle

import pytest

from flyte import errors

NAMED = sorted(
    name
    for name in errors.__all__
    if name
    not in {
        "BaseRuntimeError",
        "CustomError",
        "RuntimeSystemError",
        "RuntimeUnknownError",
        "RuntimeUserError",
        "from_failure",
    }
)


@pytest.mark.parametrize("name", NAMED)
def test_named_errors_take_a_message_or_code_and_message(name):
    """An error with a class of its own has the class name as its code unless given."""
    error_class = getattr(errors, name)
    short, full = error_class("it broke"), error_class("Other", "it broke", "w1")
    assert (short.code, short.message, short.worker) == (name, "it broke", None)
    assert (full.code, full.message, full.worker) == ("Other", "it broke", "w1")
    assert str(short) == str(full) == "it broke"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.RuntimeUserError("C", "m"), "user"),
        (errors.RuntimeSystemError("C", "m"), "system"),
        (errors.RuntimeUnknownError("C", "m"), "unknown"),
        (errors.UnionRpcError("m"), "system"),
        (errors.OOMError("m"), "user"),
        (errors.BaseRuntimeError("C", "unknown", "m", "w"), "unknown"),
    ],
)
def test_kinds_say_who_is_to_blame(error, kind):
    """The kind follows from the class."""
    assert error.kind == kind
    assert isinstance(error, errors.BaseRuntimeError)
    assert isinstance(error, RuntimeError)


@pytest.mark.parametrize(
    "name", [name for name in errors.__all__ if name not in {"from_failure", "BaseRuntimeError"}]
)
def test_errors_survive_pickling_and_copying(name):
    """Every error keeps class and attributes across processes."""
    error = getattr(errors, name)("Code", "message", "worker-1")
    error.user_traceback = "Traceback"
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert vars(twin) == vars(error)
        assert str(twin) == "message"


def test_custom_error_wraps_an_exception():
    """The code is the class name, the cause the exception."""
    cause = KeyError("k")
    error = errors.CustomError.from_exception(cause)
    assert (error.code, error.kind, error.__cause__) == ("KeyError", "user", cause)


def test_refusals_are_not_implemented_errors_too():
    """Code that looks for `NotImplementedError` finds a refused feature."""
    assert issubclass(errors.FeatureNotAvailableError, NotImplementedError)


@pytest.mark.parametrize(
    ("kind", "phase", "code", "expected"),
    [
        ("user", "failed", "ValueError", errors.RuntimeUserError),
        ("FAILURE_KIND_USER", "PHASE_FAILED", "ValueError", errors.RuntimeUserError),
        ("USER", "failed", "OOMError", errors.OOMError),
        ("user", "failed", "from_failure", errors.RuntimeUserError),
        ("user", "failed", "BaseRuntimeError", errors.RuntimeUserError),
        ("oom", "failed", "OOM", errors.OOMError),
        ("gpu_oom", "failed", "", errors.OOMError),
        ("timeout", "TIMED_OUT", "", errors.TaskTimeoutError),
        ("user", "timed_out", "", errors.TaskTimeoutError),
        ("user", "aborted", "", errors.ActionAbortedError),
        ("preempted", "failed", "", errors.TaskInterruptedError),
        ("image", "failed", "", errors.ImageBuildError),
        ("lost", "failed", "NodeLost", errors.RuntimeSystemError),
        ("system", "failed", "", errors.RuntimeSystemError),
        ("", "failed", "", errors.RuntimeUnknownError),
        ("new_kind", "failed", "", errors.RuntimeUnknownError),
    ],
)
def test_failures_become_the_error_that_fits(kind, phase, code, expected):
    """Kind, phase and code of a failure decide the class; code, message and traceback are kept."""
    error = errors.from_failure(kind, code, "why", phase=phase, worker="w", user_traceback="tb")
    assert type(error) is expected
    assert error.code == (code or expected.__name__)
    assert (error.message, error.worker, error.user_traceback) == ("why", "w", "tb")


def test_an_exception_whose_text_ends_the_program_is_a_failure_like_others():
    """Whatever its `__str__` raises, the failure has the class's name and says so."""
    from flyte._runtime.failures import from_exception

    class Hostile(Exception):
        def __str__(self) -> str:
            raise SystemExit(5)

    failure = from_exception(Hostile())
    assert (failure["code"], failure["message"]) == ("Hostile", "(its __str__ raised SystemExit)")
