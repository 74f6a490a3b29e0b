"""`hangar token`."""

from __future__ import annotations

from pathlib import Path

import click

from services.common.auth import Token, ensure_token
from services.embedded.settings import Settings

_NAME = "token"


def print_token(data_dir: Path | None, path: Path | None) -> None:
    """Prints the token, which is made when there is none.

    Raises:
        HangarError: Its file cannot be made or read.
    """
    settings = Settings.load(data_dir=data_dir)
    given = settings.token.get_secret_value()
    if path is None and given:
        click.echo(Token(given.strip()).reveal())
        return
    place = path or (Path(settings.token_file) if settings.token_file else token_path(settings.data_dir))
    click.echo(ensure_token(place).reveal())


def token_path(data_dir: Path) -> Path:
    """Returns where the token of a data directory is when the settings do not say."""
    return data_dir.expanduser().absolute() / _NAME
