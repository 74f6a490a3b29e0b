"""What the options before the command say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from flyte._initialize import Session

OutputFormat = Literal["table", "table-simple", "json", "json-raw"]
FORMATS = ("table", "table-simple", "json", "json-raw")


@dataclass(frozen=True)
class Settings:
    """The options before the command.

    Attributes:
        endpoint: Backend, over the configuration's.
        insecure: True for plain text, over the configuration's.
        config: Configuration file.
        verbosity: How often ``-v`` was given.
        output_format: How results are written.
    """

    endpoint: str | None = None
    insecure: bool | None = None
    config: str | None = None
    verbosity: int = 0
    output_format: OutputFormat = "table"

    @property
    def as_json(self) -> bool:
        """True when results are written as JSON."""
        return self.output_format in {"json", "json-raw"}

    def open_session(
        self, project: str | None = None, domain: str | None = None, *, starts_backend: bool = False
    ) -> Session:
        """Makes the session that everything after it uses.

        Raises:
            flyte.errors.InitializationError: When the configuration is wrong.
        """
        from flyte._initialize import Session, install
        from flyte.config import TaskConfig, auto

        config = auto(self.config)
        endpoint = self.endpoint if self.endpoint is not None else config.admin.endpoint
        insecure = self.insecure if self.insecure is not None else config.admin.insecure
        task = TaskConfig(project or config.task.project, domain or config.task.domain)
        admin = replace(config.admin, endpoint=endpoint, insecure=insecure)
        config = replace(config, admin=admin, task=task)
        return install(Session(config, starts_backend=starts_backend))


def settings_of(ctx: click.Context) -> Settings:
    """The settings of the command that runs."""
    return ctx.find_object(Settings) or Settings()


def _set_format(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value is not None:
        ctx.obj = replace(settings_of(ctx), output_format=value)


def format_option(function: Any) -> Any:
    """Adds ``-of`` to a command."""
    return click.option(
        "-of",
        "--output-format",
        type=click.Choice(FORMATS),
        expose_value=False,
        callback=_set_format,
        help="How to write results.  [default: table]",
    )(function)


def scope_options(function: Any) -> Any:
    """Adds ``--project`` and ``--domain`` to a command."""
    domain = click.option("-d", "--domain", help="Domain: development, staging or production.")
    return click.option("-p", "--project", help="Project.")(domain(function))


def local_option(function: Any) -> Any:
    """Adds ``--local`` to a command that shows runs."""
    return click.option(
        "--local", is_flag=True, help="Recorded local runs, instead of those of the backend."
    )(function)


def refuse_with_local(local: bool, **given: Any) -> None:
    """Refuses options that say nothing about local runs.

    Raises:
        click.UsageError: One of them is given with ``--local``.
    """
    for name, value in given.items():
        if local and value:
            raise click.UsageError(f"--{name.replace('_', '-')} has no effect with --local: leave it out.")
