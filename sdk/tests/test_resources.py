"""Resources and devices."""

from __future__ import annotations

import pytest

import flyte
from flyte import Resources

MI, GI = 1024**2, 1024**3


@pytest.mark.parametrize(
    ("cpu", "millis"),
    [
        (1, 1000),
        (0.5, 500),
        ("500m", 500),
        ("4", 4000),
        ("1.5", 1500),
        ((1, 2), 2000),
        (("250m", "1"), 1000),
        (None, 0),
    ],
)
def test_cpu_is_read_in_every_spelling(cpu, millis):
    """Cores become thousandths; of a pair the limit counts."""
    assert Resources(cpu=cpu).to_spec()["cpu_millis"] == millis


@pytest.mark.parametrize(
    ("memory", "size"),
    [
        ("512Mi", 512 * MI),
        ("4Gi", 4 * GI),
        ("1.5Gi", 3 * GI // 2),
        ("10G", 10**10),
        ("2k", 2000),
        ("1048576", MI),
        (("1Gi", "2Gi"), 2 * GI),
        (None, 0),
    ],
)
@pytest.mark.parametrize("spelling", ["memory", "mem"])
def test_memory_is_read_in_every_spelling(spelling, memory, size):
    """`mem` is `memory`; sizes become bytes."""
    resources = Resources(**{spelling: memory})
    assert resources.to_spec()["memory_bytes"] == size
    assert resources.memory == memory


def test_both_spellings_of_memory_must_agree():
    """The same value twice is fine, different ones are not."""
    assert Resources(memory="1Gi", mem="1Gi") == Resources(memory="1Gi")
    with pytest.raises(ValueError, match="memory='1Gi' and mem='2Gi' are the same setting"):
        Resources(memory="1Gi", mem="2Gi")


@pytest.mark.parametrize(
    ("gpu", "spec"),
    [
        (1, {"model": "", "count": 1, "partition": ""}),
        ("1", {"model": "", "count": 1, "partition": ""}),
        ("A10G:2", {"model": "A10G", "count": 2, "partition": ""}),
        ("A100 80G:8", {"model": "A100 80G", "count": 8, "partition": ""}),
        ("RTX PRO 6000:1", {"model": "RTX PRO 6000", "count": 1, "partition": ""}),
        ("Trn1:16", {"model": "Trn1", "count": 16, "partition": ""}),
        ("Inf2:12", {"model": "Inf2", "count": 12, "partition": ""}),
        ("MI300X:1", {"model": "MI300X", "count": 1, "partition": ""}),
        ("Gaudi1:1", {"model": "Gaudi1", "count": 1, "partition": ""}),
        (flyte.GPU("A100", 1, "1g.5gb"), {"model": "A100", "count": 1, "partition": "1g.5gb"}),
        (flyte.GPU("H200", partition="7g.141gb"), {"model": "H200", "count": 1, "partition": "7g.141gb"}),
        (flyte.Neuron("Trn2", 4), {"model": "Trn2", "count": 4, "partition": ""}),
        (flyte.AMD_GPU("MI250"), {"model": "MI250", "count": 1, "partition": ""}),
        (flyte.HABANA_GAUDI(), {"model": "Gaudi1", "count": 1, "partition": ""}),
        (flyte.TPU("V5P", "2x2x1"), {"model": "V5P", "count": 1, "partition": "2x2x1"}),
        (flyte.Device(2, "GPU", "L4"), {"model": "L4", "count": 2, "partition": ""}),
        (0, None),
        (None, None),
    ],
)
def test_gpus_are_read_in_every_spelling(gpu, spec):
    """Counts, typed strings and devices mean the same request."""
    assert Resources(gpu=gpu).to_spec().get("gpu") == spec


def test_disk_and_shared_memory():
    """Sizes become bytes; "auto" is as much as memory allows."""
    spec = Resources(disk="10Gi", shm="auto").to_spec()
    assert (spec["disk_bytes"], spec["shm_bytes"]) == (10 * GI, -1)
    assert Resources(shm="16Gi").to_spec()["shm_bytes"] == 16 * GI


def test_unset_resources_are_left_to_the_platform():
    """Nothing set is nothing asked for."""
    assert Resources().to_spec() == {"cpu_millis": 0, "memory_bytes": 0}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cpu": -1}, ValueError, r"Resources.cpu must be above 0, not -1"),
        ({"cpu": 0}, ValueError, r"Resources.cpu must be above 0"),
        ({"cpu": "four"}, ValueError, r"Resources.cpu='four' cannot be read: write cores such as"),
        ({"cpu": float("nan")}, ValueError, r"Resources.cpu must be above 0"),
        ({"cpu": True}, TypeError, r"Resources.cpu must be a number of cores"),
        ({"cpu": (1, 2, 3)}, ValueError, r"Resources.cpu must be one value or \(request, limit\)"),
        ({"cpu": (2, 1)}, ValueError, r"the request must not exceed the limit: \(2, 1\)"),
        ({"memory": "4 gigs"}, ValueError, r"Resources.memory='4 gigs' cannot be read: write a size such as"),
        ({"memory": "-1Gi"}, ValueError, r"Resources.memory='-1Gi' cannot be read"),
        ({"memory": "0Gi"}, ValueError, r"Resources.memory must be above 0"),
        ({"memory": 512}, TypeError, r'string with a unit such as "512Mi"'),
        ({"memory": ("1Gi",)}, ValueError, r"one value or \(request, limit\)"),
        ({"gpu": -1}, ValueError, r"Resources.gpu must not be negative: -1"),
        ({"gpu": "-2"}, ValueError, r"Resources.gpu must not be negative"),
        ({"gpu": "X9000:1"}, ValueError, r"unknown accelerator 'X9000:1'.*A10G"),
        ({"gpu": "A10G:9"}, ValueError, r"A10G comes in quantities of 1, 2, .*8, not 9"),
        ({"gpu": "A10G:one"}, ValueError, r"unknown accelerator 'A10G:one'"),
        ({"gpu": 1.5}, TypeError, r"Resources.gpu must be a count"),
        ({"gpu": True}, TypeError, r"Resources.gpu must be a count"),
        ({"disk": "lots"}, ValueError, r"Resources.disk='lots' cannot be read"),
        ({"shm": "all"}, ValueError, r"Resources.shm='all' cannot be read"),
    ],
)
def test_wrong_values_name_field_value_and_fix(arguments, error, message):
    """Every refusal says what was wrong and what to write."""
    with pytest.raises(error, match=message):
        Resources(**arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: flyte.GPU("Voodoo", 1), "unknown GPU 'Voodoo': one of A10, A10G"),
        (lambda: flyte.GPU("T4", 9), "T4 comes in quantities"),
        (lambda: flyte.GPU("A100", 1, "9g.90gb"), "has no partition '9g.90gb': one of 1g.5gb"),
        (lambda: flyte.GPU("T4", 1, "1g.5gb"), "has no partition '1g.5gb': it has none"),
        (lambda: flyte.TPU("V1"), "unknown TPU 'V1'"),  # type: ignore[arg-type]
        (lambda: flyte.Neuron("Trn1", 3), "Trn1 comes in quantities of 1, 4, 8, 16, not 3"),
        (lambda: flyte.AMD_GPU("MI1"), "unknown AMD_GPU 'MI1'"),
        (lambda: flyte.HABANA_GAUDI("Gaudi9"), "unknown HABANA_GAUDI"),
        (lambda: flyte.Device(0), "quantity of a device must be at least 1"),
        (lambda: flyte.Device(1, "ASIC"), "unknown class of device 'ASIC'"),  # type: ignore[arg-type]
    ],
)
def test_wrong_devices_list_what_exists(make, message):
    """Devices that do not exist are refused with those that do."""
    with pytest.raises(ValueError, match=message):
        make()


def test_an_accelerator_types_an_untyped_count():
    """`accelerator` beside a count is the type; a typed count of the same type stays."""
    a10g = flyte.GPUAccelerator.NVIDIA_A10G
    assert Resources(gpu="2").with_accelerator(a10g).to_spec() == Resources(gpu="A10G:2").to_spec()
    assert Resources(gpu="A10G:2").with_accelerator("A10G") == Resources(gpu="A10G:2")


@pytest.mark.parametrize(
    ("gpu", "accelerator", "message"),
    [
        (None, "A10G", r"needs a number of GPUs: Resources\(gpu=1\)"),
        ("T4:1", "A10G", "name different types"),
        (1, "Voodoo", "unknown accelerator"),
    ],
)
def test_an_accelerator_must_fit(gpu, accelerator, message):
    """No count, another type and an unknown type are refused."""
    with pytest.raises(ValueError, match=message):
        Resources(gpu=gpu).with_accelerator(accelerator)


@pytest.mark.parametrize("accelerator", list(flyte.GPUAccelerator))
def test_every_accelerator_can_be_asked_for(accelerator):
    """Each member of the enumeration names a device that exists."""
    assert Resources(gpu=1).with_accelerator(accelerator).device.device == accelerator.value
