"""Whether the kernel of an engine runs programs of another platform: the smallest program there is, tried out."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from dataclasses import dataclass
from typing import Any

_PROGRAM = "/end"
"""Path of the program in the image to try."""
_BASE = 0x10000


@dataclass(frozen=True, slots=True)
class _Machine:
    """An architecture: its number in ELF headers, its words, and the instructions that end a process with 0."""

    number: int
    bits: int
    end: bytes
    order: str = "<"
    flags: int = 0


_MACHINES = {
    "amd64": _Machine(62, 64, bytes.fromhex("b83c00000031ff0f05")),
    "386": _Machine(3, 32, bytes.fromhex("b80100000031dbcd80")),
    "arm64": _Machine(183, 64, bytes.fromhex("a80b80d2000080d2010000d4")),
    "arm": _Machine(40, 32, bytes.fromhex("0170a0e30000a0e3000000ef"), flags=0x5000000),
    "riscv64": _Machine(243, 64, bytes.fromhex("9308d0051305000073000000")),
    "ppc64le": _Machine(21, 64, bytes.fromhex("010000380000603802000044"), flags=2),
    "s390x": _Machine(22, 64, bytes.fromhex("a72900000a01"), ">"),
}


def machine_number(platform: str) -> int:
    """Returns the number that programs of a platform have in their ELF header, 0 when it is not known."""
    machine = _machine(platform)
    return machine.number if machine is not None else 0


def runs_platform(api: Any, platform: str) -> bool:
    """Says whether a container with a program of a platform ends as it should. Takes a second, and leaves nothing.

    Args:
        api: The engine's low-level client (`docker.APIClient`).
        platform: The platform; one that is not known is not run.

    Raises:
        Exception: What the client raises when the engine does not answer.
    """
    machine = _machine(platform)
    if machine is None:
        return False
    image = str(json.loads(api.import_image_from_data(_image(machine)).splitlines()[-1])["status"])
    try:
        alone = api.create_host_config(network_mode="none")
        container = api.create_container(image, [_PROGRAM], host_config=alone)["Id"]
        try:
            api.start(container)
            return bool(api.wait(container)["StatusCode"] == 0)
        except Exception as error:
            if "exec format error" in str(error):
                return False
            raise
        finally:
            api.remove_container(container, force=True)
    finally:
        api.remove_image(image, force=True)


def _image(machine: _Machine) -> bytes:
    """A tar archive of an image with a program that ends at once, and nothing else."""
    content = _program(machine)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo(_PROGRAM.lstrip("/"))
        member.size, member.mode = len(content), 0o755
        tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _machine(platform: str) -> _Machine | None:
    system, _, architecture = platform.partition("/")
    return _MACHINES.get(architecture.partition("/")[0]) if system == "linux" else None


def _program(machine: _Machine) -> bytes:
    """An executable of one segment: header, segment header, code."""
    word, head_size, segment_size = ("Q", 64, 56) if machine.bits == 64 else ("I", 52, 32)
    start = _BASE + head_size + segment_size
    size = head_size + segment_size + len(machine.end)
    ident = b"\x7fELF" + bytes([machine.bits // 32, 2 if machine.order == ">" else 1, 1]) + bytes(9)
    head = struct.pack(
        f"{machine.order}HHI{word}{word}{word}IHHHHHH",
        2,  # an executable
        machine.number,
        1,
        start,
        head_size,
        0,
        machine.flags,
        head_size,
        segment_size,
        1,
        0,
        0,
        0,
    )
    place, how = (0, _BASE, _BASE, size, size), 5  # readable and executable
    if machine.bits == 64:
        segment = struct.pack(f"{machine.order}IIQQQQQQ", 1, how, *place, 0x1000)
    else:
        segment = struct.pack(f"{machine.order}IIIIIIII", 1, *place, how, 0x1000)
    return ident + head + segment + machine.end
