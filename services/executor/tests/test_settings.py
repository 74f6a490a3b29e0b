"""Settings and inventory of an executor."""

import json
from pathlib import Path

import pytest

from hangar.executor.v1 import executor_service_pb2 as messages
from services.common.errors import FailedPrecondition, HangarError, InvalidArgument
from services.executor.app import ExecutorApp
from services.executor.engine import docker_options, make_engine
from services.executor.engines.docker.engine import DockerEngine
from services.executor.engines.fake import FakeEngine
from services.executor.engines.process import ProcessEngine
from services.executor.gpu.described import DescribedGpus
from services.executor.inventory import LoadMeter, boot_id, take_inventory
from services.executor.outbox import Outbox
from services.executor.servicer import ExecutorServicer
from services.executor.settings import Settings, parse_bytes
from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import until
from services.executor.tests.specs import POOL, assignment, frame, spec, start


@pytest.mark.parametrize(
    ("text", "number"),
    [("16Gi", 16 << 30), ("500M", 500 * 10**6), ("1.5Ki", 1536), ("7", 7), ("2 Ti", 2 << 40)],
)
def test_quantities_have_units(text: str, number: int):
    """Binary and decimal units, and plain bytes."""
    assert parse_bytes(text) == number


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Names, units and labels are read as documented."""
    for name, value in {
        "NODE": "n7",
        "CPU": "4.5",
        "MEMORY": "16Gi",
        "DISK": "1Ti",
        "STATE": str(tmp_path / "s"),
        "LABELS": '{"zone": "a"}',
        "ENGINE": "fake",
    }.items():
        monkeypatch.setenv(f"HANGAR_EXECUTOR_{name}", value)
    settings = Settings.load()
    assert (settings.node, settings.cpu, settings.memory, settings.disk) == ("n7", 4.5, 16 << 30, 1 << 40)
    assert (settings.state_dir, settings.labels) == (tmp_path / "s", {"zone": "a"})
    assert isinstance(make_engine(settings), FakeEngine)
    assert isinstance(make_engine(Settings.load(engine="process")), ProcessEngine)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("MEMORY", "lots", "HANGAR_EXECUTOR_MEMORY is 'lots'.*16Gi"),
        ("CPU", "-1", "HANGAR_EXECUTOR_CPU"),
        ("GPUS", "/nowhere.json", "not a file"),
        ("ENGINE", "podman", "HANGAR_EXECUTOR_ENGINE"),
        ("USER", "0:0", "HANGAR_EXECUTOR_USER"),
        ("PIDS", "1", "HANGAR_EXECUTOR_PIDS"),
        ("PLATFORM", "arm", "write a platform such as 'linux/arm64'"),
        ("PLATFORM", "linux/aarch64", "platform is linux/arm64, and only the Docker engine"),
        ("TMP", "much", "HANGAR_EXECUTOR_TMP is 'much'"),
        ("NETWORK", "host", "HANGAR_EXECUTOR_NETWORK"),
        ("NETWORK_ALLOW", '["10.1.0.0/99"]', "HANGAR_EXECUTOR_NETWORK_ALLOW"),
        ("MEMROY", "1Gi", "did you mean HANGAR_EXECUTOR_MEMORY"),
    ],
)
def test_wrong_settings_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str):
    """Each message names the variable and what would do."""
    monkeypatch.setenv(f"HANGAR_EXECUTOR_{name}", value)
    with pytest.raises(InvalidArgument, match=problem):
        Settings.load()


def test_the_docker_engine_is_set_up_from_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Socket, user and limits; the socket is DOCKER_HOST's when nothing else is said."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///elsewhere.sock")
    settings = Settings.load(data_dir=tmp_path, engine="docker", user="1000:1001", pids=77, tmp="5Mi")
    options = docker_options(settings)
    assert isinstance(make_engine(settings), DockerEngine)
    assert (options.url, options.uid, options.gid) == ("unix:///elsewhere.sock", 1000, 1001)
    assert (options.pids_limit, options.tmp_bytes, options.state) == (77, 5 << 20, tmp_path / "executor")
    assert docker_options(Settings.load(docker="unix:///d.sock")).url == "unix:///d.sock"


async def test_declared_capacity_wins_over_the_machine(tmp_path: Path):
    """What the settings do not declare is measured; GPUs come from the plugin, faults and all."""
    path = tmp_path / "g.json"
    devices = [{"uuid": "GPU-1", "model": "A10G", "memory_bytes": 5}, {"uuid": "GPU-2", "model": "A10G", "memory_bytes": 5, "fault": "lost"}]  # fmt: skip  # noqa: E501
    path.write_text(json.dumps({"devices": devices}))
    engine = FakeEngine()
    measured = await take_inventory(Settings.load(data_dir=tmp_path), engine.inventory, DescribedGpus(path))
    capacity = await engine.inventory()
    assert (measured.cpu_millis, measured.memory_bytes) == (capacity.cpu_millis, capacity.memory_bytes)
    assert [(gpu.uuid, gpu.healthy) for gpu in measured.gpus] == [("GPU-1", True), ("GPU-2", False)]
    settings = Settings.load(data_dir=tmp_path, cpu=64, memory="1Ti", disk="2Ti")
    declared = await take_inventory(settings, engine.inventory, DescribedGpus(path))
    assert (declared.cpu_millis, declared.memory_bytes, declared.disk_bytes) == (64_000, 1 << 40, 2 << 40)


def test_a_heartbeat_measures_the_host():
    """Load is within what a machine can have."""
    meter = LoadMeter()
    beat = meter.heartbeat()
    assert beat.memory_used_bytes > 0
    assert beat.cpu_used_millis >= 0
    assert boot_id() == boot_id()


async def test_a_second_executor_on_one_state_directory_is_refused(bench: Bench):
    """The message says what to do; the first one is not disturbed."""
    second = ExecutorApp(bench.settings, FakeEngine())
    with pytest.raises(FailedPrecondition, match="another executor uses"):
        await second.start()
    await second.stop()
    assert (await bench.app.describe()).node == "n1"


async def test_a_damaged_outbox_stops_the_start(bench: Bench):
    """Nothing is started on a file that cannot be trusted."""
    await bench.stop()
    path = bench.directory / "executor/outbox.db"
    path.write_bytes(b"x" * 5000)
    app = ExecutorApp(bench.settings, FakeEngine())
    with pytest.raises(HangarError, match="outbox"):
        await app.start()
    await app.stop()
    path.unlink()
    Outbox(path).close()


async def test_the_service_tells_about_node_and_workers(bench: Bench):
    """GetNode and ListWorkers answer with what is there."""
    bench.scheduler.send(frame(start(2), start(1, concurrency=2), assignment(10, pool=POOL)), [spec()])
    await until(lambda: bench.scheduler.worker(1) and bench.scheduler.worker(2))
    await until(lambda: any(worker.leases for worker in bench.app.workers()))
    servicer = ExecutorServicer(bench.app)
    node = await servicer.GetNode(messages.GetNodeRequest(), None)
    assert (node.node, node.engine, node.connected, node.leases) == ("n1", "fake", True, 1)
    workers = (await servicer.ListWorkers(messages.ListWorkersRequest(), None)).workers
    assert [(each.worker_id, each.pool_key, each.state) for each in workers] == [
        (1, POOL, "ready"),
        (2, POOL, "ready"),
    ]
    assert sorted(lease for each in workers for lease in each.lease_ids) == [10]
