"""Several hosts: engines in network namespaces of their own, cut off and killed while they work."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from integration_tests.api import ROOT, phase_of
from integration_tests.components.engine import connect
from integration_tests.components.hosts import BRIDGE_ADDRESS, Hosts
from integration_tests.components.registry import Registry
from integration_tests.conftest import ORPHAN_SECONDS
from integration_tests.docker_host import DockerHost
from integration_tests.notes_server import NotesServer
from integration_tests.polling import until
from integration_tests.stack import Stack
from integration_tests.workspace import Workspace

pytestmark = pytest.mark.timeout(400)  # the default image is built once, and leases have their time to live

GIB = 1024**3
CAPACITY: dict[str, dict[str, object]] = {
    "executor": {"cpu": 2, "memory": "4Gi", "gpus": []},
    "executor-2": {"cpu": 4, "memory": "8Gi", "gpus": [("A10G", 24), ("A10G", 24)]},
    "executor-3": {"cpu": 8, "memory": "32Gi", "gpus": [("H100", 80)]},
}
"""What each host says that it has; the machine has less."""

SCRIPT = """
    import asyncio
    import os

    from notes import exists, note, worker

    import flyte

    def environment(name: str, **resources: object) -> flyte.TaskEnvironment:
        return flyte.TaskEnvironment(name=name, resources=flyte.Resources(**{"memory": "256Mi", **resources}))

    small = environment("small", cpu="250m")
    wide = environment("wide", cpu=6)
    large = environment("large", cpu=1, memory="16Gi")
    a10g = environment("a10g", cpu=1, gpu="A10G:1")
    pair = environment("pair", cpu=1, gpu="A10G:2")
    h100 = environment("h100", cpu=1, gpu="H100:1")
    three = environment("three", cpu=1, gpu="A10G:3")
    other = environment("other", cpu=1, gpu="L40s:1")
    cold = environment("cold", cpu=2)
    pool = flyte.TaskEnvironment(
        name="pool", resources=flyte.Resources(cpu=2, memory="256Mi"),
        reusable=flyte.ReusePolicy(replicas=6, concurrency=1),
    )
    driver = flyte.TaskEnvironment(
        name="driver", resources=flyte.Resources(cpu="250m", memory="256Mi"),
        depends_on=[small, wide, large, a10g, pair, h100, three, other, cold, pool],
    )

    def devices() -> str:
        return os.environ["CUDA_VISIBLE_DEVICES"]

    async def gate(path: str) -> str:
        while not exists(path + ".open"):
            await asyncio.sleep(0.1)
        return devices()

    @small.task
    async def on_small() -> str:
        return devices()

    @wide.task
    async def on_wide() -> str:
        return devices()

    @large.task
    async def on_large() -> str:
        return devices()

    @a10g.task
    async def on_a10g(path: str, number: int) -> str:
        note(path, str(number))
        return await gate(path)

    @pair.task
    async def on_pair() -> str:
        return devices()

    @h100.task
    async def on_h100() -> str:
        return devices()

    @three.task
    async def on_three() -> str:
        return devices()

    @other.task
    async def on_other() -> str:
        return devices()

    @driver.task
    async def everywhere() -> list[str]:
        return list(await asyncio.gather(on_small(), on_wide(), on_large(), on_pair(), on_h100()))

    @driver.task
    async def shared(path: str) -> list[str]:
        return list(await asyncio.gather(*(on_a10g(path, number) for number in range(2))))

    async def gated(path: str, number: int) -> str:
        note(path, f"{number} {worker()}")
        while not exists(path + ".open"):
            await asyncio.sleep(0.1)
        note(path + ".done", f"{number} {worker()}")
        return worker()

    @cold.task
    async def cold_child(path: str, number: int) -> str:
        return await gated(path, number)

    @pool.task
    async def warm_child(path: str, number: int) -> str:
        return await gated(path, number)

    @driver.task
    async def fan_out(path: str, count: int, warm: bool) -> list[str]:
        child = warm_child if warm else cold_child
        return list(await asyncio.gather(*(child(path, number) for number in range(count))))
"""


class Cluster:
    """Five services on this machine, but for executors, of which each host has one in its own network."""

    def __init__(
        self, docker_url: str, hosts: Hosts, registry: Registry, place: Path, environments: Path
    ) -> None:
        self.hosts = hosts
        self._docker_url = docker_url
        self.registry = registry.address
        self._mirrors = [registry.serve_in(hosts.inside(number)) for number in range(1, hosts.count + 1)]
        self.numbers = dict(zip(CAPACITY, range(1, hosts.count + 1), strict=True))
        data = place / "hosts"
        self.stack = Stack(
            data,
            environments,
            {
                "HANGAR_EXECUTOR_ORPHAN_TTL": str(ORPHAN_SECONDS),
                "HANGAR_IMAGE_BUILDER_REGISTRY": registry.address,
            },
            executors=hosts.count,
            engine="docker",
            each={name: self._own(name, place) for name in CAPACITY},
            launchers={name: hosts.inside(number) for name, number in self.numbers.items()},
        )
        self._listen_on_the_bridge()
        self.engines = {
            name: DockerHost(hosts.url(number), data / name) for name, number in self.numbers.items()
        }
        self._notes = [NotesServer(data / name / "code", place) for name in CAPACITY]

    def _own(self, name: str, place: Path) -> Mapping[str, str]:
        number, capacity = self.numbers[name], CAPACITY[name]
        devices = [
            {"uuid": f"GPU-{number}-{index}", "model": model, "memory_bytes": gibibytes * GIB}
            for index, (model, gibibytes) in enumerate(capacity["gpus"])  # type: ignore[arg-type, var-annotated]
        ]
        description = place / f"{name}-gpus.json"
        description.write_text(json.dumps({"devices": devices}))
        return {
            "HANGAR_EXECUTOR_HOST": self.hosts.address(number),
            "HANGAR_EXECUTOR_DOCKER": self.hosts.url(number),
            "HANGAR_EXECUTOR_CPU": str(capacity["cpu"]),
            "HANGAR_EXECUTOR_MEMORY": str(capacity["memory"]),
            "HANGAR_EXECUTOR_GPUS": str(description),
        }

    def _listen_on_the_bridge(self) -> None:
        """Hosts reach the services at this machine's address on their network."""
        for environ in self.stack.environs.values():
            for variable in ("HANGAR_SCHEDULER_HOST", "HANGAR_IMAGE_BUILDER_HOST"):
                environ[variable] = BRIDGE_ADDRESS
            for variable in (
                "HANGAR_EXECUTOR_SCHEDULER",
                "HANGAR_ADMIN_SCHEDULER",
                "HANGAR_EXECUTOR_IMAGE_BUILDER",
            ):
                environ[variable] = environ[variable].replace("127.0.0.1", BRIDGE_ADDRESS)

    def node_of(self, run: str, action: str, attempt: int = -1) -> str:
        """Name of the host of an attempt."""
        return self.stack.api.action(run, action).attempts[attempt].node

    def state(self, node: str) -> str:
        """State of a host as the scheduler knows it, such as "ready"."""
        [found] = [each for each in self.stack.nodes() if each.name == node]
        return str(found.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[found.state].name)

    def _remove_images(self) -> None:
        """Removes the tags that were pushed: their registry will not be there again."""
        client = connect(self._docker_url)
        for image in client.images.list():
            for tag in image.tags:
                if tag.startswith(f"{self.registry}/"):
                    client.images.remove(tag)
        client.close()

    def close(self) -> None:
        """Ends everything."""
        self.stack.close()
        for notes in self._notes:
            notes.close()
        for engine in self.engines.values():
            engine.close()
        for mirror in self._mirrors:
            mirror.stop()
        self._remove_images()


@pytest.fixture(scope="module")
def cluster(
    docker_url: str, hosts: Hosts, registry: Registry, place: Path, environments: Path
) -> Iterator[Cluster]:
    """Three hosts and the services, all of them ready. Images are built on this machine's engine."""
    found = Cluster(docker_url, hosts, registry, place, environments)
    try:
        found.stack.start()
        yield found
        found.stack.check_ledger()
    finally:
        found.close()


@pytest.fixture
def user(cluster: Cluster, place: Path, request: pytest.FixtureRequest) -> Workspace:
    """A user with the script and the token."""
    name = re.sub(r"\W+", "-", request.node.name)
    found = Workspace(place / "users" / name, cluster.stack.grpc)
    found.environ["FLYTE_API_KEY"] = cluster.stack.token
    found.share_notes()
    found.write("hosts.py", SCRIPT)
    return found


def lines(path: Path) -> list[str]:
    """What tasks have written."""
    return path.read_text().splitlines() if path.exists() else []


def test_hosts_offer_what_they_declare(cluster):
    """The scheduler knows every host with its declared processors, memory and devices."""
    found = {node.name: node.capacity for node in cluster.stack.nodes()}
    assert {name: (each.cpu_millis, each.memory_bytes) for name, each in found.items()} == {
        "executor": (2000, 4 * GIB),
        "executor-2": (4000, 8 * GIB),
        "executor-3": (8000, 32 * GIB),
    }
    models = {name: sorted(gpu.model for gpu in each.gpus) for name, each in found.items()}
    assert models == {"executor": [], "executor-2": ["A10G", "A10G"], "executor-3": ["H100"]}


def test_placement_respects_processors_memory_and_devices(cluster, user):
    """Each task runs where there is enough of what it asks for, sees its devices, and has one image, by digest."""
    run = user.launch("hosts.py", "everywhere")
    small, wide, large, pair, h100 = cluster.stack.api.succeeded(run, 300)
    assert (small, wide, large) == ("", "", "")
    assert sorted(pair.split(",")) == ["GPU-2-0", "GPU-2-1"]
    assert h100 == "GPU-3-0"
    nodes = {each.short_name: cluster.node_of(run, each.id.name) for each in cluster.stack.api.children(run)}
    assert nodes == {
        "on_small": "executor",  # work without devices stays off hosts that have some
        "on_wide": "executor-3",
        "on_large": "executor-3",
        "on_pair": "executor-2",
        "on_h100": "executor-3",
    }
    api = cluster.stack.api
    [image] = {api.action(run, each.id.name).attempts[-1].image for each in api.children(run)}
    assert re.fullmatch(rf"{re.escape(cluster.registry)}/hangar/\w{{32}}@sha256:[0-9a-f]{{64}}", image)


def test_one_device_is_never_given_twice(cluster, user):
    """Two tasks at the same time on a host with two devices have one each."""
    path = user.directory / "lines"
    run = user.launch("hosts.py", "shared", "--path", path)
    until(lambda: len(lines(path)) == 2, "both run", 120)
    Path(f"{path}.open").touch()
    assert sorted(cluster.stack.api.succeeded(run)) == ["GPU-2-0", "GPU-2-1"]


@pytest.mark.parametrize(("task", "texts"), [("on_three", ["3", "A10G"]), ("on_other", ["L40s", "H100"])])
def test_devices_that_no_host_has(cluster, user, task, texts):
    """A request for devices that are nowhere fails at once, and says what there is."""
    ended = cluster.stack.api.wait(user.launch("hosts.py", task))
    assert phase_of(ended) == "failed"
    for text in texts:
        assert text.lower() in ended.failure.message.lower(), ended.failure.message


def start_fan_out(cluster: Cluster, user: Workspace, *, warm: bool, count: int) -> tuple[str, Path, str]:
    """Starts children that wait at the gate; returns the run, their file, and a host that has some but not the root."""
    path = user.directory / "lines"
    run = user.launch("hosts.py", "fan_out", "--path", path, "--count", count, "--warm", str(warm).lower())
    until(lambda: len(lines(path)) == count, "all children run", 120)
    root = cluster.node_of(run, ROOT)
    nodes = [cluster.node_of(run, each.id.name) for each in cluster.stack.api.children(run)]
    return run, path, next(node for node in nodes if node != root)


def check_moved(cluster: Cluster, run: str, victim: str, on_victim: set[str]) -> None:
    """What was on the victim succeeded in a second attempt elsewhere, which used no retry of the user's."""
    for child in cluster.stack.api.children(run):
        action = cluster.stack.api.action(run, child.id.name)
        assert phase_of(action) == "succeeded"
        assert len(action.attempts) == (2 if child.id.name in on_victim else 1)
        *before, last = action.attempts
        assert [each.node for each in before] == [victim] * len(before)
        assert last.node != victim or not before
        assert cluster.stack.api.outputs(run, child.id.name)["o0"] == f"worker-{last.worker_id}"


def on_host(cluster: Cluster, run: str, node: str) -> set[str]:
    """Names of the children whose first attempt is on a host."""
    children = cluster.stack.api.children(run)
    return {each.id.name for each in children if cluster.node_of(run, each.id.name, 0) == node}


def test_a_host_that_is_cut_off(cluster, user):
    """Its work finishes elsewhere; back again, its stale results are refused and its leftovers removed."""
    run, path, victim = start_fan_out(cluster, user, warm=True, count=6)
    hit = on_host(cluster, run, victim)
    number = cluster.numbers[victim]
    cluster.hosts.cut(number)
    try:
        Path(f"{path}.open").touch()
        until(lambda: len(lines(Path(f"{path}.done"))) >= 6, "the host that is cut off finishes its work too")
        assert phase_of(cluster.stack.api.run(run)) == "running", "of which nobody knows"
        stale = {line.split()[1] for line in lines(Path(f"{path}.done"))}
        cluster.stack.api.succeeded(run, 120)
        check_moved(cluster, run, victim, hit)
        assert cluster.state(victim) == "NODE_STATE_SUSPECT"
    finally:
        cluster.hosts.restore(number)
    until(lambda: cluster.state(victim) == "NODE_STATE_READY", "the host is back", 60)
    check_moved(cluster, run, victim, hit)
    engine = cluster.engines[victim]
    known = {f"worker-{each.worker_id}" for each in cluster.stack.workers(victim) if each.state != "exited"}
    until(
        lambda: not engine.running() & stale - known,
        "workers of leases that were lost are gone",
        30,
    )
    assert Path(f"{path}.done").read_text().count("\n") == 6 + len(hit), (
        "each lost one ran twice, none more often"
    )


def test_a_host_without_power(cluster, user):
    """Engine, containers and executor end at once; the work finishes elsewhere, and the host comes back clean."""
    run, path, victim = start_fan_out(cluster, user, warm=True, count=6)
    hit = on_host(cluster, run, victim)
    number, engine = cluster.numbers[victim], cluster.engines[victim]
    dead = {each.name for each in engine.containers()}
    cluster.stack.kill(victim)
    cluster.hosts.kill_engine(number)
    Path(f"{path}.open").touch()
    cluster.stack.api.succeeded(run, 120)
    check_moved(cluster, run, victim, hit)
    cluster.hosts.start_engine(number)
    cluster.stack.start_service(victim)
    until(lambda: cluster.state(victim) == "NODE_STATE_READY", "the host is back", 60)
    until(lambda: not dead & {each.name for each in engine.containers()}, "its old containers are gone", 30)
    assert cluster.stack.api.succeeded(user.launch("hosts.py", "on_pair")) in {
        "GPU-2-0,GPU-2-1",
        "GPU-2-1,GPU-2-0",
    }


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_an_engine_that_restarts(cluster, user, end):
    """The executor lives through it: containers that ended with the engine are lost at once and tried again."""
    run, path, victim = start_fan_out(cluster, user, warm=False, count=5)
    hit = on_host(cluster, run, victim)
    number = cluster.numbers[victim]
    getattr(cluster.hosts, f"{end}_engine")(number)
    cluster.hosts.start_engine(number)
    until(lambda: len(lines(path)) == 5 + len(hit), "what was lost runs again", 60)
    Path(f"{path}.open").touch()
    cluster.stack.api.succeeded(run)
    done = [line.split()[0] for line in lines(Path(f"{path}.done"))]
    assert sorted(done) == [str(each) for each in range(5)], "no child was done twice"
    until(lambda: not set(cluster.engines[victim].containers()), "no container is left", 60)


def test_a_host_that_restarts_at_once(cluster, user):
    """Its actions are lost as soon as it says that it no longer has them, long before their time to live."""
    run, path, victim = start_fan_out(cluster, user, warm=False, count=4)
    hit = on_host(cluster, run, victim)
    number = cluster.numbers[victim]
    began = time.monotonic()
    cluster.stack.kill(victim)
    cluster.hosts.kill_engine(number)
    cluster.hosts.start_engine(number)
    cluster.stack.start_service(victim)
    until(lambda: len(lines(path)) == 4 + len(hit), "what was lost runs again", 60)
    assert time.monotonic() - began < 50, "leases of their own workers live for 60 s"
    Path(f"{path}.open").touch()
    cluster.stack.api.succeeded(run)
    for child in cluster.stack.api.children(run):
        assert child.attempt_count == (2 if child.id.name in hit else 1)
