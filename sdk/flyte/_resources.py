"""What a task asks for: processors, memory, disk and devices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flyte._accelerators import Device, GPUAccelerator, parse_device

_UNITS = {
    "": 1,
    "k": 1000,
    "K": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "P": 1000**5,
    "Ki": 1024,
    "Mi": 1024**2,
    "Gi": 1024**3,
    "Ti": 1024**4,
    "Pi": 1024**5,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]{0,2})")


@dataclass(frozen=True, init=False)
class Resources:
    """What one worker of a task holds while it runs. What is left out comes from the platform.

    Attributes:
        cpu: Cores: `2`, `0.5`, `"500m"`, `"4"`, or `(request, limit)`. Of a pair the limit is reserved.
        memory: `"4Gi"`, `"512Mi"`, or `(request, limit)`. Exceeding the limit fails the task with `OOMError`.
        gpu: A number of GPUs of any type, `"A10G:1"`, or a device of `flyte.GPU(…)` and its like.
        disk: Ephemeral disk, `"10Gi"`.
        shm: Shared memory, `"16Gi"`, or `"auto"` for as much as the memory allows.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value cannot be read, is negative, or `mem` and `memory` differ.

    Example:
        ```python
        env = flyte.TaskEnvironment("train", resources=flyte.Resources(cpu=4, memory="16Gi", gpu="A10G:1"))
        ```
    """

    cpu: int | float | str | tuple[int | float | str, int | float | str] | None
    memory: str | tuple[str, str] | None
    gpu: int | str | Device | None
    disk: str | None
    shm: str | None

    def __init__(
        self,
        cpu: int | float | str | tuple[int | float | str, int | float | str] | None = None,
        memory: str | tuple[str, str] | None = None,
        gpu: int | str | Device | None = None,
        disk: str | None = None,
        shm: str | None = None,
        *,
        mem: str | tuple[str, str] | None = None,
    ) -> None:
        """Take the values; `mem` is another spelling of `memory`."""
        if memory is not None and mem is not None and memory != mem:
            raise ValueError(
                f"Resources: memory={memory!r} and mem={mem!r} are the same setting: give one of them"
            )
        values = {
            "cpu": cpu,
            "memory": mem if memory is None else memory,
            "gpu": gpu,
            "disk": disk,
            "shm": shm,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self.to_spec()

    @property
    def cpu_millis(self) -> int:
        """Thousandths of a core, 0 when not set."""
        return _last("cpu", self.cpu, _millis)

    @property
    def memory_bytes(self) -> int:
        """Memory limit in bytes, 0 when not set."""
        return _last("memory", self.memory, _bytes)

    @property
    def device(self) -> Device | None:
        """The devices asked for, None when there are none."""
        return parse_device(self.gpu)

    def with_accelerator(self, accelerator: GPUAccelerator | str) -> Resources:
        """The same resources with the type of an untyped GPU count.

        Raises:
            ValueError: No GPU is asked for, or one of another type.
        """
        model = accelerator.value if isinstance(accelerator, GPUAccelerator) else accelerator
        device = self.device
        if device is None:
            raise ValueError(f"accelerator={model!r} needs a number of GPUs: Resources(gpu=1)")
        typed = parse_device(f"{model}:{device.quantity}")
        if device.device is not None and typed is not None and device.device != typed.device:
            raise ValueError(
                f"Resources(gpu={self.gpu!r}) and accelerator={model!r} name different types: give one"
            )
        if device.device is not None:
            return self
        return Resources(cpu=self.cpu, memory=self.memory, gpu=typed, disk=self.disk, shm=self.shm)

    def to_spec(self) -> dict[str, Any]:
        """The `Resources` of the task spec."""
        spec: dict[str, Any] = {"cpu_millis": self.cpu_millis, "memory_bytes": self.memory_bytes}
        if self.disk is not None:
            spec["disk_bytes"] = _bytes("disk", self.disk)
        if self.shm is not None:
            spec["shm_bytes"] = -1 if self.shm == "auto" else _bytes("shm", self.shm)
        if (device := self.device) is not None:
            spec["gpu"] = {
                "model": device.device or "",
                "count": device.quantity,
                "partition": device.partition or "",
            }
        return spec


def _last(name: str, value: object, parse: Any) -> int:
    """Parse a value or each of a (request, limit) pair; the limit counts."""
    if value is None:
        return 0
    if not isinstance(value, (tuple, list)):
        return int(parse(name, value))
    if len(value) != 2:
        raise ValueError(f"Resources.{name} must be one value or (request, limit), not {value!r}")
    request, limit = (int(parse(name, part)) for part in value)
    if request > limit:
        raise ValueError(f"Resources.{name}: the request must not exceed the limit: {value!r}")
    return limit


def _millis(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(
            f'Resources.{name} must be a number of cores such as 2, 0.5, "500m" or "4", not {value!r}'
        )
    try:
        if isinstance(value, str) and value.strip().endswith("m"):
            millis = float(value.strip()[:-1])
        else:
            millis = float(value) * 1000
    except ValueError:
        raise ValueError(
            f'Resources.{name}={value!r} cannot be read: write cores such as 2, 0.5, "500m" or "4"'
        ) from None
    if not 0 < millis < float("inf"):
        raise ValueError(f"Resources.{name} must be above 0, not {value!r}")
    return max(1, round(millis))


def _bytes(name: str, value: object) -> int:
    if not isinstance(value, str):
        raise TypeError(
            f'Resources.{name} must be a string with a unit such as "512Mi" or "4Gi", not {value!r}'
        )
    match = _SIZE.fullmatch(value.strip())
    if match is None or match[2] not in _UNITS:
        raise ValueError(
            f'Resources.{name}={value!r} cannot be read: write a size such as "512Mi", "4Gi" or "10G"'
        )
    size = float(match[1]) * _UNITS[match[2]]
    if size < 1:
        raise ValueError(f"Resources.{name} must be above 0, not {value!r}")
    return round(size)
