"""Writes results as tables or JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from flyte.cli._settings import Settings

_WIDE = 240


def write_rows(settings: Settings, columns: Iterable[str], rows: list[dict[str, Any]], empty: str) -> None:
    """Writes a list of things.

    Args:
        settings: Say the format.
        columns: What tables show, in order; JSON has everything.
        rows: The things.
        empty: What to say on standard error when there are none.
    """
    if settings.as_json:
        write_json(settings, rows)
        return
    if not rows:
        click.echo(empty, err=True)
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    titles = [column.replace("_", " ") for column in columns]
    if settings.output_format == "table-simple":
        _write_simple(titles, cells)
    else:
        _write_table(titles, cells)


def write_record(settings: Settings, record: Mapping[str, Any]) -> None:
    """Writes one thing: a name and a value a line, or JSON."""
    if settings.as_json:
        write_json(settings, record)
        return
    shown = {
        name.replace("_", " "): _cell(value)
        for name, value in record.items()
        if value not in (None, "", {}, [])
    }
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        first, *rest = value.splitlines() or [""]
        click.echo(f"{name:<{width}}  {first}")
        for line in rest:
            click.echo(f"{'':<{width}}  {line}")


def write_done(settings: Settings, text: str, record: Mapping[str, Any]) -> None:
    """Says what a command did: a sentence, or JSON."""
    if settings.as_json:
        write_json(settings, record)
    else:
        click.echo(text)


def write_json(settings: Settings, value: Any) -> None:
    """Writes JSON: indented, or on one line as ``json-raw``."""
    indent = 2 if settings.output_format == "json" else None
    click.echo(json.dumps(value, ensure_ascii=False, indent=indent, default=_jsonable))


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value._form() if hasattr(value, "_form") else str(value)  # a file, directory or data frame


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def _write_simple(titles: list[str], cells: list[list[str]]) -> None:
    rows = [
        [title.upper() for title in titles],
        *[[cell.replace("\n", " ") for cell in row] for row in cells],
    ]
    widths = [max(len(row[index]) for row in rows) for index in range(len(titles))]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _write_table(titles: list[str], cells: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in cells:
        table.add_row(*(_unmarked(cell) for cell in row))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE
    Console(width=width, highlight=False).print(table)


def _unmarked(cell: str) -> Any:
    from rich.text import Text

    return Text(cell)
