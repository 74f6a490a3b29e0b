"""What the scheduler wants: the executor's end of the session, frame by frame."""

from collections.abc import Awaitable, Callable

import structlog

from hangar.core.v1.resources_pb2 import Inventory
from hangar.core.v1.task_spec_pb2 import Image
from hangar.scheduler.v1.node_service_pb2 import Hello, NodeSessionResponse, Welcome, WorkerStart
from services.executor.children import Children
from services.executor.dispatch import Dispatch
from services.executor.holdings import Holdings
from services.executor.inventory import boot_id
from services.executor.journal import Journal
from services.executor.kills import Kills
from services.executor.leases import LeaseState
from services.executor.logs import LogShipper
from services.executor.outgoing import Outgoing
from services.executor.results import Results
from services.executor.settings import Settings
from services.executor.traces import Traces

log = structlog.get_logger(__name__)


class Orders:
    """Listens to the session: introduces the host, and hands each wish of the scheduler to whom it concerns.

    Args:
        settings: Name and labels of the host.
        engine: Name of the engine.
        inventory: Says what the host offers now.
        holdings: What it holds.
        journal: Remembers definitions and the scheduler's generation.
        outgoing: Says again what is unanswered.
        dispatch: Takes assignments.
        children: Takes outcomes of children.
        traces: Forgets traced calls that are acknowledged.
        kills: Stops leases and workers.
        results: Forgets results that are acknowledged.
        logs: Forgets chunks that are acknowledged.
        start_worker: Starts a worker of a pool.
        prepare_image: Prepares software in the background.
    """

    def __init__(
        self,
        settings: Settings,
        engine: str,
        inventory: Callable[[], Awaitable[Inventory]],
        holdings: Holdings,
        journal: Journal,
        outgoing: Outgoing,
        dispatch: Dispatch,
        children: Children,
        traces: Traces,
        kills: Kills,
        results: Results,
        logs: LogShipper,
        start_worker: Callable[[WorkerStart], None],
        prepare_image: Callable[[Image], None],
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._inventory = inventory
        self._holdings = holdings
        self._journal = journal
        self._outgoing = outgoing
        self._dispatch = dispatch
        self._children = children
        self._traces = traces
        self._kills = kills
        self._results = results
        self._logs = logs
        self._start_worker = start_worker
        self._prepare_image = prepare_image

    async def hello(self) -> Hello:
        """Returns what the host offers and holds now."""
        return Hello(
            node=self._settings.node,
            boot_id=boot_id(),
            inventory=await self._inventory(),
            workers=self._holdings.worker_statuses(),
            leases=self._holdings.held_leases(),
            labels=self._settings.labels,
            engine=self._engine,
            queues=self._settings.queues,
            interruptible=self._settings.interruptible,
        )

    def welcomed(self, welcome: Welcome) -> None:
        """Drops what the scheduler does not know, and says again what it has not answered."""
        self._journal.pending.generations.append((welcome.generation,))
        self._journal.commit_soon()
        for lease_id in welcome.dropped_leases:
            lease = self._holdings.leases.get(lease_id)
            if lease is not None:
                self._kills.drop(lease)
        for worker_id in welcome.dropped_workers:
            worker = self._holdings.workers.get(worker_id)
            if worker is not None:
                self._kills.end(worker, "the scheduler does not know it any more")
        self._say_again()

    def _say_again(self) -> None:
        out = self._outgoing
        for status in (*self._holdings.exits.values(), *self._holdings.worker_statuses()):
            out.worker(status)
        for lease in self._holdings.leases.values():
            if lease.dropped or lease.acknowledged:
                continue
            self._traces.say_again(lease)  # Before the result of the lease.
            if lease.is_ended:
                if lease.is_reported and lease.result is not None:
                    out.result(lease.result)
                continue
            if lease.started_at:
                out.started(lease.lease_id, lease.worker_id, lease.started_at, lease.image)
            if lease.progress is not None:
                out.user_progress(lease.lease_id, lease.progress)
            self._children.ask_again(lease)
            if lease.state is LeaseState.PARKED:
                out.park(lease.lease_id, lease.awaiting)
        for chunk in self._holdings.chunks.values():
            out.log(chunk)

    def received(self, frame: NodeSessionResponse) -> None:
        """Does what a frame of the scheduler asks for, in the order of its fields."""
        if frame.specs:
            self._define(frame)  # Worker starts have a lower number, but name definitions too.
        for start in frame.worker_starts:
            self._start_worker(start)
        if frame.assignments:
            self._dispatch.assign(frame.assignments)
        if frame.child_outcomes:
            self._children.outcomes(frame.child_outcomes)
        for kill in frame.kills:
            self._kills.kill(kill)
        for stop in frame.worker_stops:
            worker = self._holdings.workers.get(stop.worker_id)
            if worker is not None:
                self._kills.retire(worker, stop.reason or "the scheduler wants no more of it")
        if frame.acknowledged_results:
            self._results.acknowledged(frame.acknowledged_results)
        for key in frame.acknowledged_logs:
            self._logs.acknowledged(key)
        for trace_key in frame.acknowledged_traces:
            self._traces.acknowledged(trace_key)
        for image in frame.images:
            self._prepare_image(image)
        if frame.drain:
            log.info("host.draining", hint="it gets no new work; what runs goes on")

    def _define(self, frame: NodeSessionResponse) -> None:
        for keyed in frame.specs:
            if keyed.key not in self._holdings.specs:
                self._holdings.specs[keyed.key] = keyed.spec
                self._journal.pending.specs.append((keyed.key, keyed.spec.SerializeToString()))
        self._journal.commit_soon()
