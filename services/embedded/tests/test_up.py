import json
import signal
import socket
import sqlite3
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from hangar.admin.v1 import project_service_pb2, project_service_pb2_grpc
from services.embedded.backend_file import read_backend_file
from services.embedded.tests.process import HangarProcess, hangar, until

FREE = ("--grpc-port", "0", "--http-port", "0")


@pytest.fixture
def free():
    """A port that is free for now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def status(data_dir):
    """Returns what `hangar status` says."""
    return json.loads(hangar(data_dir, "status", "--json").stdout)


def test_the_backend_starts_serves_and_stops(tmp_path):
    """From nothing: all is healthy, a second one is refused by name, SIGTERM ends it."""
    data_dir = tmp_path / "new" / "data"
    with HangarProcess(data_dir, "up", *FREE) as process:
        file = process.ready()
        with grpc.insecure_channel(file.grpc) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for name in (
                "",
                "hangar.admin.v1.RunService",
                "hangar.scheduler.v1.SchedulerService",
                "hangar.executor.v1.ExecutorService",
                "hangar.image.v1.ImageService",
                "hangar.app.v1.AppService",
            ):
                answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            projects = project_service_pb2_grpc.ProjectServiceStub(channel)
            listed = projects.ListProjects(project_service_pb2.ListProjectsRequest(), timeout=30).projects
            assert [each.id for each in listed] == ["default"]
        with urllib.request.urlopen(f"{file.http}/healthz", timeout=30) as response:
            assert json.load(response) == {"status": "ok"}
        found = status(data_dir)
        assert (found["running"], found["pid"]) == (True, process.pid)
        assert [node["state"] for node in found["nodes"]] == ["ready"]
        second = hangar(data_dir, "up")
        assert second.returncode == 1
        assert (
            f"process {process.pid}, serving at {file.grpc}, uses the data directory {data_dir}"
            in second.stderr
        )
        assert "Traceback" not in second.stderr
        assert "BAD" not in hangar(data_dir, "doctor").stdout
        code, output = process.end()
        assert code == 0
        assert f"gRPC   {file.grpc}" in output
        assert "left to their supervisors for 60 s" in output
    assert read_backend_file(data_dir) is None
    assert status(data_dir)["running"] is False
    assert hangar(data_dir, "status").returncode == 3


def test_a_killed_backend_leaves_nothing_in_the_way(tmp_path):
    """After kill -9 the directory is free again, and the next start replaces what was left."""
    with HangarProcess(tmp_path, "up", *FREE) as process:
        process.ready()
        code, _ = process.end(signal.SIGKILL)
        assert code == -signal.SIGKILL
    assert read_backend_file(tmp_path) is not None
    assert status(tmp_path)["running"] is False
    with HangarProcess(tmp_path, "up", *FREE) as process:
        process.ready()
        assert process.end(signal.SIGINT)[0] == 0


def test_a_port_that_was_asked_for_is_needed_and_a_usual_one_is_not(tmp_path, free):
    """A port of the command line that is in use is an error; nothing is left behind, not even the lock."""
    with socket.create_server(("127.0.0.1", free)):
        refused = hangar(tmp_path, "up", "--grpc-port", str(free))
    assert refused.returncode == 1
    assert f"address 127.0.0.1:{free} is in use" in refused.stderr
    assert status(tmp_path)["running"] is False
    with HangarProcess(tmp_path, "up", "--without-executor") as process:
        assert process.ready().grpc.startswith("127.0.0.1:")


def test_an_executor_of_its_own_process_joins(tmp_path):
    """`hangar serve executor` joins a backend that runs none, and is seen to leave."""
    with HangarProcess(tmp_path / "a", "up", "--without-executor", *FREE) as backend:
        address = backend.ready().grpc
        assert status(tmp_path / "a")["nodes"] == []
        arguments = ("serve", "executor", "--scheduler", address, "--port", "0", "--node", "other")
        with HangarProcess(tmp_path / "b", *arguments) as executor:
            node = until(lambda: next(iter(status(tmp_path / "a")["nodes"]), None))
            assert (node["name"], node["state"]) == ("other", "ready")
            assert executor.end()[0] == 0
        assert until(lambda: status(tmp_path / "a")["nodes"][0]["state"] != "ready" or None)


def test_a_database_that_is_newer_is_refused_untouched(tmp_path):
    """A ledger of a later version stops the start with one message, and is not changed."""
    assert hangar(tmp_path, "migrate").returncode == 0
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        ledger.execute("UPDATE alembic_version SET version_num = '9999'")
    ledger.close()
    for arguments in (("up", *FREE), ("migrate",)):
        refused = hangar(tmp_path, *arguments)
        assert refused.returncode == 1
        assert (
            "at revision 9999, which this version of hangar does not know; upgrade hangar" in refused.stderr
        )
        assert "Traceback" not in refused.stderr
    assert read_backend_file(tmp_path) is None


def test_a_database_of_an_unreleased_version_is_refused(tmp_path):
    """One that is at the newest revision without all that it makes stops the start, rather than every call after it."""
    assert hangar(tmp_path, "migrate").returncode == 0
    with sqlite3.connect(tmp_path / "image-builder.db") as builds:
        builds.execute("ALTER TABLE image_build DROP COLUMN bases")
    builds.close()
    for arguments in (("up", *FREE), ("migrate",)):
        refused = hangar(tmp_path, *arguments)
        assert refused.returncode == 1
        assert f"{tmp_path}/image-builder.db is not what this version" in refused.stderr
        assert "table image_build has no column bases. An unreleased or newer version" in refused.stderr
        assert f"move the directory {tmp_path} away" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert read_backend_file(tmp_path) is None


@pytest.mark.parametrize("place", ["/proc/hangar", "FILE/below"])
def test_a_data_directory_that_cannot_be_written_is_refused(tmp_path, place):
    """One message that names the directory and the way out, and exit code 1."""
    (tmp_path / "file").touch()
    data_dir = Path(place.replace("FILE", str(tmp_path / "file")))
    refused = hangar(data_dir, "up")
    assert refused.returncode == 1
    assert f"data directory {data_dir} cannot be used" in refused.stderr
    assert "HANGAR_DATA_DIR" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_wrong_settings_are_refused_by_name(tmp_path):
    """A misspelt variable of any service in the process is named, with the right one."""
    refused = hangar(tmp_path, "up", HANGAR_EMBEDDED_GRPC_PROT="1")
    assert refused.returncode == 1
    assert (
        "HANGAR_EMBEDDED_GRPC_PROT is not a setting: did you mean HANGAR_EMBEDDED_GRPC_PORT" in refused.stderr
    )
    refused = hangar(tmp_path, "up", *FREE, HANGAR_EXECUTOR_CPUS="1")
    assert "HANGAR_EXECUTOR_CPUS is not a setting: did you mean HANGAR_EXECUTOR_CPU" in refused.stderr
    refused = hangar(tmp_path, "serve", "admin", HANGAR_ADMIN_HOST="0.0.0.0")
    assert "HANGAR_ADMIN_HOST is '0.0.0.0', which others can reach: that needs a token" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_command_explains_itself(tmp_path):
    """Help lists the commands, the version is shown, unknown commands are usage errors."""
    text = hangar(tmp_path, "--help").stdout
    assert all(name in text for name in ("up", "serve", "migrate", "doctor", "status"))
    assert hangar(tmp_path, "--version").stdout.startswith("hangar, version ")
    assert hangar(tmp_path, "nothing").returncode == 2
    assert "there is no ledger" in hangar(tmp_path, "doctor").stderr
