"""Task definitions by digest."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from hangar.core.v1.task_spec_pb2 import TaskSpec
from services.scheduler.convert import task_of
from services.scheduler.core.model import Task

_REMEMBERED = 4096

DEFAULT_CPU_MILLIS = 1000
"""Processor time of a task that asks for none, in thousandths of a core."""
DEFAULT_MEMORY_BYTES = 1 << 30
"""Memory of a task that asks for none."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A task definition, identified by its content."""

    digest: str
    """Hex SHA-256 of `serialised`."""
    serialised: bytes
    message: TaskSpec
    task: Task
    """What the core knows of it."""


class Specs:
    """The definitions that were used last; the ledger has all of them."""

    def __init__(self) -> None:
        self._specs: OrderedDict[str, Spec] = OrderedDict()

    def add(self, message: TaskSpec) -> Spec:
        """Returns the definition of a message, completed with defaults; the same for equal ones."""
        message.resources.cpu_millis = message.resources.cpu_millis or DEFAULT_CPU_MILLIS
        message.resources.memory_bytes = message.resources.memory_bytes or DEFAULT_MEMORY_BYTES
        return self.add_serialised(message.SerializeToString(deterministic=True))

    def add_serialised(self, serialised: bytes) -> Spec:
        """Returns the definition of a deterministically serialised message."""
        digest = hashlib.sha256(serialised).hexdigest()
        spec = self.get(digest)
        if spec is None:
            message = TaskSpec.FromString(serialised)
            spec = self._specs[digest] = Spec(digest, serialised, message, task_of(message, digest))
            if len(self._specs) > _REMEMBERED:
                self._specs.popitem(last=False)
        return spec

    def get(self, digest: str) -> Spec | None:
        """Returns a definition, None when it was not used lately."""
        spec = self._specs.get(digest)
        if spec is not None:
            self._specs.move_to_end(digest)
        return spec
