"""Checks of what authors say of tasks."""

from __future__ import annotations

from typing import Any, Literal

from flyte._function_flags import ASYNC_GENERATOR, GENERATOR, VARARGS, VARKEYWORDS
from flyte._resources import Resources
from flyte._reuse import ReusePolicy

MAX_INLINE_IO_BYTES = 10 * 1024 * 1024


def check_short_name(short_name: object) -> str | None:
    """A name or None, or a `TypeError`."""
    if short_name is not None and not isinstance(short_name, str):
        raise TypeError(f"short_name must be a string, not {short_name!r}")
    return short_name


def check_flag(name: str, value: object) -> bool:
    """True or False, or a `TypeError` that names the parameter."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def check_resources(resources: object) -> Resources:
    """Resources, or a `TypeError` that says how to write them."""
    if not isinstance(resources, Resources):
        raise TypeError(f'resources must be flyte.Resources(cpu=…, memory="…"), not {resources!r}')
    return resources


def check_reusable(reusable: object) -> ReusePolicy | Literal["off"]:
    """A policy or "off", or a `TypeError`."""
    if reusable == "off":
        return "off"
    if not isinstance(reusable, ReusePolicy):
        raise TypeError(f'reusable must be flyte.ReusePolicy(…) or, in override, "off", not {reusable!r}')
    return reusable


def inline_limit(size: object, other: object, unset: object = MAX_INLINE_IO_BYTES) -> int:
    """The size that `max_inline_io_bytes=` and its other spelling `max_inline_io=` mean.

    Raises:
        TypeError: It is no int.
        ValueError: It is less than 1, or the two differ.
    """
    if other is not None and size not in (unset, other):
        raise ValueError("max_inline_io_bytes= and max_inline_io= are the same setting: give one of them")
    return check_max_inline_io_bytes(size if other is None else other)


def check_max_inline_io_bytes(size: object) -> int:
    """A size in bytes, or a `TypeError` or `ValueError`."""
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"max_inline_io_bytes must be an int, not {size!r}")
    if size < 1:
        raise ValueError(f"max_inline_io_bytes must be at least 1, not {size}")
    return size


def check_function(func: object) -> int:
    """Flags of a function's code, or an error that says why it cannot be a task."""
    code = getattr(func, "__code__", None)
    if code is None:
        raise TypeError(f"@env.task decorates a function, not {func!r}")
    name = getattr(func, "__name__", "")
    if not name.isidentifier():
        raise TypeError("@env.task decorates a named function, not a lambda: write `def`")
    flags: int = code.co_flags
    if flags & (GENERATOR | ASYNC_GENERATOR):
        raise TypeError(f"{name} is a generator: a task returns its value; return a list instead")
    wrapped: Any = func
    while hasattr(wrapped, "__wrapped__"):  # a decorated function has the inputs of the one that it wraps
        wrapped = wrapped.__wrapped__
    if getattr(wrapped, "__code__", code).co_flags & (VARARGS | VARKEYWORDS):
        raise ValueError(f"{name} has *args or **kwargs: name every input of a task, or take a list or dict")
    return flags
