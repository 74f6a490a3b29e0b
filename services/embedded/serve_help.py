"""The help of `hangar serve SERVICE`: it names every setting, read from the service's Settings."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from typing import Any

import click

_MODULES = {
    "scheduler": "services.scheduler.settings",
    "admin": "services.admin.settings",
    "executor": "services.executor.settings",
    "image-builder": "services.image_builder.settings",
    "app-serving": "services.app_serving.settings",
}
_SHARED = [
    ("HANGAR_DATA_DIR", "Directory of everything that is kept."),
    (
        "HANGAR_TOKEN_FILE",
        "File with the token that callers show; needed beyond loopback. `hangar token` makes it.",
    ),
    ("HANGAR_TOKEN", "The token itself, where a file is not possible."),
    ("HANGAR_LOG_FORMAT", "console or json."),
    ("HANGAR_LOG_LEVEL", "debug, info, warning or error."),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "Where spans go over OTLP gRPC; empty for nowhere."),
]
_CLOSING = (
    "Health and reflection are on its gRPC port. Services that it needs may start later: it waits for them. "
    "A first SIGTERM or Ctrl-C lets it finish what it does, a second one ends it at once."
)


class ServeCommand(click.Command):
    """A command whose help ends with the settings of its service."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the settings."""
        with formatter.section("Settings of this service"):
            formatter.write_dl(_own_settings(_MODULES[self.name or ""]))
        with formatter.section("Settings of every service"):
            formatter.write_dl(_SHARED)
        formatter.write_paragraph()
        formatter.write_text(_CLOSING)


def _own_settings(module: str) -> list[tuple[str, str]]:
    settings: Any = importlib.import_module(module).Settings
    described = _descriptions(settings)
    shared = {name for name, _ in _SHARED}
    return [
        (variable, described.get(name, ""))
        for variable, name in settings.environment_names().items()
        if variable not in shared
    ]


def _descriptions(settings: type) -> dict[str, str]:
    """Returns what stands below each setting in the source."""
    found: dict[str, str] = {}
    body = ast.parse(textwrap.dedent(inspect.getsource(settings))).body[0]
    assert isinstance(body, ast.ClassDef)
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            value = after.value if isinstance(after, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[statement.target.id] = " ".join(value.value.split()).replace("``", "")
    return found
