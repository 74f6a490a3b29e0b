"""`flyte completion`: names of commands, options, tasks and files when the tab key is pressed."""

from __future__ import annotations

import click

from flyte.cli._groups import Command

VARIABLE = "_FLYTE_COMPLETE"

_EXAMPLES = """
eval "$(flyte completion bash)"                             in ~/.bashrc
eval "$(flyte completion zsh)"                              in ~/.zshrc
flyte completion fish > ~/.config/fish/completions/flyte.fish
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Write the script that makes SHELL complete commands, options, files and the tasks in them."""
    from click.shell_completion import get_completion_class

    from flyte.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None  # click knows all the choices
    click.echo(found(cli, {}, "flyte", VARIABLE).source())
