"""Command groups that import a command's module only when it is used."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that knows the names and help lines of its commands, and where they are.

    Args:
        commands_at: Name → (``module:attribute``, help line).
        default: Command that gets the arguments when the first one names none.
        default_without_arguments: True to run the default when there are no arguments, or only options.
    """

    def __init__(
        self,
        *args: Any,
        commands_at: dict[str, tuple[str, str]],
        default: str | None = None,
        default_without_arguments: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.commands_at = commands_at
        self.default = default
        self.default_without_arguments = default_without_arguments

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the default in front of options of its own."""
        if self.default is not None and self.default_without_arguments:
            options_of_default = (
                bool(args) and args[0].startswith("-") and args[0] not in ctx.help_option_names
            )
            if not args or options_of_default:
                args = [self.default, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in their order."""
        return [name for name, (_, text) in self.commands_at.items() if text]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name not in self.commands_at:
            return None
        module, _, attribute = self.commands_at[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that the arguments name; says which is close when there is none."""
        names_commands = self.default is None or self.default_without_arguments
        if names_commands and args and args[0] not in self.commands_at:
            _refuse_later(ctx, args[0])
        if self.default is not None and args and args[0] not in self.commands_at:
            args = [self.default, *args]
        if args and args[0] not in self.commands_at and not args[0].startswith("-"):
            raise click.UsageError(unknown("command", args[0], self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the help lines without importing anything."""
        rows = [(name, self.commands_at[name][1]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes examples as they are."""
        write_examples(self.epilog, formatter)


class Command(click.Command):
    """A command whose epilog is a block of examples."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes examples as they are."""
        write_examples(self.epilog, formatter)


def _refuse_later(ctx: click.Context, name: str) -> None:
    """Says of a documented command what to do until it is built."""
    from flyte._availability import COMMANDS

    if name in COMMANDS:
        raise click.UsageError(
            f"{ctx.command_path} {name} is not available in this version: {COMMANDS[name]}.", ctx
        )


def write_examples(examples: str | None, formatter: click.HelpFormatter) -> None:
    """Writes the section of examples, line by line."""
    if not examples:
        return
    formatter.write_paragraph()
    formatter.write("Examples:\n")
    for line in examples.strip().splitlines():
        formatter.write(f"  {line.strip()}\n")


def unknown(what: str, name: str, known: list[str]) -> str:
    """Says that there is no such name, which one is close, and which there are."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    there_are = f" There are: {', '.join(known)}." if known else ""
    return f"There is no {what} {name!r}.{hint}{there_are}"
