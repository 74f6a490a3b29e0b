"""Deployed tasks that running leases want to call by name: asked of the scheduler, answered to the worker."""

import asyncio
import json
from typing import Any

import grpc.aio
from google.protobuf import json_format

from hangar.scheduler.v1.node_service_pb2 import FindTaskRequest
from services.common.errors import HangarError, Unavailable
from services.common.grpc_errors import from_rpc_error
from services.executor.frames import Frame
from services.executor.holdings import Holdings
from services.executor.leases import Lease
from services.executor.outgoing import Outgoing
from services.executor.worker_server import WorkerConnection

CALL_SECONDS = 15.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
MOST_AT_ONCE = 64
"""Of one connection: no task may make this process keep more."""


class TaskLookups:
    """Finds tasks. A scheduler that is away is asked until it is back.

    Args:
        holdings: The leases.
        outgoing: Shows why an action waits.
    """

    def __init__(self, holdings: Holdings, outgoing: Outgoing) -> None:
        self._holdings = holdings
        self._outgoing = outgoing
        self._stub: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending: dict[WorkerConnection, set[asyncio.Task[None]]] = {}

    def ask(self, stub: Any) -> None:
        """Says where the scheduler is asked: a stub of NodeService."""
        self._stub.set_result(stub)

    def request(self, connection: WorkerConnection, frame: Frame) -> None:
        """A lease wants to know a task. When its connection ends before the answer, it asks again."""
        header = frame.header
        lease = self._holdings.leases.get(int(header["lease"]))
        if lease is None or lease.is_ended:
            return
        run = lease.assignment.action.run
        request = FindTaskRequest(
            project=header.get("project") or run.project,
            domain=header.get("domain") or run.domain,
            name=header["name"],
            version=header.get("version") or "",
        )
        answer = {"type": "task", "lease": lease.lease_id, "id": header["id"]}
        pending = self._pending.setdefault(connection, set())
        if len(pending) >= MOST_AT_ONCE:
            message = f"the worker looks for {MOST_AT_ONCE} tasks at once: look for fewer"
            connection.send({**answer, "error": {"code": "TOO_MANY_LOOKUPS", "message": message}})
            return
        task = asyncio.create_task(self._find(connection, lease, request, answer))
        pending.add(task)
        task.add_done_callback(lambda _: self._forget(connection, task))

    def _forget(self, connection: WorkerConnection, task: asyncio.Task[None]) -> None:
        pending = self._pending.get(connection, set())
        pending.discard(task)
        if not pending:
            self._pending.pop(connection, None)

    async def _find(
        self, connection: WorkerConnection, lease: Lease, request: FindTaskRequest, answer: dict[str, Any]
    ) -> None:
        explain = self._outgoing.explains(lease.lease_id, f"the task {request.name} cannot be looked up yet")
        pause = FIRST_PAUSE_SECONDS
        waited = False
        while not (lease.is_ended or connection.closed.done()):
            try:
                stub = await asyncio.shield(self._stub)
                found = await stub.FindTask(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                known = from_rpc_error(error)
                if not isinstance(known, Unavailable):
                    connection.send({**answer, "error": _error(known)})
                    return
                explain(known.message)
                waited = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            if waited:
                explain("")
            spec = json_format.MessageToDict(found.spec, preserving_proto_field_name=True)
            connection.send(answer, json.dumps(spec).encode())
            return

    def disconnected(self, connection: WorkerConnection) -> None:
        """A connection ended: nobody waits for its answers."""
        for task in self._pending.get(connection, ()):
            task.cancel()

    async def close(self) -> None:
        """Stops looking."""
        tasks = [task for pending in self._pending.values() for task in pending]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _error(error: HangarError) -> dict[str, str]:
    return {"code": error.reason or type(error).__name__, "message": error.message}
