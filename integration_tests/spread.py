"""How the whole suite is spread over several processes (pytest-xdist): a plug-in of pytest, see the root conftest.

The tests of a file, or of a group of files, run one after the other in one process. The longest come first, so that
all processes end at about the same time. What is left behind is looked for when all of them have ended.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

GROUPS = {
    # Addresses of an outside world and of hosts are fixed, and so are names of network namespaces.
    "services/executor/engines/docker/tests/test_networks.py": "network",
    "integration_tests/test_hardening.py": "network",
    "integration_tests/test_hosts.py": "network",
    # What the kernel emulates is one for all.
    "services/image_builder/tests/test_real_platforms.py": "emulation",
    "integration_tests/on_docker/test_platforms.py": "emulation",
}
"""Files that must not run at the same time, by the name of their group. Any other file is a group of its own."""

SECONDS = {
    "integration_tests/test_compose.py": 195,
    "network": 180,
    "integration_tests/on_docker/test_docker_kills.py": 110,
    "integration_tests/test_storage.py": 105,
    "integration_tests/test_postgres.py": 95,
    "emulation": 90,
    "integration_tests/on_postgres/test_kills.py": 85,
    "integration_tests/test_standby.py": 85,
    "integration_tests/on_docker/test_kills.py": 75,
    "services/embedded/tests/test_serve.py": 75,
    "integration_tests/test_bad_input.py": 75,
    "integration_tests/test_kills.py": 60,
    "sdk/tests/cli/test_other_commands.py": 55,
    "services/embedded/tests/test_up.py": 55,
    "integration_tests/test_tokens.py": 50,
    "integration_tests/on_postgres/test_restarts.py": 45,
    "integration_tests/test_services_apart.py": 45,
    "integration_tests/test_restarts.py": 45,
    "services/executor/tests/test_end_to_end.py": 45,
    "services/scheduler/tests/test_outage.py": 45,
    "integration_tests/on_docker/test_container_tasks.py": 40,
    "sdk/tests/cli/test_run_command.py": 40,
    "integration_tests/on_docker/test_images.py": 40,
    "services/image_builder/tests/test_real_builds.py": 40,
    "services/admin/tests/test_runs.py": 35,
    "integration_tests/test_seed.py": 35,
    "integration_tests/test_waiting.py": 35,
    "services/executor/engines/docker/tests/test_engine_restart.py": 35,
    "services/common/tests/test_blob_contract.py": 35,
    "integration_tests/on_docker/test_restarts.py": 30,
    "integration_tests/test_examples.py": 30,
    "services/scheduler/tests/test_store.py": 30,
    "services/embedded/tests/test_doctor.py": 25,
    "integration_tests/test_retries.py": 25,
    "services/scheduler/tests/test_service.py": 25,
    "services/executor/engines/docker/tests/test_engine.py": 25,
    "integration_tests/on_docker/test_retries.py": 25,
    "services/embedded/tests/test_token.py": 25,
    "integration_tests/test_cache.py": 25,
    "services/executor/engines/tests/test_process.py": 25,
    "integration_tests/test_components.py": 25,
    "integration_tests/test_embedded.py": 25,
    "services/executor/engines/tests/test_conformance.py": 20,
    "services/executor/tests/test_end_to_end_docker.py": 20,
    "integration_tests/test_spans.py": 20,
    "sdk/tests/client/test_run.py": 20,
    "services/admin/tests/test_projects.py": 20,
    "services/admin/tests/test_http.py": 20,
    "services/ledger/tests/test_queries.py": 15,
}
"""How long the groups take that take long, on two busy cores. Only the order of groups comes of it."""

PROCESS = "PYTEST_XDIST_WORKER"
"""Environment variable with the name of one of several processes: `gw0`, `gw1`, …"""


def group_of(test: str) -> str:
    """Name of the group of a test: what must not be taken apart.

    Args:
        test: Identity of a test, `path::name`.
    """
    path = test.partition("::")[0]
    return GROUPS.get(path, path)


def pytest_configure(config: pytest.Config) -> None:
    """Begins what the process that hands out tests does besides."""
    if PROCESS in os.environ:
        # xdist puts the working directory there; what tests start shall find what it finds without xdist.
        rest = os.environ.get("PYTHONPATH", "").partition(os.pathsep)[2]
        os.environ.pop("PYTHONPATH", None) if not rest else os.environ.update(PYTHONPATH=rest)
    elif config.getoption("dist", "no") != "no":
        config.pluginmanager.register(Distribution())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest groups first, where there are several processes."""
    if PROCESS in os.environ:
        items.sort(key=lambda item: -_seconds(group_of(item.nodeid)))


def _seconds(group: str) -> int:
    return SECONDS.get(group, 10 if group.startswith("integration_tests/") else 0)


class Distribution:
    """What the process does that hands out tests to others and runs none."""

    def __init__(self) -> None:
        from integration_tests.components.engine import engine_url
        from integration_tests.leaks import Leaks

        self._shared = tempfile.TemporaryDirectory(prefix="hangar-it-")
        Path(self._shared.name).chmod(0o755)  # workers in containers are nobody in particular
        self._leaks = Leaks(engine_url())
        self._leaks.own(self._shared.name)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Hands out groups in the order in which their first tests were collected."""
        from xdist.scheduler import LoadScopeScheduling

        class Groups(LoadScopeScheduling):
            def _split_scope(self, nodeid: str) -> str:
                return group_of(nodeid)

        config.option.loadscopereorder = False
        return Groups(config, log)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tells each process where things are that all of them use."""
        node.workerinput["shared"] = self._shared.name

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Fails when anything of what tests started is left."""
        result = yield
        self._shared.cleanup()
        try:
            self._leaks.check()
        except AssertionError as error:
            location = (__file__, None, "leaks")
            report = pytest.TestReport("leaks", location, {}, "failed", str(error), "teardown")
            session.config.hook.pytest_runtest_logreport(report=report)
        return result

    def pytest_unconfigure(self) -> None:
        """Removes what the processes shared, however they ended."""
        self._shared.cleanup()
