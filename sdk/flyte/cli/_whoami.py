"""`flyte whoami`."""

from __future__ import annotations

import os
from typing import Any

import click

from flyte.cli._groups import Command
from flyte.cli._settings import format_option, settings_of
from flyte.cli._table import write_record

_EXAMPLES = """
flyte whoami
flyte --endpoint dns:///flyte.example.com whoami
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@format_option
@click.pass_context
def whoami(ctx: click.Context) -> None:
    """Say as whom commands talk to which backend, and whether it lets them. The exit code is 6 when it does not."""
    from flyte._client._loop import LOOP
    from flyte.remote import Project

    settings = settings_of(ctx)
    session = settings.open_session()
    client = LOOP.run(session.client())
    found = sum(1 for _ in Project.listall())  # an answer: the backend accepts who asks
    token = "that of FLYTE_API_KEY" if os.environ.get("FLYTE_API_KEY") else "the embedded backend's own"
    record: dict[str, Any] = {
        "user": "everybody: this platform has no users yet",
        "token": token if client.shows_token else None,
        "endpoint": client.endpoint.address,
        "project": session.project,
        "domain": session.domain,
        "projects": found,
    }
    write_record(settings, record)
