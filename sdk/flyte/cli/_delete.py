"""`flyte delete …`."""

from __future__ import annotations

from typing import Any

import click

from flyte.cli._groups import LazyGroup

_COMMANDS = {"image": ("flyte.cli._images:delete_image", "Remove an image.")}


@click.group(cls=LazyGroup, commands_at=_COMMANDS, no_args_is_help=True)
def delete() -> Any:
    """Remove what is not needed any more."""
