"""What a container uses, from the engine's measurements. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.executor.engines.base import WorkerStats


def stats_of(measured: Mapping[str, Any]) -> WorkerStats:
    """Reads the engine's answer. Memory is without the files that the kernel keeps in memory and could drop."""
    memory = measured.get("memory_stats") or {}
    details = memory.get("stats") or {}
    droppable = details.get("total_inactive_file", details.get("inactive_file", 0))
    cpu = (measured.get("cpu_stats") or {}).get("cpu_usage") or {}
    return WorkerStats(
        memory_bytes=max(int(memory.get("usage") or 0) - int(droppable), 0),
        cpu_millis=int(cpu.get("total_usage") or 0) // 1_000_000,
        processes=int((measured.get("pids_stats") or {}).get("current") or 0),
    )
