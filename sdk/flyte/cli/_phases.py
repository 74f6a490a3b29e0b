"""Phases on the command line."""

from __future__ import annotations

import click

PHASES = click.Choice(
    [
        "queued",
        "waiting_for_resources",
        "initializing",
        "running",
        "paused",
        "succeeded",
        "failed",
        "aborted",
        "timed_out",
    ],
    case_sensitive=False,
)
"""The names of the phases; written out so that help needs no further import."""
