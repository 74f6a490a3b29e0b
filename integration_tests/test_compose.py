"""The platform in containers, brought up for real: five services apart, PostgreSQL, S3, Envoy, the Docker engine."""

import itertools
import json
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from integration_tests.api import phase_of
from integration_tests.backend import BIN, clean_environ
from integration_tests.compose_stack import ROOT, ComposeStack
from integration_tests.polling import until
from integration_tests.ports import free_ports
from integration_tests.spread import PROCESS
from integration_tests.workspace import Workspace

pytestmark = pytest.mark.timeout(900)  # images are built, and packages fetched

PIPELINE = """
    import flyte

    env = flyte.TaskEnvironment(name="my_env")

    @env.task
    def step_one(x: int) -> int:
        return x * 2

    @env.task
    def step_two(x: int) -> int:
        return x + 10

    @env.task
    def pipeline(x: int) -> int:
        a = step_one(x)
        b = step_two(a)
        return b
"""

# Its tasks go on when the test says so: by a file that a later bundle would not have, an input that is there, …
SLOW = """
    import asyncio

    import flyte

    env = flyte.TaskEnvironment(name="slow", resources=flyte.Resources(cpu=1, memory="256Mi"))

    @env.task
    async def nap(seconds: float, index: int) -> int:
        await asyncio.sleep(seconds)
        return index

    @env.task
    async def main(seconds: float) -> list[int]:
        return list(await asyncio.gather(*(nap(seconds, index) for index in range(4))))
"""

FILES = """
    from pathlib import Path

    import flyte

    image = flyte.Image.from_debian_base().with_source_file(Path(__file__).with_name("greeting.txt"), dst="/greetings/")
    env = flyte.TaskEnvironment(name="files", image=image)

    @env.task
    def read() -> str:
        return Path("/greetings/greeting.txt").read_text()
"""

KEPT = """
    import os

    import flyte

    image = flyte.Image.from_debian_base().with_env_vars({"KEPT": "in the registry"})
    env = flyte.TaskEnvironment(name="kept", image=image)

    @env.task
    def kept() -> str:
        return os.environ["KEPT"]
"""


@pytest.fixture(scope="module")
def stack(docker_url, record_testsuite_property):
    """An installation that `make up` started from built images; afterwards nothing is left of it."""
    stack = ComposeStack(docker_url)
    task_images = set(stack.docker("images", "--quiet", "--filter", "reference=hangar/*").split())
    try:
        began = time.monotonic()
        stack.build()
        built = time.monotonic()
        stack.said = stack.up()
        record_testsuite_property("compose images built after seconds", round(built - began, 1))
        record_testsuite_property("compose ready after seconds", round(time.monotonic() - built, 1))
        yield stack
        identity = stack.executor_identity()
        stack.down(volumes=True)
        assert not stack.docker("ps", "--all", "--quiet", "--filter", f"label=hangar.executor={identity}")
    except BaseException:
        print(stack.logs())
        raise
    finally:
        stack.down(volumes=True)
        stack.remove_images()
        made = set(stack.docker("images", "--quiet", "--filter", "reference=hangar/*").split()) - task_images
        if PROCESS in os.environ:
            made.clear()  # another process of the tests may just have made them
        for image in made:  # the same definition may be in use by other installations on this engine
            if not stack.docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}"):
                stack.docker("rmi", "--force", image)  # it may have a name in a registry as well
        assert stack.leftovers() == []


@pytest.fixture
def workspace(stack, place, request):
    """A user's directory whose configuration names the installation, with its token."""
    workspace = Workspace(place / "users" / f"compose-{request.node.name}", stack.address)
    workspace.environ.update(stack.user())
    return workspace


@pytest.fixture
def api(stack):
    """The installation's API."""
    api = stack.api()
    yield api
    api.close()


def get(url, **headers):
    """Status and text of a page."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def test_first_start_says_how_to_use_it(stack):
    """`make up` prints the address, the pages, the token once, and the commands to run something."""
    assert f"address   {stack.address}" in stack.said
    assert f"pages     {stack.url}" in stack.said
    assert stack.said.count(stack.token) == 1
    assert f"flyte create config --endpoint {stack.address} --insecure" in stack.said
    assert "export FLYTE_API_KEY=" in stack.said


def test_only_the_front_door_is_reachable(stack):
    """Of all containers only Envoy's publishes a port, on loopback unless the operator says otherwise."""
    published = {
        service: stack.inspect(service)["HostConfig"]["PortBindings"] for service in stack.services()
    }
    assert published.pop("envoy") == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]}
    assert len(published) == 7
    assert not any(published.values())


def test_no_service_without_a_need_runs_as_root(stack):
    """Only those that work with the engine's socket are root, and nobody has it beside them."""
    with_socket = {"executor", "image-builder"}
    for service in stack.services():
        found = stack.inspect(service)
        assert "no-new-privileges:true" in found["HostConfig"]["SecurityOpt"]
        sockets = [mount for mount in found["Mounts"] if mount["Destination"] == "/var/run/docker.sock"]
        assert bool(sockets) == (service in with_socket)
        if service != "postgres":  # it becomes user postgres by itself
            root = stack.docker("exec", stack.container(service), "id", "-u").strip() == "0"
            assert root == (service in with_socket), service


@pytest.mark.parametrize(
    "method",
    [
        "hangar.admin.v1.ProjectService/ListProjects",
        "hangar.scheduler.v1.SchedulerService/ListNodes",
        "hangar.executor.v1.ExecutorService/GetNode",
    ],
)
def test_calls_need_the_token(stack, method):
    """A call of each service goes through the front door with the token, and is refused without it or with another."""
    done = stack.grpcurl(method)
    assert done.returncode == 0, done.stderr
    for token in ("", "hgr_" + "x" * 40):
        refused = stack.grpcurl(method, token=token)
        assert refused.returncode != 0
        assert "Unauthenticated" in refused.stderr + refused.stdout


def test_services_without_methods_yet_answer(stack):
    """Builds are listed by the image builder, and app-serving says that apps are not there yet."""
    listed = stack.grpcurl("hangar.image.v1.ImageService/ListImageBuilds")
    assert listed.returncode == 0, listed.stderr
    apps = stack.grpcurl("hangar.app.v1.AppService/ListApps")
    assert "Unimplemented" in apps.stderr


def test_health_and_reflection(stack):
    """A real grpcurl finds services by itself, and health is SERVING."""
    assert "hangar.admin.v1.RunService" in stack.grpcurl("list").stdout.split()
    assert json.loads(stack.grpcurl("grpc.health.v1.Health/Check").stdout) == {"status": "SERVING"}


def test_pages_need_the_token(stack):
    """Pages ask for the token; with it they are shown."""
    status, _ = get(f"{stack.url}/api/v1/runs")
    assert status == 401
    status, text = get(stack.url, Authorization=f"Bearer {stack.token}")
    assert status == 200
    assert "<html" in text


def test_objects_need_a_signature(stack):
    """The object store behind the front door gives nothing to somebody without a signed URL."""
    for path in ("/hangar-blobs", "/hangar-blobs?list-type=2", "/hangar-blobs/code/x"):
        status, text = get(stack.url + path)
        assert status == 403
        assert "AccessDenied" in text


def test_pipeline(stack, workspace, api):
    """The seed's pipeline runs in containers, its page is shown, and grpcurl reads what it gave."""
    workspace.write("pipeline.py", PIPELINE)
    run = workspace.launch("pipeline.py", "pipeline", "--x", 5)
    assert api.succeeded(run, 300) == 20
    assert len(api.children(run)) == 2
    identifier = {"project": "default", "domain": "development", "name": run}
    shown = json.loads(stack.grpcurl("hangar.admin.v1.RunService/GetRun", data={"id": identifier}).stdout)[
        "run"
    ]
    assert shown["phase"] == "PHASE_SUCCEEDED"
    status, _ = get(shown["url"], Authorization=f"Bearer {stack.token}")
    assert status == 200
    assert shown["url"].startswith(stack.url)


def test_an_image_with_a_file_of_the_author(workspace, api):
    """A file goes to the store, from there into the image that the image builder makes, and the task reads it."""
    workspace.write("greeting.txt", "hello from a file")
    workspace.write("files.py", FILES)
    built = workspace.flyte("build", "files.py", "env", seconds=400)
    assert "greeting.txt" in built.out + built.err
    assert api.succeeded(workspace.launch("files.py", "read"), 300) == "hello from a file"


def test_digits(workspace):
    """The digits example builds its image, trains in warm containers, and finds a good model."""
    file = ROOT / "examples" / "digits" / "digits.py"
    done = workspace.flyte("-of", "json", "run", file, "main", seconds=600)
    summary = json.loads(done.out)["outputs"]["o0"]
    assert 0.95 < summary["accuracy"] <= 1
    assert summary["tested_on"] == 450


@pytest.mark.parametrize("service", ["scheduler", "executor", "admin", "envoy"])
def test_restart_of_a_service(stack, workspace, api, service):
    """A service's container is killed in the middle of a run: the run goes on, and no attempt is used up."""
    workspace.write("slow.py", SLOW)
    run = workspace.launch("slow.py", "main", "--seconds", 8)
    until(
        lambda: [each for each in api.children(run, "nap") if phase_of(each) == "running"], "a nap runs", 120
    )
    stack.docker("restart", "--time", "0", stack.container(service))
    until(lambda: stack.is_healthy(service), f"{service} is healthy again", 120)
    assert api.succeeded(run, 240) == [0, 1, 2, 3]
    assert [each.attempt_count for each in api.children(run, "nap")] == [1] * 4


def test_objects_outlive_a_killed_store(stack):
    """The store's container is killed amid writes: what was acknowledged is there, and new writes are taken."""
    keys = stack.store_keys()
    store = S3Store(
        "hangar-blobs",
        endpoint=stack.url,
        region="us-east-1",
        access_key_id=keys["AWS_ACCESS_KEY_ID"],
        secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True, "timeout": "5s"},
        retry_config={"max_retries": 0},
    )
    written: list[int] = []
    ended = threading.Event()

    def write() -> None:
        for number in itertools.count():
            if ended.is_set():
                return
            try:
                obstore.put(store, f"kill/{number}", b"%d " % number * 5000)
            except BaseError:
                ended.wait(0.1)
            else:
                written.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: len(written) >= 20, "some are written", 60)
        stack.docker("kill", stack.container("s3"))
        before = len(written)
        stack.docker("start", stack.container("s3"))
        until(lambda: len(written) >= before + 5, "more are written", 60)
    finally:
        ended.set()
        writer.join()
    for number in written:
        assert bytes(obstore.get(store, f"kill/{number}").bytes()) == b"%d " % number * 5000
    until(lambda: stack.is_healthy("s3"), "the store is healthy again", 60)


def test_another_host_joins(stack, workspace, api, place):
    """`hangar serve executor` with the token and the store's keys joins, and carries a run alone."""
    token = place / "joining-token"
    token.write_text(stack.token)
    token.chmod(0o600)
    [port] = free_ports(1)
    environ = clean_environ(
        HANGAR_TOKEN_FILE=str(token),
        HANGAR_DATA_DIR=str(place / "second"),
        HANGAR_EXECUTOR_ENGINE="process",
        HANGAR_EXECUTOR_BLOBS="s3://hangar-blobs",
        HANGAR_EXECUTOR_PORT=str(port),
        **stack.store_keys(),
    )
    command = [str(BIN / "hangar"), "serve", "executor", "--scheduler", stack.address, "--node", "second"]
    workspace.write("pipeline.py", PIPELINE)
    with (place / "second.log").open("wb") as log:
        second = subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(
            lambda: '"second"' in stack.grpcurl("hangar.scheduler.v1.SchedulerService/ListNodes").stdout,
            "the host joined",
            60,
        )
        stack.docker("stop", "--time", "5", stack.container("executor"))
        run = workspace.launch("pipeline.py", "pipeline", "--x", 3)
        assert api.succeeded(run, 120) == 16
    finally:
        stack.docker("start", stack.container("executor"))
        second.terminate()
        second.wait(30)
    until(lambda: stack.is_healthy("executor"), "the first host is back", 60)


def test_a_busy_port_is_named(stack):
    """`make up` of a second installation on a taken port says which, and how to name another."""
    other = ComposeStack(stack.docker_url)
    other.take_place_of(stack, f"{stack.project}-b")
    try:
        with pytest.raises(AssertionError, match=f"Port {stack.port} of this host is taken.*HANGAR_PORT"):
            other.up()
    finally:
        other.down(volumes=True)


def test_stop_backup_restore_and_start_keep_everything(stack, workspace, api, place):
    """After `make down`, a backup, the loss of everything and a restore, runs and token are what they were."""
    names = api.run_names()
    assert names
    stack.down()
    assert stack.services() == []
    stack.archive(place, "-cf", "/backup/hangar.tar", ".")
    stack.down(volumes=True)
    stack.archive(place, "-xf", "/backup/hangar.tar")
    said = stack.up()
    assert not re.search(r"hgr_\S{20}", said)
    assert api.run_names() == names
    workspace.write("pipeline.py", PIPELINE)
    assert api.succeeded(workspace.launch("pipeline.py", "pipeline", "--x", 1), 300) == 12


def test_it_brings_a_registry(stack, workspace, api):
    """With its profile images go to a registry that wants the password that hosts have, and are pulled by digest."""
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    stack.configure(COMPOSE_PROFILES="registry", HANGAR_TASK_REGISTRY=address, HANGAR_REGISTRY_PORT=str(port))
    stack.up()
    assert get(f"http://{address}/v2/_catalog")[0] == 401
    workspace.write("kept.py", KEPT)
    run = workspace.launch("kept.py", "kept")
    assert api.succeeded(run, 400) == "in the registry"
    image = api.action(run).attempts[-1].image
    assert re.fullmatch(rf"{address}/hangar/\w{{32}}@sha256:[0-9a-f]{{64}}", image)
    kept = "/data/docker/registry/v2/repositories/hangar"
    assert image.partition("/hangar/")[2][:32] in stack.docker(
        "exec", stack.container("registry"), "ls", kept
    )
