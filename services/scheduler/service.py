"""What people and admin ask of the scheduler."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.task_spec_pb2 import RunContext
from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from services.common.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.scheduler.caching import CacheLookup, cache_use
from services.scheduler.convert import FINAL_PHASES, NODE_STATE_NUMBER, inventory_message
from services.scheduler.core import effects as fx
from services.scheduler.core import events as ev
from services.scheduler.core.model import Inventory
from services.scheduler.core.nodes import Node
from services.scheduler.destinations import Destinations
from services.scheduler.documents import document_of
from services.scheduler.frame_decoder import CACHE_KEY
from services.scheduler.shell import Shell
from services.scheduler.specs import Spec, Specs
from services.scheduler.store import Store
from services.scheduler.validation import check_context, check_inputs, check_run, check_signal, check_spec

_LONGEST_REASON = 1000


class Commands:
    """Commands to the ledger's writer. Each returns once what it did is durable.

    Args:
        shell: Drives the core.
        store: The ledger.
        specs: Gets the definitions of new runs.
        cache: Knows what results are kept.
        destinations: Where notifications may go.
    """

    def __init__(
        self, shell: Shell, store: Store, specs: Specs, cache: CacheLookup, destinations: Destinations
    ) -> None:
        self._shell = shell
        self._store = store
        self._specs = specs
        self._cache = cache
        self._destinations = destinations

    async def create_run(self, request: messages.CreateRunRequest) -> bool:
        """Creates a run.

        Returns:
            False when a run of this name, task and inputs existed already.

        Raises:
            InvalidArgument: The request is wrong.
            AlreadyExists: A run of this name has other content (reason ``RUN_ALREADY_EXISTS``).
        """
        check_run(request.run)
        if not request.HasField("task"):
            raise InvalidArgument(
                "task is missing: give its definition", reason="REQUEST_INVALID", field="task"
            )
        check_spec(request.task)
        check_inputs(request.inputs)
        check_context(request.context, self._destinations)
        if request.cache_key and not CACHE_KEY.fullmatch(request.cache_key):
            message = f"cache_key {request.cache_key[:80]!r} must be 16 to 64 lower-case hex digits, or empty"
            raise InvalidArgument(message, reason="REQUEST_INVALID", field="cache_key")
        spec = self._specs.add(request.task)
        digest = _request_digest(spec, request.inputs)
        run = request.run
        existing = await self._shell.read(self._store.run, run.project, run.domain, run.name)
        if existing is not None:
            if existing.request_digest == digest:
                return False
            raise _already_exists(run)
        context = RunContext()
        context.CopyFrom(request.context)
        sources = await self._sources(run, context.recovers)
        event = ev.CreateRun(
            None,
            run.project,
            run.domain,
            run.name,
            digest,
            spec.task,
            spec,
            document_of(request.inputs),
            context,
            cache_use(request.cache_key, spec, run, context),
            queue=context.queue,
            interruptible=context.interruptible if context.HasField("interruptible") else None,
            sources=sources,
        )
        await self._cache.look_up([event])
        reply = await self._shell.call(lambda token: replace(event, token=token))
        if reply.error is not None:
            raise _already_exists(run)
        return bool(reply.value)

    async def _sources(self, run: RunIdentifier, recovers: str) -> tuple[int, ...]:
        """The runs whose succeeded actions a new one takes over."""
        if not recovers:
            return ()
        earlier = await self._shell.read(self._store.run, run.project, run.domain, recovers)
        if earlier is None:
            raise _no_run(RunIdentifier(project=run.project, domain=run.domain, name=recovers))
        if earlier.phase not in FINAL_PHASES:
            raise FailedPrecondition(
                f"run {recovers!r} has not ended: wait for its end or abort it, then recover it",
                reason="RUN_NOT_ENDED",
                run=recovers,
            )
        sources: tuple[int, ...] = await self._shell.read(self._store.sources, earlier.id)
        return sources

    async def abort_run(self, run: RunIdentifier, reason: str) -> bool:
        """Aborts a run. False when it had ended already.

        Raises:
            NotFound: There is no such run.
        """
        why = _reason(reason)
        reply = await self._shell.call(
            lambda token: ev.AbortRun(token, run.project, run.domain, run.name, why)
        )
        if reply.value:
            return True
        if await self._shell.read(self._store.run, run.project, run.domain, run.name) is None:
            raise _no_run(run)
        return False

    async def abort_action(self, action: ActionIdentifier, reason: str) -> bool:
        """Aborts an action and everything below it. False when it had ended already.

        Raises:
            NotFound: There is no such run or action.
            FailedPrecondition: It is a trace, which ends with its task only.
        """
        why = _reason(reason)
        run = action.run
        found = await self._action_id(action)
        reply: fx.Reply = await self._shell.call(lambda token: ev.AbortAction(token, found, why))
        if reply.error is not None:
            raise FailedPrecondition(
                f"action {action.name!r} of run {run.name!r} is a trace, which runs inside its task: abort the task",
                reason="ACTION_IS_TRACE",
                action=action.name,
            )
        return bool(reply.value)

    async def signal_action(self, action: ActionIdentifier, outputs: Payload) -> None:
        """Gives a condition the value that it waits for.

        Raises:
            InvalidArgument: The value is missing, or no document.
            NotFound: There is no such run or action.
            FailedPrecondition: It is no condition, or has ended (reason ``ACTION_NOT_WAITING``).
        """
        check_signal(outputs)
        action_id = await self._action_id(action)
        event = ev.SignalAction(None, action_id, document_of(outputs))
        reply: fx.Reply = await self._shell.call(lambda token: replace(event, token=token))
        if reply.error is not None:
            raise FailedPrecondition(
                f"action {action.name!r} of run {action.run.name!r} does not wait for a signal: it is no condition, "
                "or was signalled, aborted or timed out already",
                reason="ACTION_NOT_WAITING",
                action=action.name,
            )

    async def _action_id(self, action: ActionIdentifier) -> int:
        run = action.run
        names = (run.project, run.domain, run.name, action.name)
        found = await self._shell.read(self._store.action_id, *names)
        if found is not None:
            return found
        if await self._shell.read(self._store.run, run.project, run.domain, run.name) is None:
            raise _no_run(run)
        raise NotFound(
            f"run {run.name!r} has no action {action.name!r}", reason="ACTION_NOT_FOUND", action=action.name
        )

    def list_nodes(self) -> list[messages.Node]:
        """Returns the hosts, ordered by name."""
        world = self._shell.scheduler.world
        return [_node_message(world.nodes[name], world.leases) for name in sorted(world.nodes)]


def _node_message(node: Node, leases: dict[int, Any]) -> messages.Node:
    free = Inventory(
        max(node.free_cpu, 0),
        max(node.free_memory, 0),
        max(node.free_disk, 0),
        tuple(node.free_gpus.values()),
        node.inventory.platform,
    )
    inventory = node.inventory
    single = sum(1 for lease_id in node.leases if not leases[lease_id].pool_key)
    return messages.Node(
        name=node.name,
        state=NODE_STATE_NUMBER[node.state],  # type: ignore[arg-type]  # an enum's value is an int
        capacity=inventory_message(node.inventory),
        free=inventory_message(free),
        queues=inventory.queues,
        interruptible=inventory.interruptible,
        leases=len(node.leases),
        workers=len(node.workers) + single,
    )


def _request_digest(spec: Spec, inputs: Payload) -> str:
    """Digest of task and inputs: what a run of one name must have in common."""
    content = inputs.SerializeToString(deterministic=True)
    if inputs.digest:
        content = inputs.digest.encode()
    return hashlib.sha256(spec.digest.encode() + b"\0" + content).hexdigest()


def _reason(reason: str) -> str:
    return reason.strip()[:_LONGEST_REASON] or "aborted on request"


def _already_exists(run: RunIdentifier) -> AlreadyExists:
    return AlreadyExists(
        f"run {run.name!r} exists in {run.project}/{run.domain} with another task or other inputs; "
        "choose another name",
        reason="RUN_ALREADY_EXISTS",
        run=run.name,
    )


def _no_run(run: RunIdentifier) -> NotFound:
    message = f"run {run.name!r} does not exist in {run.project}/{run.domain}"
    return NotFound(message, reason="RUN_NOT_FOUND", run=run.name)
