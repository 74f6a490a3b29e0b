"""The check for leftovers finds them: it would be worth nothing otherwise."""

import subprocess
import sys
import tempfile

import pytest

from integration_tests.components.engine import connect
from integration_tests.components.images import BUSYBOX
from integration_tests.leaks import Leaks

MARK = "leak-of-a-test"


@pytest.fixture
def found(docker_url):
    """A check without patience that takes everything with the mark for its own."""
    leaks = Leaks(docker_url, patience=0)
    leaks.own(MARK)
    leaks.check()
    return leaks


def left_behind(leaks: Leaks) -> str:
    """What the check says."""
    with pytest.raises(AssertionError) as failure:
        leaks.check()
    return str(failure.value)


def test_containers_volumes_and_networks(found, docker_url):
    """What is left in the engine is named."""
    client = connect(docker_url)
    name = f"hangar-{MARK}"
    try:
        container = client.containers.create(BUSYBOX, ["true"], name=name)
        volume = client.volumes.create(name)
        network = client.networks.create(name, internal=True)
        said = left_behind(found)
        assert [line.split()[0] for line in said.splitlines()[1:] if name in line].count("container") == 1
        for kind in ("container", "network", "volume"):
            assert f"\n{kind} " in said, said
        container.remove()
        volume.remove()
        network.remove()
    finally:
        client.close()
    found.check()


def test_files_and_processes(found):
    """A directory and a process that names it are named."""
    with tempfile.TemporaryDirectory(prefix=f"hangar-{MARK}-") as directory:
        command = [sys.executable, "-c", "import sys; sys.stdin.read()", f"{directory}/x"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        said = left_behind(found)
        assert f"file {directory}" in said
        assert f"process {process.pid} " in said
        process.communicate()
    found.check()
