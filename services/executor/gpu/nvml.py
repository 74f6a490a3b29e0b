"""NVIDIA GPUs through the driver's management library."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from services.executor.gpu.plugin import Gpu, GpuStats, visible_devices

log = structlog.get_logger(__name__)


class NvmlGpus:
    """Devices as the driver reports them. A host without a driver has none.

    The library is loaded and let go at every call, so that a driver that is restarted or installed later is
    seen.
    """

    def fingerprint(self) -> list[Gpu]:
        """Lists the devices in the driver's order.

        One that the driver cannot read is listed with its fault.
        """
        with _session() as ready:
            if not ready:
                return []
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
            return [_gpu(index, driver) for index in range(pynvml.nvmlDeviceGetCount())]

    def reserve(self, uuids: list[str]) -> dict[str, str]:
        """Returns the environment variables that show exactly these devices to a worker.

        Raises:
            NotFound: A device does not exist here or is unhealthy.
        """
        return visible_devices(self.fingerprint(), uuids) if uuids else visible_devices([], [])

    def stats(self) -> list[GpuStats]:
        """Measures the devices that answer."""
        with _session() as ready:
            if not ready:
                return []
            readings = [_stats(index) for index in range(pynvml.nvmlDeviceGetCount())]
            return [reading for reading in readings if reading is not None]


@cache
def _library() -> Any:
    """Returns the bindings, None on a host without the driver: they are slow to import, and of no use there."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return importlib.import_module("pynvml")


@contextmanager
def _session() -> Iterator[Any]:
    """Gives the bindings for as long as the driver is open, None when there is no usable driver."""
    pynvml = _library()
    if pynvml is None:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        # Without a driver this is the normal case; with a broken one the reason is worth a line.
        if error.value not in {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}:
            log.warning("gpu.driver_unusable", reason=str(error))
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int, driver: str) -> Gpu:
    uuid, model, memory = f"index-{index}", "unknown", 0
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
        model = model_of(_text(pynvml.nvmlDeviceGetName(handle)))
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
        fault = _pending_fault(handle)
    except pynvml.NVMLError as error:
        fault = str(error)
    return Gpu(uuid, model, memory, driver, fault)


def _pending_fault(handle: Any) -> str:
    """Returns why a device that answers is unusable all the same: memory rows that could not be remapped."""
    try:
        _, _, pending, failed = pynvml.nvmlDeviceGetRemappedRows(handle)
    except pynvml.NVMLError:
        return ""  # Not every model and driver counts them.
    if failed:
        return "memory rows failed to be remapped: the device needs to be replaced"
    if pending:
        return "memory rows wait to be remapped: the device needs a reset"
    return ""


def _stats(index: int) -> GpuStats | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        used = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        share = int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        return GpuStats(_text(pynvml.nvmlDeviceGetUUID(handle)), used, share)
    except pynvml.NVMLError as error:
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
