"""A task's inputs and outputs, read off its function's signature, and the documents they travel in."""

from __future__ import annotations

import inspect
import sys
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn

from flyte._types._canonical import DocumentError, dumps, loads
from flyte._types._docstring import parameter_texts, summary_of
from flyte._types._hints import LOCAL, class_hints, function_hints, has_unpacked, substituted, type_arguments
from flyte._types._mismatch import Mismatch, Unsendable, show
from flyte._types._variable import Variable

OutputStyle = Literal["none", "single", "tuple", "namedtuple"]

_STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _refused(message: str) -> Exception:
    # Imported when needed: most workers never get here.
    from flyte.errors import RuntimeDataValidationError

    return RuntimeDataValidationError(message)


class Interface:
    """The typed inputs and outputs of a function.

    Made by :meth:`from_function`. Documents are JSON objects from names to values.

    Attributes:
        name: The function's qualified name, for messages.
        description: The first paragraph of its docstring.
    """

    def __init__(self, fn: Callable[..., Any], parameters: Sequence[inspect.Parameter]) -> None:
        self.name: str = fn.__qualname__.rsplit(LOCAL, 1)[-1]
        self.description = summary_of(fn)
        self._fn = fn
        self._parameters = tuple(parameters)
        self._names = frozenset(parameter.name for parameter in parameters)
        self._resolved: tuple[tuple[Variable, ...], tuple[Variable, ...], OutputStyle, Any] | None = None

    @classmethod
    def from_function(cls, fn: Callable[..., Any]) -> Interface:
        """Reads the interface of a sync or async function.

        Annotations given as strings are resolved now, or at first use where they name what is defined later.

        Args:
            fn: The function. Parameters without an annotation take any value and are warned about.

        Raises:
            ValueError: A parameter cannot be passed by name (``*args``, ``**kwargs``, positional-only).
            TypeError: An annotation is not a type.
        """
        parameters = _parameters_of(fn)
        for parameter in parameters:
            if parameter.kind not in _BY_NAME:
                shown = _STARS.get(parameter.kind, "")
                raise ValueError(
                    f"{fn.__qualname__}: parameter {shown}{parameter.name} cannot be passed by name; "
                    "tasks take named parameters only, so name each one, or take a list or a dict"
                )
            if parameter.annotation is inspect.Parameter.empty:
                warnings.warn(
                    f"{fn.__qualname__}: parameter {parameter.name!r} has no type annotation; its values are "
                    "not checked, and are pickled where JSON has no form for them",
                    UserWarning,
                    stacklevel=2,
                )
        interface = cls(fn, parameters)
        try:
            for variable in (*interface.inputs, *interface.outputs):
                if LOCAL in fn.__qualname__:
                    _ = variable.codec  # now, while the scope that its names live in is still there
        except NameError:
            pass
        return interface

    def _resolve(self) -> tuple[tuple[Variable, ...], tuple[Variable, ...], OutputStyle, Any]:
        if self._resolved is None:
            hints = self._hints()
            texts = parameter_texts(self._fn)
            inputs = tuple(
                Variable(p.name, hints.get(p.name, Any), p.default, texts.get(p.name, ""))
                for p in self._parameters
            )
            self._resolved = (inputs, *_outputs_of(hints))
        return self._resolved

    def _hints(self) -> dict[str, Any]:
        """The types of parameters, and of what it returns as ``return``."""
        return function_hints(self._fn)

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """The parameters, in their order."""
        return self._resolve()[0]

    @property
    def outputs(self) -> tuple[Variable, ...]:
        """The results, named ``o0``, ``o1`` and so on."""
        return self._resolve()[1]

    @property
    def output_style(self) -> OutputStyle:
        """How the results make up the return value."""
        return self._resolve()[2]

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a call by parameter name; defaults are not filled in.

        Raises:
            TypeError: A value is missing, given twice, or has no parameter.
        """
        positional = [p.name for p in self._parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        if len(args) > len(positional):
            takes = f"{len(positional)} positional argument{'s' * (len(positional) != 1)}"
            raise TypeError(f"{self.name}() takes {takes} but {len(args)} were given")
        values = dict(zip(positional, args, strict=False))
        for name, value in kwargs.items():
            if name not in self._names:
                raise TypeError(
                    f"{self.name}() got an unexpected keyword argument {name!r}; it takes {self._signature()}"
                )
            if name in values:
                raise TypeError(f"{self.name}() got multiple values for argument {name!r}")
            values[name] = value
        missing = [p.name for p in self._parameters if p.default is p.empty and p.name not in values]
        if missing:
            plural = "s" * (len(missing) > 1)
            names = ", ".join(map(repr, missing))
            raise TypeError(f"{self.name}() missing {len(missing)} required argument{plural}: {names}")
        return values

    def _signature(self) -> str:
        return ", ".join(p.name for p in self._parameters) or "no arguments"

    def apply_defaults(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values, with the function's defaults for those that are missing, in the parameters' order."""
        filled = {}
        for parameter in self._parameters:
            if parameter.name in values:
                filled[parameter.name] = values[parameter.name]
            elif parameter.default is not parameter.empty:
                filled[parameter.name] = parameter.default
        return filled

    def dump_inputs(self, values: Mapping[str, Any]) -> bytes:
        """The inputs document. Defaults that can be written are filled in: equal calls are equal documents.

        Raises:
            RuntimeDataValidationError: A value is missing, unknown, of a wrong type, or cannot be serialised.
        """
        inputs = self.inputs
        document = {}
        for variable in inputs:
            if variable.name in values:
                document[variable.name] = self._encoded(
                    variable, values[variable.name], f"parameter {variable.name!r}"
                )
            elif variable.required:
                raise _refused(
                    f"{self.name}: parameter {variable.name!r} is missing; it takes {self._signature()}"
                )
            elif variable.default_json is not None:
                document[variable.name] = variable.codec.encode(variable.default)
        if not self._names.issuperset(values):
            self._refuse_unknown(values)
        return self._written(document)

    def load_inputs(self, data: bytes) -> dict[str, Any]:
        """The values of an inputs document by parameter name, with defaults for those that are missing.

        Raises:
            RuntimeDataValidationError: The document does not fit the interface.
        """
        document = self._read(data, "inputs")
        values = {}
        for variable in self.inputs:
            if variable.name in document:
                values[variable.name] = self._decoded(variable, document, f"parameter {variable.name!r}")
            elif variable.required:
                raise _refused(
                    f"{self.name}: parameter {variable.name!r} is missing; it takes {self._signature()}"
                )
            else:
                values[variable.name] = variable.default
        if not self._names.issuperset(document):
            self._refuse_unknown(document)
        return values

    def _refuse_unknown(self, values: Mapping[str, Any]) -> NoReturn:
        names = ", ".join(repr(name) for name in values if name not in self._names)
        raise _refused(f"{self.name}: there is no parameter {names}; it takes {self._signature()}")

    def dump_outputs(self, value: Any) -> bytes:
        """The outputs document of what the function returned.

        Raises:
            RuntimeDataValidationError: The value does not fit the return annotation, or cannot be serialised.
        """
        _, outputs, style, _ = self._resolve()
        if style == "none":
            self._check_nothing(value)
            return b"{}"
        if style == "single":
            return self._written({"o0": self._encoded(outputs[0], value, "return value")})
        if not isinstance(value, tuple) or len(value) != len(outputs):
            types = ", ".join(variable.codec.name for variable in outputs)
            raise _refused(
                f"{self.name}: return value: expected a tuple of {len(outputs)} ({types}), got {show(value)}"
            )
        return self._written(
            {
                v.name: self._encoded(v, part, f"return value {v.name}")
                for v, part in zip(outputs, value, strict=True)
            }
        )

    def _check_nothing(self, value: Any) -> None:
        if value is None:
            return
        if "return" in self._fn.__annotations__:
            raise _refused(f"{self.name}: return value: annotated -> None, but it returned {show(value)}")
        raise _refused(
            f"{self.name} returned {show(value)}, but has no return annotation; "
            f"annotate it, for example: def {self.name}(...) -> {type(value).__name__}"
        )

    def load_outputs(self, data: bytes) -> Any:
        """What the function returned.

        Raises:
            RuntimeDataValidationError: The document does not fit the interface.
        """
        _, outputs, style, kind = self._resolve()
        document = self._read(data, "outputs")
        for variable in outputs:
            if variable.name not in document:
                raise _refused(f"{self.name}: output {variable.name!r} is missing from the document")
        if style == "none":
            return None
        values = [self._decoded(variable, document, f"output {variable.name!r}") for variable in outputs]
        if style == "single":
            return values[0]
        return kind(*values) if style == "namedtuple" else tuple(values)

    def _encoded(self, variable: Variable, value: Any, place: str) -> Any:
        try:
            return variable.codec.encode(value)
        except (Mismatch, RecursionError, DocumentError) as error:
            self._fail(place, error)

    def _decoded(self, variable: Variable, document: dict[str, Any], place: str) -> Any:
        try:
            return variable.codec.decode(document[variable.name])
        except (Mismatch, RecursionError, DocumentError) as error:
            self._fail(place, error)

    def _fail(self, place: str, error: Exception) -> NoReturn:
        reason = "nested too deeply, or contains itself" if isinstance(error, RecursionError) else str(error)
        cause = error.__cause__ if isinstance(error, Mismatch) else None
        message = f"{self.name}: {place}: {reason}"
        if isinstance(error, Unsendable):
            from flyte.errors import RestrictedTypeError  # as in `_refused`

            raise RestrictedTypeError(message) from cause
        raise _refused(message) from cause

    def _written(self, document: dict[str, Any]) -> bytes:
        try:
            return dumps(document)
        except DocumentError as error:
            raise _refused(f"{self.name}: {error}") from None

    def _read(self, data: bytes, what: str) -> dict[str, Any]:
        try:
            document = loads(data)
        except DocumentError as error:
            raise _refused(f"{self.name}: {what}: {error}") from None
        if not isinstance(document, dict):
            raise _refused(
                f"{self.name}: {what}: expected an object that maps names to values, got {show(document)}"
            )
        return document


def _parameters_of(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    if sys.version_info >= (3, 14):
        import annotationlib  # new in 3.14, where annotations may name what is not defined yet

        signature = inspect.signature(fn, annotation_format=annotationlib.Format.FORWARDREF)
    else:
        signature = inspect.signature(fn)
    return list(signature.parameters.values())


def _outputs_of(hints: dict[str, Any]) -> tuple[tuple[Variable, ...], OutputStyle, Any]:
    annotation = hints.get("return")
    never = (typing.NoReturn, getattr(typing, "Never", typing.NoReturn))
    if annotation is None or annotation is type(None) or annotation in never:
        return (), "none", None
    bare = typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
    origin, args = typing.get_origin(bare) or bare, typing.get_args(bare)
    if isinstance(origin, type) and issubclass(origin, tuple) and hasattr(origin, "_fields"):
        return _named_outputs(origin, args), "namedtuple", origin
    if origin is tuple and args and Ellipsis not in args and not has_unpacked(args):
        return tuple(Variable(f"o{index}", arg) for index, arg in enumerate(args)), "tuple", tuple
    return (Variable("o0", annotation),), "single", None


def _named_outputs(origin: Any, args: tuple[Any, ...]) -> tuple[Variable, ...]:
    arguments = type_arguments(origin, args)
    hints = class_hints(origin)
    return tuple(
        Variable(f"o{index}", substituted(hints.get(name, Any), arguments), description=name)
        for index, name in enumerate(origin._fields)
    )
