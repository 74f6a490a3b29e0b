"""The interface of device plugins."""

from dataclasses import dataclass
from typing import Protocol

from services.common.errors import NotFound


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of the host.

    Attributes:
        uuid: Stable identifier that the driver gives.
        model: Model as tasks name it, such as "A10G".
        memory_bytes: Memory.
        driver_version: Version of the driver.
        fault: Why the device is unusable, empty when it is healthy.
    """

    uuid: str
    model: str
    memory_bytes: int
    driver_version: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class GpuStats:
    """What a GPU is doing right now.

    Attributes:
        uuid: The device.
        memory_used_bytes: Memory in use.
        utilisation: Share of time in which it computed, from 0 to 1.
    """

    uuid: str
    memory_used_bytes: int
    utilisation: float


class GpuPlugin(Protocol):
    """Tells about devices. Calls may wait for a driver: they are made on a thread."""

    def fingerprint(self) -> list[Gpu]:
        """Lists the devices, unhealthy ones included, in a stable order.

        Raises:
            FailedPrecondition: The devices cannot be told, because what describes them is wrong.
        """
        ...

    def reserve(self, uuids: list[str]) -> dict[str, str]:
        """Returns the environment variables that show exactly these devices to a worker.

        Raises:
            NotFound: A device does not exist here or is unhealthy.
        """
        ...

    def stats(self) -> list[GpuStats]:
        """Measures the healthy devices."""
        ...


def visible_devices(devices: list[Gpu], uuids: list[str]) -> dict[str, str]:
    """Returns the variables by which CUDA and the container runtime limit a process to some devices.

    Raises:
        NotFound: A device is not among the healthy ones.
    """
    healthy = {device.uuid for device in devices if not device.fault}
    missing = [uuid for uuid in uuids if uuid not in healthy]
    if missing:
        raise NotFound(
            f"GPU {', '.join(missing)} is not on this host or not healthy; healthy are {sorted(healthy)}"
        )
    chosen = ",".join(uuids)
    return {"CUDA_VISIBLE_DEVICES": chosen, "NVIDIA_VISIBLE_DEVICES": chosen or "void"}
