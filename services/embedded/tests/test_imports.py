"""What the start of everything in one process does not import."""

import subprocess
import sys


def test_the_docker_library_waits_for_its_use():
    """Processes run tasks unless the settings say otherwise, so a start does not pay for containers."""
    script = (
        "import sys, services.embedded.backend; print('docker' in sys.modules, 'requests' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
