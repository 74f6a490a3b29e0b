"""What the engine is asked for: every hardening and every limit, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.executor.engines.base import PreparedImage, Program, WorkerResources, WorkerSpec
from services.executor.engines.docker.containers import Placement, container_name, create_arguments
from services.executor.engines.docker.options import DockerEngineOptions, own_user

MEBIBYTE = 2**20
OPTIONS = DockerEngineOptions(Path("/state"), uid=1000, gid=1001, pids_limit=99, tmp_bytes=7 * MEBIBYTE)
PLACEMENT = Placement("abcd1234", "none", "/host/workers/5", "/host/code/x")


def body(**options: Any) -> dict[str, Any]:
    """The arguments for a worker of these options."""
    spec = WorkerSpec(5, "secret", Path("/state/workers/5"), PreparedImage("k", "image:1"), **options)
    return create_arguments(spec, OPTIONS, PLACEMENT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Privileged", False),
        ("CapAdd", []),
        ("CapDrop", ["ALL"]),
        ("SecurityOpt", ["no-new-privileges"]),
        ("ReadonlyRootfs", True),
        ("PidMode", ""),
        ("UTSMode", ""),
        ("IpcMode", "private"),
        ("CgroupnsMode", "private"),
        ("NetworkMode", "none"),
        ("Devices", []),
        ("DeviceRequests", []),
        ("GroupAdd", []),
        ("PidsLimit", 99),
        ("OomKillDisable", False),
        ("Tmpfs", {"/tmp": "rw,exec,nosuid,nodev,mode=1777,size=7340032"}),
        ("LogConfig", {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}}),
        ("RestartPolicy", {"Name": "no"}),
        ("AutoRemove", False),
        ("Init", False),
    ],
)
def test_containers_are_hardened(name: str, value: object):
    """Nothing in a specification decides about these."""
    assert body()["HostConfig"][name] == value


def test_a_program_of_an_image_is_hardened_alike_and_sees_its_files_only():
    """Its words, its two directories and its variables differ from a worker's, and nothing else of the isolation."""
    program = Program(("sh", "-c"), ("x",), "/in", "/out", "7.log")
    made, worker = body(program=program, env_vars={"A": "b"}, code_dir="/state/code/x"), body()
    assert (made["Entrypoint"], made["Cmd"]) == (["sh", "-c"], ["x"])
    assert "WorkingDir" not in made
    assert set(made["Env"]) == {"HOME=/tmp", "A=b", "NVIDIA_VISIBLE_DEVICES=void", "CUDA_VISIBLE_DEVICES="}
    assert made["Labels"] == {**worker["Labels"], "hangar.log": "7.log"}
    mounts = [(each["Source"], each["Target"], each["ReadOnly"]) for each in made["HostConfig"]["Mounts"]]
    assert mounts == [("/host/workers/5/inputs", "/in", True), ("/host/workers/5/outputs", "/out", False)]
    differing = {name for name, value in worker["HostConfig"].items() if made["HostConfig"][name] != value}
    assert differing == {"Mounts", "LogConfig"}
    assert "Entrypoint" not in body(program=Program((), (), "/in", "/out", "7.log"))


def test_the_user_is_not_root():
    """The user of the options; by default one without a name, and never root."""
    assert body()["User"] == "1000:1001"
    assert 0 not in own_user()


@pytest.mark.parametrize(
    ("resources", "limits"),
    [
        (WorkerResources(), {}),
        (WorkerResources(cpu_millis=1500), {"CpuPeriod": 100_000, "CpuQuota": 150_000}),
        (WorkerResources(cpu_millis=64_000), {"CpuPeriod": 100_000, "CpuQuota": 6_400_000}),
        (WorkerResources(cpu_millis=1), {"CpuPeriod": 100_000, "CpuQuota": 1000}),
        (
            WorkerResources(memory_bytes=512 * MEBIBYTE),
            {"Memory": 512 * MEBIBYTE, "MemorySwap": 512 * MEBIBYTE},
        ),
        (WorkerResources(shm_bytes=3 * MEBIBYTE), {"ShmSize": 3 * MEBIBYTE}),
        (
            WorkerResources(memory_bytes=9 * MEBIBYTE, shm_bytes=-1),
            {"Memory": 9 * MEBIBYTE, "MemorySwap": 9 * MEBIBYTE, "ShmSize": 9 * MEBIBYTE},
        ),
        (WorkerResources(disk_bytes=MEBIBYTE), {}),
    ],
)
def test_resources_are_limits(resources: WorkerResources, limits: dict[str, int]):
    """Processors as quota and period, memory without swap, shared memory; what is not asked for is not limited."""
    host = body(resources=resources)["HostConfig"]
    names = ("CpuPeriod", "CpuQuota", "Memory", "MemorySwap", "ShmSize", "NanoCpus")
    assert {name: host[name] for name in names if name in host} == limits


def test_the_only_mounts_are_the_workers_directory_and_its_code():
    """Both at the path that the executor uses; the code cannot be written, and there is no Docker socket."""
    mounts = body(code_dir="/state/code/x")["HostConfig"]["Mounts"]
    assert [(each["Source"], each["Target"], each["ReadOnly"]) for each in mounts] == [
        ("/host/workers/5", "/state/workers/5", False),
        ("/host/code/x", "/state/code/x", True),
    ]
    assert {each["Type"] for each in mounts} == {"bind"}
    assert not [each for each in mounts if "BindOptions" in each]
    assert len(body()["HostConfig"]["Mounts"]) == 1


def test_gpus_are_requested_by_uuid():
    """A worker gets the devices that it was given, and one without any sees none, whatever its image asks for."""
    [request] = body(gpu_uuids=("GPU-a", "GPU-b"))["HostConfig"]["DeviceRequests"]
    assert (request["DeviceIDs"], request["Capabilities"]) == (["GPU-a", "GPU-b"], [["gpu"]])
    assert "NVIDIA_VISIBLE_DEVICES=void" in body()["Env"]
    assert not [
        each for each in body(gpu_uuids=("GPU-a",))["Env"] if each.startswith("NVIDIA_VISIBLE_DEVICES")
    ]


def test_a_task_cannot_ask_for_devices_by_variables():
    """Variables of a task that name devices do not win over what it was given."""
    environ = body(env_vars={"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VISIBLE_DEVICES": "0"})["Env"]
    assert "NVIDIA_VISIBLE_DEVICES=void" in environ
    assert "CUDA_VISIBLE_DEVICES=" in environ


def test_containers_are_named_and_labelled():
    """Name and labels tell executor, worker, project and domain."""
    made = body(project="p", domain="d")
    assert container_name("abcd1234", 5) == "hangar-abcd1234-5"
    assert made["Labels"] == {
        "hangar.executor": "abcd1234",
        "hangar.worker": "5",
        "hangar.project": "p",
        "hangar.domain": "d",
        "hangar.disk": "0",
    }
    assert made["Entrypoint"] == ["python3", "-m", "flyte._runtime.container", "/state/workers/5"]
    assert made["WorkingDir"] == "/state/workers/5/work"
