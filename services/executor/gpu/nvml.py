"""NVIDIA GPUs through the driver's management library."""

import ctypes
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from services.executor.gpu.plugin import Gpu, GpuStats, visible_devices

log = structlog.get_logger(__name__)


class NvmlGpus:
    """Devices as the driver reports them. A host without a driver has none.

    The driver is opened and let go at every call, so that one that is restarted or installed later is seen.
    """

    def fingerprint(self) -> list[Gpu]:
        """Lists the devices in the driver's order. What the driver cannot read is listed with its fault."""
        with _driver() as nvml:
            if nvml is None:
                return []
            version = _text(nvml.nvmlSystemGetDriverVersion())
            return [_gpu(nvml, index, version) for index in range(nvml.nvmlDeviceGetCount())]

    def reserve(self, uuids: list[str]) -> dict[str, str]:
        """Returns the environment variables that show exactly these devices to a worker.

        Raises:
            NotFound: A device does not exist here or is unhealthy.
        """
        return visible_devices(self.fingerprint(), uuids) if uuids else visible_devices([], [])

    def stats(self) -> list[GpuStats]:
        """Measures the devices that answer."""
        with _driver() as nvml:
            if nvml is None:
                return []
            readings = [_stats(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
            return [reading for reading in readings if reading is not None]


@contextmanager
def _driver() -> Iterator[Any]:
    """Opens the driver and gives the bindings, None where there is no driver that can be used."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        yield None
        return
    # Slow to import, and of no use on a host without the driver.
    nvml = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.warning("gpu.driver_unusable", reason=str(error), hint="the host offers no GPUs")
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: Any, index: int, version: str) -> Gpu:
    uuid, model, memory = f"index-{index}", "unknown", 0
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        model = model_of(_text(nvml.nvmlDeviceGetName(handle)))
        memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
        fault = _row_fault(nvml, handle)
    except nvml.NVMLError as error:
        fault = str(error)
    if fault:
        log.warning("gpu.unhealthy", uuid=uuid, model=model, reason=fault)
    return Gpu(uuid, model, memory, version, fault)


def _row_fault(nvml: Any, handle: Any) -> str:
    """Returns why a device that answers is unusable all the same: memory rows that need to be remapped."""
    try:
        _, _, pending, failed = nvml.nvmlDeviceGetRemappedRows(handle)
    except nvml.NVMLError:
        return ""  # Not every model and driver counts them.
    if failed:
        return "memory rows failed to be remapped: the device needs to be replaced"
    if pending:
        return "memory rows wait to be remapped: the device needs a reset"
    return ""


def _stats(nvml: Any, index: int) -> GpuStats | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        used = int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
        share = int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        return GpuStats(_text(nvml.nvmlDeviceGetUUID(handle)), used, share)
    except nvml.NVMLError as error:
        log.debug("gpu.no_reading", index=index, reason=str(error))
        return None


_MODELS = {"L40S": "L40s"}
"""Models whose name in task definitions differs from that of the driver."""


def model_of(name: str) -> str:
    """Returns the model as tasks name it, such as "A100 80G" for "NVIDIA A100-SXM4-80GB"."""
    words = name.replace("-", " ").replace("NVIDIA", "").replace("Tesla", "").replace("GeForce", "").split()
    if not words:
        return name
    if words[0].upper() in {"RTX", "GTX", "TITAN", "QUADRO"}:
        return " ".join(words[:2])
    if words[0] == "A100" and "80GB" in words:
        return "A100 80G"
    return _MODELS.get(words[0], words[0])


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
