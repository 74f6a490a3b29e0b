"""Runs: create, show, watch, abort."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hangar.admin.v1 import run_service_pb2 as messages
from hangar.admin.v1.run_pb2 import Run
from hangar.core.v1.identifiers_pb2 import RunIdentifier
from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1 import scheduler_service_pb2 as scheduler
from services.admin import convert
from services.admin.data import Data
from services.admin.projects import Projects, check_labels
from services.admin.reader import LedgerReader
from services.admin.scheduler_client import SchedulerClient
from services.admin.tasks import check_definitions
from services.admin.watch import ChangeFeed
from services.common.errors import FailedPrecondition, InvalidArgument, NotFound
from services.common.names import check_name, random_run_name
from services.common.pages import last_entry, page_size, page_token
from services.ledger.queries import events as event_queries
from services.ledger.queries import runs as queries

INLINE_BYTES = 64 * 1024
"""Longest document that travels inside messages."""

_WATCH_PAGE = 500
_LONGEST_REASON = 2000


class Runs:
    """Use cases of runs.

    Args:
        reader: Reads the ledger.
        scheduler_client: Changes it.
        projects: Knows what projects there are.
        data: Knows what was uploaded.
        feed: Wakes watchers.
        base_url: Address of admin's HTTP port, as clients see it.
    """

    def __init__(
        self,
        reader: LedgerReader,
        scheduler_client: SchedulerClient,
        projects: Projects,
        data: Data,
        feed: ChangeFeed,
        base_url: str,
    ) -> None:
        self._reader = reader
        self._scheduler = scheduler_client
        self._projects = projects
        self._data = data
        self._feed = feed
        self._base_url = base_url

    async def create(self, request: messages.CreateRunRequest) -> messages.CreateRunResponse:
        """Creates a run, or returns the one of this name and content."""
        identifier = RunIdentifier()
        identifier.CopyFrom(request.id)
        identifier.name = check_name("run name", request.id.name) if request.id.name else random_run_name()
        await self._projects.check_open(identifier.project, identifier.domain)
        await check_definitions(self._data, [request.task])
        await self._check_inputs(request.inputs)
        check_labels(request.context.labels)
        command = scheduler.CreateRunRequest(
            run=identifier,
            task=request.task,
            inputs=request.inputs,
            context=request.context,
            cache_key=request.cache_key,
        )
        for notification in command.context.notifications:
            notification.run_url = convert.run_url(self._base_url, identifier)
        created = await self._scheduler.create_run(command)
        return messages.CreateRunResponse(run=await self.get(identifier), created=created)

    async def get(self, identifier: RunIdentifier) -> Run:
        """Returns a run. `NotFound` when there is none."""
        return convert.run(await self.record(identifier), self._base_url, with_settings=True)

    async def rerun(self, request: messages.RerunRunRequest) -> messages.RerunRunResponse:
        """Creates a run like an earlier one.

        Raises:
            NotFound: There is no such run.
            FailedPrecondition: It is to be recovered and has not ended (reason ``RUN_NOT_ENDED``).
            InvalidArgument: The new name is the earlier run's.
        """
        earlier = await self.record(request.id)
        if request.recover and earlier.phase not in convert.TERMINAL:
            message = f"run {earlier.name!r} has not ended: wait for its end or abort it, then recover it"
            raise FailedPrecondition(message, reason="RUN_NOT_ENDED", run=earlier.name)
        if request.name == earlier.name:
            message = f"name {request.name!r} is the earlier run's own: choose another one, or leave it out"
            raise InvalidArgument(message, reason="NAME_IN_USE", field="name")
        origin = await self._reader.read(lambda ledger: queries.get_origin(ledger, earlier.id))
        wanted = messages.CreateRunRequest(
            id=RunIdentifier(project=earlier.project, domain=earlier.domain, name=request.name),
            task=TaskSpec.FromString(origin.spec),
            inputs=convert.payload(origin.inputs),
            context=earlier.context,
            cache_key=origin.cache_key,
        )
        context = wanted.context
        context.recovers = earlier.name if request.recover else ""
        context.env_vars.update(request.env_vars)
        context.labels.update(request.labels)
        context.queue = request.queue or context.queue
        for name in ("overwrite_cache", "interruptible"):
            if request.HasField(name):
                setattr(context, name, getattr(request, name))
        created = await self.create(wanted)
        return messages.RerunRunResponse(run=created.run, created=created.created)

    async def list(self, request: messages.ListRunsRequest) -> messages.ListRunsResponse:
        """Lists runs, newest first unless asked otherwise."""
        project, domain = request.project, request.domain
        await self._projects.check(project, domain)
        size = page_size(request.page_size)
        last = last_entry(request, request.page_token, int)
        order = convert.run_order(request.order_by)
        chosen = convert.run_filter(request.filter)
        records = await self._reader.read(
            lambda ledger: queries.list_runs(
                ledger,
                project,
                domain,
                filter=chosen,
                order=order,
                after_key=None if last is None else int(last),
                limit=size + 1,
            )
        )
        page = records[:size]
        more = page_token(request, order.key(page[-1])) if len(records) > size else ""
        return messages.ListRunsResponse(
            runs=[convert.run(each, self._base_url) for each in page], next_page_token=more
        )

    async def watch(self, request: messages.WatchRunsRequest) -> AsyncIterator[messages.WatchRunsResponse]:
        """Yields the runs of a filter, then those that change, without an end.

        The last message of the snapshot, and every later one, has the cursor to go on from; it is 0 before.
        """
        project, domain = request.project, request.domain
        await self._projects.check(project, domain)
        with self._feed.watch((project, domain)) as watcher:
            cursor = request.after
            if not cursor:
                async for response in self._snapshot(request):
                    cursor = response.cursor
                    yield response
            while True:
                response = await self._changes(request, cursor)
                if response.runs:
                    cursor = response.cursor
                    yield response
                else:
                    await watcher.wait()

    async def abort(self, identifier: RunIdentifier, reason: str) -> bool:
        """Aborts a run. False when it had ended already."""
        await self.record(identifier)
        return await self._scheduler.abort_run(identifier, check_reason(reason))

    async def record(self, identifier: RunIdentifier) -> queries.RunRecord:
        """Returns a run as the ledger has it.

        Raises:
            NotFound: There is no such project (reason ``PROJECT_NOT_FOUND``) or run (``RUN_NOT_FOUND``).
        """
        project, domain, name = identifier.project, identifier.domain, identifier.name
        check_name("run name", name)
        await self._projects.check(project, domain)
        record = await self._reader.read(lambda ledger: queries.get_run(ledger, project, domain, name))
        if record is None:
            message = f"run {name!r} does not exist in project {project!r}, domain {domain!r}: check the name"
            raise NotFound(message, reason="RUN_NOT_FOUND", run=name)
        return record

    async def _snapshot(
        self, request: messages.WatchRunsRequest
    ) -> AsyncIterator[messages.WatchRunsResponse]:
        project, domain = request.project, request.domain
        chosen = convert.run_filter(request.filter)
        start = await self._reader.read(event_queries.last_cursor)
        before: int | None = None
        while True:
            position = before
            records = await self._reader.read(
                lambda ledger, position=position: queries.list_runs(  # type: ignore[misc]
                    ledger, project, domain, filter=chosen, after_key=position, limit=_WATCH_PAGE
                )
            )
            complete = len(records) < _WATCH_PAGE
            runs = [convert.run(record, self._base_url) for record in records]
            yield messages.WatchRunsResponse(runs=runs, cursor=start if complete else 0)
            if complete:
                return
            before = records[-1].id

    async def _changes(self, request: messages.WatchRunsRequest, cursor: int) -> messages.WatchRunsResponse:
        chosen = convert.run_filter(request.filter)
        records = await self._reader.read(
            lambda ledger: queries.runs_changed_since(
                ledger, request.project, request.domain, cursor, filter=chosen, limit=_WATCH_PAGE
            )
        )
        return messages.WatchRunsResponse(
            runs=[convert.run(record, self._base_url) for record in records],
            cursor=records[-1].cursor if records else cursor,
        )

    async def _check_inputs(self, inputs: Payload) -> None:
        if inputs.WhichOneof("data") is None:
            message = "inputs must be set: send the JSON document {} for a task without inputs"
            raise InvalidArgument(message, reason="INPUTS_INVALID", field="inputs")
        if len(inputs.inline) > INLINE_BYTES:
            message = (
                f"inputs have {len(inputs.inline)} bytes inline: upload documents above {INLINE_BYTES} bytes "
                "with DataService.CreateUploads and send the reference"
            )
            raise InvalidArgument(message, reason="INPUTS_TOO_LARGE", field="inputs")
        if inputs.HasField("reference"):
            await self._data.check_inputs(inputs.reference)


def check_reason(reason: str) -> str:
    """Returns the reason of an abort, which is one for people."""
    if len(reason) > _LONGEST_REASON:
        raise InvalidArgument(
            f"reason has {len(reason)} characters: use up to {_LONGEST_REASON}", field="reason"
        )
    return reason
