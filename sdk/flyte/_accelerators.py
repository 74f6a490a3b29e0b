"""GPUs and other devices, by the names that tasks ask for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

_ONE_TO_EIGHT = tuple(range(1, 9))
_TRAINIUM = (1, 4, 8, 16)

# Class of device → model → numbers that one host can have.
_MODELS: dict[str, dict[str, tuple[int, ...]]] = {
    "GPU": {
        **dict.fromkeys(
            ("A10", "A10G", "A100", "A100 80G", "B200", "H100", "H200", "L4", "L40s", "V100", "T4"),
            _ONE_TO_EIGHT,
        ),
        "RTX PRO 6000": (1,),
        "GB10": (1,),
    },
    "NEURON": {
        **dict.fromkeys(("Trn1", "Trn1n", "Trn2", "Trn2u"), _TRAINIUM),
        "Inf1": tuple(range(1, 17)),
        "Inf2": tuple(range(1, 13)),
    },
    "AMD_GPU": dict.fromkeys(
        ("MI100", "MI210", "MI250", "MI250X", "MI300A", "MI300X", "MI325X", "MI350X", "MI355X"), (1,)
    ),
    "HABANA_GAUDI": {"Gaudi1": (1,)},
    "TPU": {"V5P": (1,), "V6E": (1,)},
}

_PARTITIONS: dict[str, tuple[str, ...]] = {
    "A100": ("1g.5gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"),
    "A100 80G": ("1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
    "H100": ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
    "H200": ("1g.18gb", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"),
}

DeviceClass = Literal["GPU", "TPU", "NEURON", "AMD_GPU", "HABANA_GAUDI"]


class GPUAccelerator(Enum):
    """Types of GPU, for `TaskEnvironment(accelerator=…)` beside an untyped count.

    Example:
        ```python
        env = flyte.TaskEnvironment(
            "gpu_training",
            limits=flyte.Resources(cpu="8", mem="32Gi", gpu="1"),
            accelerator=flyte.GPUAccelerator.NVIDIA_A10G,
        )
        ```
    """

    NVIDIA_A10 = "A10"
    NVIDIA_A10G = "A10G"
    NVIDIA_A100 = "A100"
    NVIDIA_A100_80GB = "A100 80G"
    NVIDIA_B200 = "B200"
    NVIDIA_GB10 = "GB10"
    NVIDIA_H100 = "H100"
    NVIDIA_H200 = "H200"
    NVIDIA_L4 = "L4"
    NVIDIA_L40S = "L40s"
    NVIDIA_RTX_PRO_6000 = "RTX PRO 6000"
    NVIDIA_T4 = "T4"
    NVIDIA_V100 = "V100"
    AMD_MI100 = "MI100"
    AMD_MI210 = "MI210"
    AMD_MI250 = "MI250"
    AMD_MI250X = "MI250X"
    AMD_MI300A = "MI300A"
    AMD_MI300X = "MI300X"
    AMD_MI325X = "MI325X"
    AMD_MI350X = "MI350X"
    AMD_MI355X = "MI355X"


@dataclass(frozen=True)
class Device:
    """A number of devices of one model. `flyte.GPU("A100", 2)` and its like make one with all checks.

    Attributes:
        quantity: How many, at least 1.
        device_class: Kind of device.
        device: Model, None for any.
        partition: Part of a device, such as the MIG profile "1g.5gb". None for whole ones.

    Raises:
        TypeError: The quantity is not an int.
        ValueError: The quantity is below 1.

    Example:
        ```python
        resources = flyte.Resources(gpu=flyte.Device(quantity=2, device_class="GPU", device="L4"))
        ```
    """

    quantity: int
    device_class: DeviceClass = "GPU"
    device: str | None = None
    partition: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.quantity, bool) or not isinstance(self.quantity, int):
            raise TypeError(f"the quantity of a device must be an int, not {self.quantity!r}")
        if self.quantity < 1:
            raise ValueError(f"the quantity of a device must be at least 1, not {self.quantity}")
        if self.device_class not in _MODELS:
            raise ValueError(f"unknown class of device {self.device_class!r}: one of {', '.join(_MODELS)}")


def GPU(device: str, quantity: int = 1, partition: str | None = None) -> Device:  # noqa: N802 - public contract
    """NVIDIA GPUs of one model, or MIG partitions of it.

    Args:
        device: Model, such as "A100", "A100 80G" or "T4".
        quantity: How many, 1 to 8.
        partition: MIG profile, such as "1g.5gb" for an A100.

    Raises:
        ValueError: The model, quantity or partition does not exist; the message lists those that do.

    Example:
        ```python
        resources = flyte.Resources(gpu=flyte.GPU("A100", 1, partition="1g.5gb"))
        ```
    """
    if partition is not None:
        offered = _PARTITIONS.get(device, ())
        if partition not in offered:
            has = f"one of {', '.join(offered)}" if offered else "it has none"
            raise ValueError(f"GPU {device!r} has no partition {partition!r}: {has}")
    return _checked("GPU", device, quantity, partition)


def TPU(device: Literal["V5P", "V6E"], partition: str | None = None) -> Device:  # noqa: N802 - public contract
    """A slice of Google TPUs.

    Args:
        device: "V5P" or "V6E".
        partition: Topology of the slice, such as "2x2x1".

    Raises:
        ValueError: There is no such model.

    Example:
        ```python
        resources = flyte.Resources(gpu=flyte.TPU("V5P", "2x2x1"))
        ```
    """
    return _checked("TPU", device, 1, partition)


def Neuron(device: str, quantity: int = 1) -> Device:  # noqa: N802 - public contract
    """AWS Trainium or Inferentia devices.

    Args:
        device: "Trn1", "Trn1n", "Trn2", "Trn2u", "Inf1" or "Inf2".
        quantity: How many.

    Raises:
        ValueError: There is no such model, or no host with so many.

    Example:
        ```python
        resources = flyte.Resources(gpu=flyte.Neuron("Trn1", 4))
        ```
    """
    return _checked("NEURON", device, quantity)


def AMD_GPU(device: str, quantity: int = 1) -> Device:  # noqa: N802 - public contract
    """AMD GPUs.

    Args:
        device: Model, such as "MI300X".
        quantity: How many.

    Raises:
        ValueError: There is no such model, or no host with so many.

    Example:
        ```python
        resources = flyte.Resources(gpu=flyte.AMD_GPU("MI300X"))
        ```
    """
    return _checked("AMD_GPU", device, quantity)


def HABANA_GAUDI(device: str = "Gaudi1", quantity: int = 1) -> Device:  # noqa: N802 - public contract
    """Intel Gaudi accelerators.

    Args:
        device: "Gaudi1".
        quantity: How many.

    Raises:
        ValueError: There is no such model, or no host with so many.

    Example:
        ```python
        resources = flyte.Resources(gpu=flyte.HABANA_GAUDI())
        ```
    """
    return _checked("HABANA_GAUDI", device, quantity)


def parse_device(gpu: object) -> Device | None:
    """What a `gpu=` argument means: a count, "TYPE:COUNT", a device, or nothing.

    Raises:
        TypeError: It is neither.
        ValueError: The count is negative, or the type does not exist.
    """
    if gpu is None or isinstance(gpu, Device):
        return gpu
    if isinstance(gpu, str) and not gpu.strip().lstrip("-").isdigit():
        return _parse_typed(gpu)
    if isinstance(gpu, bool) or not isinstance(gpu, (int, str)):
        raise TypeError(f'Resources.gpu must be a count, "A10G:1" or flyte.GPU("A10G", 1), not {gpu!r}')
    count = int(gpu)
    if count < 0:
        raise ValueError(f"Resources.gpu must not be negative: {gpu!r}")
    return Device(count) if count else None


def _parse_typed(text: str) -> Device:
    model, colon, count = text.rpartition(":")
    if not colon:
        model, count = text, "1"
    model = model.strip()
    for device_class, models in _MODELS.items():
        if model in models:
            if not count.strip().isdigit():
                break
            return _checked(device_class, model, int(count))
    known = ", ".join(name for models in _MODELS.values() for name in models)
    raise ValueError(
        f'unknown accelerator {text!r}: write "TYPE:COUNT", such as "A10G:1", with a type of: {known}'
    )


def _checked(device_class: str, model: str, quantity: int, partition: str | None = None) -> Device:
    models = _MODELS[device_class]
    if model not in models:
        raise ValueError(f"unknown {device_class} {model!r}: one of {', '.join(models)}")
    device = Device(quantity, device_class, model, partition)  # type: ignore[arg-type]
    if quantity not in models[model]:
        counts = ", ".join(map(str, models[model]))
        raise ValueError(f"{model} comes in quantities of {counts}, not {quantity}")
    return device
