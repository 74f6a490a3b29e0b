import signal
import socket
import subprocess
import sys
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from services.embedded.tests.process import DEADLINE, command, environment, hangar, until

SERVICES = ("admin", "scheduler", "executor", "image-builder", "app-serving")
ALONE = ("admin", "scheduler", "executor", "app-serving")


@pytest.fixture
def port():
    """A port that is free for now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def variable(service: str, name: str) -> str:
    """Returns the environment variable of a setting."""
    return f"HANGAR_{service.replace('-', '_').upper()}_{name}"


def any_port_for_pages(service: str) -> dict[str, str]:
    """Returns the setting that gives admin's pages any free port; the others have none."""
    return {variable("admin", "HTTP_PORT"): "0"} if service == "admin" else {}


@pytest.mark.parametrize("service", SERVICES)
def test_help_names_every_setting(tmp_path, service):
    """Each service's help has its options, all variables with a line on each, and the shared ones."""
    done = hangar(tmp_path, "serve", service, "--help")
    assert done.returncode == 0
    text = done.stdout
    for expected in ("--host", "--port", variable(service, "HOST"), "HANGAR_TOKEN_FILE", "HANGAR_LOG_LEVEL"):
        assert expected in text
    described = [line for line in text.splitlines() if line.startswith(f"  {variable(service, '')}")]
    assert len(described) >= 2
    assert "Address to listen on" in text


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrong_start_is_refused_with_what_is_missing(tmp_path, service, port):
    """One message each, without a traceback: no token beyond loopback, no token file, wrong names, taken ports."""
    pages = any_port_for_pages(service)
    refusals = [
        (
            {variable(service, "HOST"): "0.0.0.0"},
            [variable(service, "HOST"), "needs a token", "hangar token"],
        ),
        ({"HANGAR_TOKEN_FILE": str(tmp_path / "none")}, [f"token file {tmp_path}/none cannot be read"]),
        ({variable(service, "HOTS"): "x"}, [f"{variable(service, 'HOTS')} is not a setting: did you mean"]),
        ({"HANGAR_LOG_LEVEL": "loud"}, ["HANGAR_LOG_LEVEL is 'loud'"]),
    ]
    for environ, words in refusals:
        refused = hangar(tmp_path / "data", "serve", service, "--port", "0", **pages, **environ)
        assert refused.returncode == 1, refused.stderr
        assert all(word in refused.stderr for word in words), refused.stderr
        assert "Traceback" not in refused.stderr + refused.stdout
    with socket.create_server(("127.0.0.1", port)):
        taken = hangar(tmp_path / "data", "serve", service, "--port", str(port), **pages)
    assert taken.returncode == 1
    assert f"127.0.0.1:{port} is in use by another program" in taken.stderr


@pytest.mark.parametrize(
    ("service", "environ", "words"),
    [
        ("scheduler", {"HANGAR_SCHEDULER_DATABASE": "postgresql://u:hush@127.0.0.1:1/d"}, ["127.0.0.1"]),
        ("admin", {"HANGAR_ADMIN_DATABASE": "postgresql://u:hush@127.0.0.1:1/d"}, ["127.0.0.1"]),
        ("admin", {"HANGAR_ADMIN_BLOBS": "file:///proc/blobs"}, ["/proc/blobs"]),
        ("executor", {"HANGAR_EXECUTOR_BLOBS": "file:///proc/blobs"}, ["/proc/blobs"]),
        ("executor", {"HANGAR_EXECUTOR_STATE": "/proc/state"}, ["/proc/state"]),
        ("executor", {"HANGAR_EXECUTOR_ENGINE": "none"}, ["HANGAR_EXECUTOR_ENGINE is 'none'"]),
        ("scheduler", {"HANGAR_DATA_DIR": "/proc/data"}, ["data directory /proc/data cannot be used"]),
    ],
)
def test_what_is_missing_is_named_at_the_start(tmp_path, service, environ, words):
    """An unreachable database, a blob store or directory that cannot be written, and a wrong engine: one message."""
    refused = hangar(tmp_path, "serve", service, "--port", "0", **any_port_for_pages(service), **environ)
    assert refused.returncode == 1, refused.stderr
    assert all(word in refused.stderr for word in words), refused.stderr
    assert "hush" not in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr + refused.stdout


class Served:
    """A service as a process, killed at the end when it still runs."""

    def __init__(self, tmp_path, service, port, **environ):
        self.log = tmp_path / f"{service}.log"
        with self.log.open("wb") as log:
            # Never a scheduler of this machine, which may run on the standard port.
            nobody = dict.fromkeys(("HANGAR_ADMIN_SCHEDULER", "HANGAR_EXECUTOR_SCHEDULER"), "127.0.0.1:1")
            environ = {**nobody, **environ}
            self.process = subprocess.Popen(
                command("serve", service, "--port", str(port)),
                env=environment(tmp_path / "data", HANGAR_ADMIN_HTTP_PORT="0", **environ),
                stdout=log,
                stderr=log,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def text(self):
        """What it has said."""
        return self.log.read_text()


def is_serving(port):
    """Returns True when a port says that it serves, else None."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return None
    return answer.status == health_pb2.HealthCheckResponse.SERVING or None


@pytest.mark.parametrize("service", ALONE)
def test_each_starts_alone_and_ends_on_sigterm(tmp_path, service, port):
    """A service serves before those it needs exist, says once that it waits for them, and ends at the first signal."""
    with Served(tmp_path, service, port) as served:
        until(lambda: is_serving(port))
        until(lambda: "serving" in served.text() or None)
        assert f"127.0.0.1:{port}" in served.text()
        began = time.monotonic()
        if service in ("admin", "executor"):
            until(lambda: "connecting again" in served.text() or None)
            until(lambda: time.monotonic() - began > 2 or None)  # many tries later
            assert served.text().count("connecting again") == 1, served.text()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(DEADLINE) == 0, served.text()
        assert "stopping" in served.text()
        assert "Traceback" not in served.text()


def test_a_second_signal_ends_at_once(tmp_path, port):
    """While a first SIGTERM waits for a call that does not end, a second one ends the process."""
    code = (
        "import asyncio\n"
        "from services.common.serve import run_until_signal\n"
        "class Slow:\n"
        "    registrations = ()\n"
        "    async def start(self): pass\n"
        "    async def stop(self):\n"
        "        print('waiting', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        f"asyncio.run(run_until_signal(Slow(), '127.0.0.1', {port}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        until(lambda: is_serving(port))
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert any("waiting" in line for line in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == -signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
