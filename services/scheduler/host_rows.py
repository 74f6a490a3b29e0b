"""Rows of hosts and of their workers."""

from __future__ import annotations

from services.scheduler.core import effects as fx
from services.scheduler.core.model import WorkerState
from services.scheduler.definition_rows import remember
from services.scheduler.recording import ROW_BYTES, Draft


class HostRows:
    """Writes hosts and workers into the next transaction."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._known_images: set[int] = set()

    def worker_changed(self, effect: fx.WorkerChanged) -> None:
        """Notes a worker and its state."""
        rows = self._draft.rows
        known = rows.workers.get(effect.worker_id)
        rows.workers[effect.worker_id] = {
            "id": effect.worker_id,
            "node": effect.node,
            "pool_key": effect.pool_key,
            "spec_digest": effect.spec_digest,
            "gpu_uuids": list(effect.gpu_uuids),
            "state": effect.state.value,
            "started_at": known["started_at"] if known else effect.at,
            "ended_at": effect.at if effect.state is WorkerState.EXITED else None,
        }
        self._draft.worker_named(effect.worker_id)

    def node_changed(self, effect: fx.NodeChanged) -> None:
        """Notes a host, what it has and its state."""
        inventory = effect.inventory
        self._draft.rows.nodes[effect.name] = {
            "name": effect.name,
            "boot_id": effect.boot_id,
            "state": effect.state.value,
            "inventory": {
                "cpu": inventory.cpu,
                "memory": inventory.memory,
                "disk": inventory.disk,
                "platform": inventory.platform,
                "engine": inventory.engine,
                "gpus": [[gpu.uuid, gpu.model, gpu.memory, gpu.healthy] for gpu in inventory.gpus],
                "queues": list(inventory.queues),
                "interruptible": inventory.interruptible,
            },
            "labels": dict(effect.labels),
            "changed_at": effect.at,
        }

    def image(self, worker_id: int, image: str) -> None:
        """Adds the image that a worker was started from. What is known already costs nothing."""
        if worker_id not in self._known_images:
            remember(self._known_images, worker_id)
            self._draft.rows.worker_images.append({"worker_id": worker_id, "image": image})
            self._draft.rows.weight += ROW_BYTES
