"""`flyte gen docs`: the reference of the command line, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click

from flyte.cli._groups import Command, LazyGroup

_COMMANDS = {"docs": ("flyte.cli._gen:docs", "Write the reference of the command line.")}


@click.group(cls=LazyGroup, commands_at=_COMMANDS, no_args_is_help=True, epilog="flyte gen docs > cli.md")
def gen() -> Any:
    """Generate documentation."""


@click.command(cls=Command, epilog="flyte gen docs --type markdown > cli.md")
@click.option(
    "--type", "kind", type=click.Choice(["markdown"]), default="markdown", show_default=True, help="Format."
)
def docs(kind: str) -> None:
    """Write the reference of the command line to standard output."""
    from flyte.cli.main import cli

    click.echo("\n".join(reference(cli)))


def reference(root: click.Command) -> Iterator[str]:
    """The lines of the reference in Markdown: every command with its arguments, options and examples."""
    yield "# The `flyte` command"
    yield ""
    yield "Made by `flyte gen docs`. Options that every command has: `-h`, `--help`."
    for path, command, ctx in _commands(root, click.Context(root, info_name="flyte")):
        yield ""
        yield f"## {path}"
        yield ""
        yield f"`{' '.join([path, *command.collect_usage_pieces(ctx)])}`"
        yield ""
        yield inspect.cleandoc(command.help or "").replace("\b\n", "")
        yield from _options(command, ctx)
        if command.epilog:
            yield from ("", "```bash", *(line.strip() for line in command.epilog.strip().splitlines()), "```")


def _commands(
    command: click.Command, ctx: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Commands, each before those below it."""
    yield ctx.command_path, command, ctx
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            if below is not None and not below.hidden:
                yield from _commands(below, click.Context(below, parent=ctx, info_name=name))


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    rows = [
        record
        for parameter in command.get_params(ctx)
        if "--help" not in parameter.opts and (record := parameter.get_help_record(ctx)) is not None
    ]
    if not rows:
        return
    yield from ("", "| option | meaning |", "|---|---|")
    for names, text in rows:
        meaning = " ".join(text.split()).replace("|", "\\|")
        yield f"| `{names.replace('|', chr(92) + '|')}` | {meaning} |"
