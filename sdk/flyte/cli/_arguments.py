"""Command-line options made from a task's signature."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from flyte._definition import Definition
    from flyte._task import TaskTemplate
    from flyte._types import Variable

_SHOWN = 60
_KINDS = {"file": "File", "dir": "Dir", "dataframe": "DataFrame"}


class ArgumentType(click.ParamType[Any]):
    """Reads a value of the type that a parameter has."""

    def __init__(self, variable: Variable) -> None:
        self.name = variable.type_name
        self._variable = variable

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parses what was typed."""
        from flyte._types import parse_argument

        if not isinstance(value, str):
            return value
        try:
            return parse_argument(value, self._variable.annotation)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The type, as the help shows it."""
        return self.name.upper() if self.name.islower() else self.name


def options_of(task: TaskTemplate[..., Any] | Definition) -> list[click.Parameter]:
    """One option for each input; a boolean one is also a flag, and has a negative flag of its own."""
    names = {variable.name for variable in task.interface.inputs}
    options: list[click.Parameter] = []
    for variable in task.interface.inputs:
        is_flag = variable.type_name.upper() == "BOOLEAN"
        spellings = _spellings("--", variable.name)
        kind, text = ArgumentType(variable), _help_of(variable)
        if is_flag:  # a flag that takes a value, too
            options.append(click.Option(spellings, type=kind, help=text, is_flag=False, flag_value="true"))
        else:
            options.append(click.Option(spellings, type=kind, help=text))
        if is_flag and f"no_{variable.name}" not in names:
            options.append(
                click.Option(
                    [*_spellings("--no-", variable.name), _negative(variable.name)],
                    is_flag=True,
                    default=False,
                    help=f"The same as --{_dashed(variable.name)} false.",
                )
            )
    return options


def values_of(
    task: TaskTemplate[..., Any] | Definition, given: dict[str, Any], ctx: click.Context
) -> dict[str, Any]:
    """The inputs that were given.

    Raises:
        click.UsageError: When one is missing; names all that are.
    """
    values: dict[str, Any] = {}
    missing = []
    for variable in task.interface.inputs:
        if given.get(_negative(variable.name)):
            values[variable.name] = False
        elif ctx.get_parameter_source(variable.name) is click.core.ParameterSource.COMMANDLINE:
            values[variable.name] = given[variable.name]
        elif variable.required:
            missing.append(f"--{_dashed(variable.name)} (type: {variable.type_name})")
    if missing:
        raise click.UsageError(f"Missing required parameter(s): {', '.join(missing)}", ctx)
    return values


def _spellings(prefix: str, name: str) -> list[str]:
    """Both spellings, hyphens first in the help; the parameter's own name keeps the underscores."""
    spellings = [f"{prefix}{_dashed(name)}", f"{prefix}{name}"]
    return [*dict.fromkeys(spellings), *([name] if prefix == "--" else [])]


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _negative(name: str) -> str:
    return f"no__{name}"


def _help_of(variable: Variable) -> str:
    parts = [variable.description.strip()] if variable.description else []
    if variable.required:
        parts.append("[required]")
    else:
        shown = variable.default_json if variable.default_json is not None else repr(variable.default)
        parts.append(f"[default: {shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + '…'}]")
    return "  ".join(parts)


def key_values(what: str, texts: tuple[str, ...]) -> dict[str, str]:
    """Reads ``KEY=VALUE`` options.

    Raises:
        click.UsageError: When one has no equals sign or no key.
    """
    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{what} {text!r} must be KEY=VALUE.")
        values[key] = value
    return values


def shown_value(value: Any) -> str:
    """An output as people read it: text as it is, references by where they lead, everything else as JSON."""
    if isinstance(value, str):
        return value
    reference = value._form() if hasattr(value, "_form") else value
    if isinstance(reference, dict) and reference.get("$type") == "ref" and reference.get("kind") in _KINDS:
        return _shown_reference(reference)
    return json.dumps(value, ensure_ascii=False, default=shown_value) if _is_json(value) else str(value)


def _is_json(value: Any) -> bool:
    """Whether a value is plain, or refers to bulk data."""
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_json, value))
    return value is None or isinstance(value, (str, int, float)) or hasattr(value, "_form")


def _shown_reference(reference: dict[str, Any]) -> str:
    """A reference in a line: what it is, where, and the columns of a data frame. Never the data."""
    kind = _KINDS[reference["kind"]]
    place = f"hangar://{reference['key']}" if "key" in reference else str(reference.get("uri") or "(empty)")
    columns = ", ".join(f"{column['name']}: {column['type']}" for column in reference.get("columns") or ())
    more = [str(reference["format"])] if reference.get("format") else []
    more += [columns] if columns else []
    return f"{kind} {place}" + (f" ({'; '.join(more)})" if more else "")
