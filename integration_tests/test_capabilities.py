"""Programs of somebody who knows the documented API, unchanged in local mode, on processes and in containers."""

import shutil
from pathlib import Path

from integration_tests.capabilities import EXPECTED


def test_one_program_per_capability_in_local_mode(make_workspace):
    """Every capability gives in local mode what it is documented to give."""
    run_everything(make_workspace(None), "local")


def test_one_program_per_capability(workspace):
    """Every capability gives on a backend what it is documented to give."""
    run_everything(workspace, "remote")


def run_everything(workspace, mode):
    """Runs the program, which compares what it finds with what is expected."""
    shutil.copy(Path(__file__).with_name("capabilities.py"), workspace.directory)
    workspace.environ["RUN_MODE"] = mode
    assert f"all {len(EXPECTED)} as expected" in workspace.python("capabilities.py").out
