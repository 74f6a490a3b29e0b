"""GPUs of a host: from a description, and from a driver."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.common.errors import FailedPrecondition, NotFound
from services.executor.gpu.described import DescribedGpus
from services.executor.gpu.nvml import NvmlGpus, model_of
from services.executor.gpu.plugin import Gpu, GpuStats

SOURCE = Path(__file__).parents[3] / "integration_tests/tools/fake_nvml.c"
READ = """
import json
from dataclasses import asdict
from services.executor.gpu.nvml import NvmlGpus
gpus = NvmlGpus()
print(json.dumps([[asdict(each) for each in gpus.fingerprint()], [asdict(each) for each in gpus.stats()]]))
"""


def describe(path: Path, *devices: dict[str, object]) -> DescribedGpus:
    """Writes a description."""
    path.write_text(json.dumps({"devices": devices}))
    return DescribedGpus(path)


A10G = {"uuid": "GPU-1", "model": "A10G", "memory_bytes": 24 << 30}


def test_described_devices_are_the_devices(tmp_path: Path):
    """The file gives model, memory, health and readings."""
    broken = {"uuid": "GPU-2", "model": "H100", "memory_bytes": 80 << 30, "fault": "fell off the bus"}
    gpus = describe(tmp_path / "g.json", {**A10G, "memory_used_bytes": 5, "utilisation": 0.5}, broken)
    assert gpus.fingerprint() == [
        Gpu("GPU-1", "A10G", 24 << 30, "described"),
        Gpu("GPU-2", "H100", 80 << 30, "described", "fell off the bus"),
    ]
    assert gpus.stats() == [GpuStats("GPU-1", 5, 0.5)]


def test_a_worker_sees_its_devices_only(tmp_path: Path):
    """Reserved devices are named by UUID; a broken or unknown one is refused by name."""
    gpus = describe(tmp_path / "g.json", A10G, {**A10G, "uuid": "GPU-2", "fault": "lost"})
    assert gpus.reserve(["GPU-1"]) == {"CUDA_VISIBLE_DEVICES": "GPU-1", "NVIDIA_VISIBLE_DEVICES": "GPU-1"}
    assert gpus.reserve([])["CUDA_VISIBLE_DEVICES"] == ""
    for uuid in ("GPU-2", "GPU-9"):
        with pytest.raises(NotFound, match=uuid):
            gpus.reserve([uuid])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("not json", "Expecting value"),
        ('{"devices": [{"uuid": "GPU-1"}]}', "model"),
        ('{"devices": [{"uuid": "GPU-1", "model": "T4", "memory_bytes": 1, "color": "red"}]}', "color"),
        ('{"devices": [%s, %s]}' % ((json.dumps(A10G),) * 2), "more than once"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path: Path, text: str, problem: str):
    """The message names the file and what is wrong in it."""
    path = tmp_path / "g.json"
    path.write_text(text)
    with pytest.raises(FailedPrecondition, match=rf"(?s)HANGAR_EXECUTOR_GPUS.*g\.json.*{problem}"):
        DescribedGpus(path).fingerprint()


def test_a_host_without_a_driver_has_no_devices():
    """No library is no error."""
    if shutil.which("nvidia-smi"):
        pytest.skip("this host has a driver")
    assert NvmlGpus().fingerprint() == []
    assert NvmlGpus().stats() == []
    assert NvmlGpus().reserve([])["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-SXM4-80GB", "A100 80G"),
        ("NVIDIA A100 80GB PCIe", "A100 80G"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA L40S", "L40s"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
    ],
)
def test_models_are_named_as_in_tasks(name: str, model: str):
    """The driver's product names become the names that accelerators have in task definitions."""
    assert model_of(name) == model


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a compiled fake of the driver's library."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler on Linux")
    directory = tmp_path_factory.mktemp("nvml")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-w", "-o", str(directory / "libnvidia-ml.so.1"), str(SOURCE)],
        check=True,
    )
    return directory


def read(driver: Path, **environ: str) -> list[list[dict[str, object]]]:
    """Lists devices in a process that finds the fake."""
    found = subprocess.run(
        [sys.executable, "-c", READ],
        env={**os.environ, "LD_LIBRARY_PATH": str(driver), **environ},
        check=True,
        capture_output=True,
        text=True,
    )
    devices: list[list[dict[str, object]]] = json.loads(found.stdout.splitlines()[-1])
    return devices


def test_the_driver_is_read(driver: Path):
    """UUID, model, memory, driver version and readings come from the library; broken devices say why."""
    devices, stats = read(
        driver,
        FAKE_NVML="GPU-a,NVIDIA A10G,23028,100,50;GPU-lost-b,NVIDIA H100 80GB HBM3,81559,0,0;"
        "GPU-rows-c,NVIDIA L40S,46068,0,0",
    )
    assert [(each["uuid"], each["model"]) for each in devices] == [
        ("GPU-a", "A10G"),
        ("GPU-lost-b", "H100"),
        ("GPU-rows-c", "L40s"),
    ]
    assert (devices[0]["memory_bytes"], devices[0]["driver_version"]) == (23028 << 20, "570.00.00-fake")
    assert devices[0]["fault"] == ""
    assert "lost" in str(devices[1]["fault"]).lower()
    assert "remapped" in str(devices[2]["fault"])
    assert stats[0] == {"uuid": "GPU-a", "memory_used_bytes": 100 << 20, "utilisation": 0.5}
    assert [each["uuid"] for each in stats] == ["GPU-a", "GPU-rows-c"]


def test_a_driver_that_does_not_load_gives_no_devices(driver: Path):
    """A library without its kernel module is a host without GPUs."""
    assert read(driver) == [[], []]
