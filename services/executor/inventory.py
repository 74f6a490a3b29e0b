"""What a host offers, and how much of it is in use."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from hangar.core.v1.resources_pb2 import GpuDevice, Inventory
from hangar.scheduler.v1.node_service_pb2 import Heartbeat
from services.executor.engines.base import EngineCapacity
from services.executor.gpu.plugin import Gpu, GpuPlugin
from services.executor.settings import Settings

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


async def take_inventory(
    settings: Settings, capacity: Callable[[], Awaitable[EngineCapacity]], gpus: GpuPlugin
) -> Inventory:
    """Returns what the host offers: what the engine can give, unless the settings declare something else.

    Raises:
        FailedPrecondition: The GPUs cannot be told.
    """
    engine = await capacity()
    devices = await asyncio.to_thread(gpus.fingerprint)
    return Inventory(
        cpu_millis=round(settings.cpu * 1000) or engine.cpu_millis,
        memory_bytes=settings.memory or engine.memory_bytes,
        disk_bytes=settings.disk or engine.disk_bytes,
        gpus=[_device(gpu) for gpu in devices],
        platform=engine.platform,
    )


def _device(gpu: Gpu) -> GpuDevice:
    return GpuDevice(
        uuid=gpu.uuid,
        model=gpu.model,
        memory_bytes=gpu.memory_bytes,
        healthy=not gpu.fault,
        driver_version=gpu.driver_version,
    )


def boot_id() -> str:
    """Returns a text that changes with every start of the machine."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"boot-{int(psutil.boot_time())}"


class LoadMeter:
    """Measures the load of the host between one heartbeat and the next."""

    def __init__(self) -> None:
        self._busy, self._at = _busy_seconds(), time.monotonic()

    def heartbeat(self) -> Heartbeat:
        """Returns a heartbeat with the present load."""
        busy, now = _busy_seconds(), time.monotonic()
        elapsed = max(now - self._at, 1e-3)
        used = max(busy - self._busy, 0.0) / elapsed
        self._busy, self._at = busy, now
        beat = Heartbeat(
            memory_used_bytes=int(psutil.virtual_memory().used), cpu_used_millis=int(used * 1000)
        )
        beat.sent_at.FromNanoseconds(time.time_ns())
        return beat


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
