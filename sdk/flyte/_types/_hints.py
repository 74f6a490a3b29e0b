"""Annotations as types: strings resolved, also in local scopes, and type variables filled in."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any, TypeVar, Union

LOCAL = ".<locals>."


def _enclosing_names(qualname: str) -> dict[str, Any]:
    """What the functions around a local definition see right now, as far as they are still running."""
    functions = {part.rsplit(".", 1)[-1] for part in qualname.split(LOCAL)[:-1]}
    names: dict[str, Any] = {}
    frame = sys._getframe(1).f_back
    while frame is not None:
        if frame.f_code.co_name in functions:
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def _closure_names(fn: Callable[..., Any]) -> dict[str, Any]:
    names = {}
    for name, cell in zip(fn.__code__.co_freevars, getattr(fn, "__closure__", None) or (), strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # the name is not bound yet
            continue
    return names


def function_hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotations of a function.

    Raises:
        NameError: A string names something that is not defined, or not yet.
    """
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except NameError:
        names = {**_enclosing_names(fn.__qualname__), **_closure_names(fn)}
        return typing.get_type_hints(fn, localns=names, include_extras=True)


def class_hints(cls: type) -> dict[str, Any]:
    """The resolved annotations of a class and its bases.

    Raises:
        NameError: A string names something that is not defined, or not yet.
    """
    source = _without_init_variables(cls)
    try:
        return typing.get_type_hints(source, include_extras=True)
    except NameError:
        names = {**_enclosing_names(cls.__qualname__), cls.__name__: cls}
        return typing.get_type_hints(source, localns=names, include_extras=True)


def _without_init_variables(cls: type) -> type:
    """The class, or a stand-in without its ``InitVar`` annotations, which Python 3.10 cannot resolve."""
    fields = getattr(cls, "__dataclass_fields__", {})
    if all(field._field_type is not dataclasses._FIELD_INITVAR for field in fields.values()):  # type: ignore[attr-defined]
        return cls
    kept = {field.name for field in dataclasses.fields(cls)}
    stand_in: type = object
    for base in reversed(cls.__mro__[:-1]):
        annotations = {name: hint for name, hint in inspect.get_annotations(base).items() if name in kept}
        stand_in = type(
            base.__name__, (stand_in,), {"__annotations__": annotations, "__module__": base.__module__}
        )
    return stand_in


def variable_stand_in(variable: Any) -> Any:
    """What an unfilled type variable accepts: its constraints, its bound, or anything."""
    if constraints := getattr(variable, "__constraints__", ()):
        return Union[constraints]  # noqa: UP007, of a tuple
    bound = getattr(variable, "__bound__", None)
    return Any if bound is None else bound


def substituted(annotation: Any, arguments: dict[Any, Any]) -> Any:
    """The annotation with type variables replaced."""
    if isinstance(annotation, TypeVar):
        return arguments.get(annotation, variable_stand_in(annotation))
    parameters = getattr(annotation, "__parameters__", ())
    if not parameters or isinstance(annotation, type):
        return annotation
    return annotation[tuple(arguments.get(p, variable_stand_in(p)) for p in parameters)]


def has_unpacked(args: tuple[Any, ...]) -> bool:
    """Whether any argument stands for several, such as ``*tuple[int, ...]``."""
    return any(str(arg).startswith("*") or "Unpack[" in str(arg) for arg in args)


def type_arguments(cls: Any, args: tuple[Any, ...]) -> dict[Any, Any]:
    """What the type variables of a generic class and of its bases stand for."""
    arguments = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
    for base in getattr(cls, "__orig_bases__", ()):
        origin = typing.get_origin(base)
        if origin is None or origin in (typing.Generic, typing.Protocol):
            continue
        filled = tuple(substituted(argument, arguments) for argument in typing.get_args(base))
        for variable, value in type_arguments(origin, filled).items():
            arguments.setdefault(variable, value)
    return arguments
