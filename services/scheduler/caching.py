"""What actions have to do with the cache: the run's wishes, and what the ledger has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from hangar.core.v1.identifiers_pb2 import RunIdentifier
from hangar.core.v1.task_spec_pb2 import CACHE_SCOPE_GLOBAL, RunContext
from services.scheduler.core import events as ev
from services.scheduler.core.model import CacheUse
from services.scheduler.live import Live
from services.scheduler.shell import Shell
from services.scheduler.specs import Spec
from services.scheduler.store import Store

Requests: TypeAlias = Sequence[tuple[ev.ChildRequested, str]]
"""Requests for children, each with the key that its result is kept under; empty when it is not."""


def cache_use(key: str, spec: Spec, run: RunIdentifier, context: RunContext) -> CacheUse | None:
    """Returns how an action of a run uses the cache; None when it does not.

    Args:
        key: Digest of task, version, interface and inputs; empty when its result is not kept.
        spec: Its definition.
        run: Its run.
        context: What the caller of the run asked for.
    """
    if not key or context.disable_cache or not spec.message.HasField("cache"):
        return None
    scope = "" if context.cache_scope == CACHE_SCOPE_GLOBAL else f"{run.project}/{run.domain}"
    return CacheUse(f"{scope}/{key}", spec.message.cache.serialize, context.overwrite_cache)


class CacheLookup:
    """Looks entries of the cache up for events before the core handles them.

    The core knows those that are stored between the look-up and the event's turn.

    Args:
        shell: Reads the ledger in a thread.
        store: The ledger.
        live: What is live: the runs of the leases that ask.
    """

    def __init__(self, shell: Shell, store: Store, live: Live) -> None:
        self._shell = shell
        self._store = store
        self._live = live

    def concerned(self, requests: Requests) -> Requests:
        """Returns those requests of which there may be a result already."""
        leases = self._live.leases
        return [
            (event, key)
            for event, key in requests
            if key or ((parent := leases.get(event.lease_id)) is not None and parent.run.sources)
        ]

    async def fill(self, requests: Requests) -> None:
        """Completes requests for children with what there is already of what they ask for.

        Those of leases that are not current stay as they are: they are ignored.

        Args:
            requests: The requests.
        """
        recovered: dict[tuple[int, ...], list[ev.ChildRequested]] = {}
        wanted: list[ev.ChildRequested | ev.CreateRun] = []
        for event, key in requests:
            parent = self._live.leases.get(event.lease_id)
            if parent is None:
                continue
            if key:
                event.cache = cache_use(key, event.spec, parent.run.identifier, parent.run.context)
                wanted.append(event)
            if parent.run.sources:
                recovered.setdefault(parent.run.sources, []).append(event)
        await self.look_up(wanted)
        for sources, events in recovered.items():
            found = await self._shell.read(self._store.succeeded, sources, [event.key for event in events])
            for event in events:
                event.recovered = found.get(event.key, 0)

    async def look_up(self, events: Iterable[ev.ChildRequested | ev.CreateRun]) -> None:
        """Sets what the ledger's cache has for events that use it."""
        wanted: dict[str, list[Any]] = {}
        for event in events:
            if event.cache is not None and not event.cache.overwrite:
                wanted.setdefault(event.cache.key, []).append(event)
        if not wanted:
            return
        found = await self._shell.read(self._store.cached, list(wanted))
        for key, action_id in found.items():
            for event in wanted[key]:
                event.cached = action_id
