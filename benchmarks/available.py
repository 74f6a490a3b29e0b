"""What a machine lacks for measuring some of the systems."""

import subprocess

import pytest

from integration_tests.components.postgres import find_binaries


def engine() -> str:
    """Return why nothing can be measured on Docker here, empty when it can."""
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "there is no docker command"
    return done.stderr.strip() if done.returncode else ""


def database() -> str:
    """Return why nothing can be measured on PostgreSQL here, empty when it can."""
    try:
        find_binaries()
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        return str(error)
    return ""
