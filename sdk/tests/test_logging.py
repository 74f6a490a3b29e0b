"""The SDK's logger."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys, flyte
{configuration}
flyte.logger.info("loaded %d rows", 3)
flyte.logger.debug("details")
"""


def logged(configuration: str) -> list[str]:
    """Lines on the standard error of a program that logs."""
    command = [sys.executable, "-c", CODE.format(configuration=configuration)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()


def test_messages_are_shown_without_any_configuration():
    """What a task logs is in its output."""
    (line,) = logged("")
    assert line.endswith(" INFO loaded 3 rows")


def test_a_program_that_configures_logging_gets_each_message_once():
    """Its own format, no second line."""
    assert logged("import logging; logging.basicConfig(format='%(message)s')") == ["loaded 3 rows"]


def test_the_level_can_be_changed():
    """As of any logger."""
    assert len(logged("flyte.logger.setLevel('DEBUG')")) == 2
    assert logged("flyte.logger.setLevel('WARNING')") == []
