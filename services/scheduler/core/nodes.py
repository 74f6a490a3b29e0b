"""A node and the booking of its resources."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from .model import Gpu, Inventory, NodeState, Placement, Resources

REMEMBERED_IMAGES = 256  # per node


@dataclass(slots=True)
class Node:
    """A host. What is free may be negative after a restart until executors have said what is parked."""

    name: str
    boot_id: str
    inventory: Inventory
    state: NodeState
    labels: dict[str, str] = field(default_factory=dict)
    session: int | None = None
    last_seen: int = 0
    suspect_since: int = 0
    is_missed: bool = True  # of a lost host: what only it could take still waits for it
    free_cpu: int = 0
    free_memory: int = 0
    free_disk: int = 0
    free_gpus: dict[str, Gpu] = field(default_factory=dict)
    leases: set[int] = field(default_factory=set)
    workers: set[int] = field(default_factory=set)
    images: dict[str, None] = field(default_factory=dict)  # that workers started from, the latest last
    unparking: deque[int] = field(
        default_factory=deque
    )  # parked leases whose children ended, first come first served

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all bookings."""
        self.free_cpu = self.inventory.cpu
        self.free_memory = self.inventory.memory
        self.free_disk = self.inventory.disk
        self.free_gpus = {gpu.uuid: gpu for gpu in self.inventory.gpus if gpu.healthy}

    def fits(self, wanted: Resources) -> bool:
        """Whether `wanted` can be booked now."""
        return (
            self.inventory.suits(wanted)
            and wanted.cpu <= self.free_cpu
            and wanted.memory <= self.free_memory
            and wanted.disk <= self.free_disk
            and len(self._matching(wanted)) >= wanted.gpu_count
        )

    def book(self, wanted: Resources, gpu_uuids: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Book `wanted`; choose GPUs unless they are given. Returns the GPUs' UUIDs."""
        chosen = gpu_uuids if gpu_uuids is not None else tuple(self._matching(wanted)[: wanted.gpu_count])
        self.free_cpu -= wanted.cpu
        self.free_memory -= wanted.memory
        self.free_disk -= wanted.disk
        for uuid in chosen:
            self.free_gpus.pop(uuid, None)
        return chosen

    def release(self, wanted: Resources, gpu_uuids: tuple[str, ...]) -> None:
        """Give a booking back."""
        self.free_cpu += wanted.cpu
        self.free_memory += wanted.memory
        self.free_disk += wanted.disk
        for gpu in self.inventory.gpus:
            if gpu.healthy and gpu.uuid in gpu_uuids:
                self.free_gpus[gpu.uuid] = gpu

    def has_started(self, image: str) -> None:
        """Remember that the host has an image: a worker started from it."""
        self.images.pop(image, None)
        self.images[image] = None
        if len(self.images) > REMEMBERED_IMAGES:
            del self.images[next(iter(self.images))]

    def admits(self, placement: Placement) -> bool:
        """Whether the host is one of those that may take what is placed so."""
        inventory = self.inventory
        serves = placement.queue in inventory.queues
        return serves and (placement.interruptible or not inventory.interruptible)

    def could_ever_fit(self, wanted: Resources, held: Resources, held_gpus: tuple[str, ...]) -> bool:
        """Whether `wanted` fits on the empty node less what a waiting chain of ancestors goes on holding."""
        gpus = [
            gpu
            for gpu in self.inventory.gpus
            if gpu.healthy and gpu.uuid not in held_gpus and wanted.gpu_model in ("", gpu.model)
        ]
        return (
            self.inventory.suits(wanted)
            and wanted.cpu <= self.inventory.cpu
            and wanted.memory <= self.inventory.memory - held.memory
            and wanted.disk <= self.inventory.disk - held.disk
            and wanted.gpu_count <= len(gpus)
        )

    def _matching(self, wanted: Resources) -> list[str]:
        if not wanted.gpu_count:
            return []
        return [uuid for uuid, gpu in self.free_gpus.items() if wanted.gpu_model in ("", gpu.model)]
