"""GPUs from a JSON file instead of a driver: for tests and for trying things without a GPU."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import FailedPrecondition
from services.executor.gpu.plugin import Gpu, GpuStats, visible_devices


class _Device(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    uuid: str = Field(min_length=1)
    model: str = Field(min_length=1)
    memory_bytes: int = Field(gt=0)
    driver_version: str = "described"
    fault: str = ""
    memory_used_bytes: int = Field(default=0, ge=0)
    utilisation: float = Field(default=0.0, ge=0, le=1)


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    devices: list[_Device]


class DescribedGpus:
    """Devices as a file describes them; the file is read again at every call.

    Args:
        path: A JSON file: `{"devices": [{"uuid": "GPU-1", "model": "A10G", "memory_bytes": 25769803776}]}`. A
            device may also have `driver_version`, `fault`, `memory_used_bytes` and `utilisation`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def _read(self) -> list[_Device]:
        try:
            devices = _Description.model_validate(json.loads(self._path.read_text())).devices
        except (OSError, ValueError, ValidationError) as error:
            raise FailedPrecondition(
                f"HANGAR_EXECUTOR_GPUS names {self._path}, which is no description of GPUs: {error}. "
                'Expected {"devices": [{"uuid": "GPU-1", "model": "A10G", "memory_bytes": 25769803776}]}'
            ) from error
        uuids = [device.uuid for device in devices]
        doubled = sorted({uuid for uuid in uuids if uuids.count(uuid) > 1})
        if doubled:
            raise FailedPrecondition(
                f"HANGAR_EXECUTOR_GPUS: {self._path} describes {', '.join(doubled)} more than once"
            )
        return devices

    def fingerprint(self) -> list[Gpu]:
        """Lists the devices in the order of the file.

        Raises:
            FailedPrecondition: The file is missing or wrong.
        """
        return [
            Gpu(device.uuid, device.model, device.memory_bytes, device.driver_version, device.fault)
            for device in self._read()
        ]

    def reserve(self, uuids: list[str]) -> dict[str, str]:
        """Returns the environment variables that show exactly these devices to a worker.

        Raises:
            NotFound: A device is not described or has a fault.
        """
        return visible_devices(self.fingerprint(), uuids)

    def stats(self) -> list[GpuStats]:
        """Returns the described readings of the healthy devices."""
        return [
            GpuStats(device.uuid, device.memory_used_bytes, device.utilisation)
            for device in self._read()
            if not device.fault
        ]
