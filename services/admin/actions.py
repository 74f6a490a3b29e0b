"""Actions: show, watch, abort, and their inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from sqlalchemy import Connection

from hangar.admin.v1 import run_service_pb2 as messages
from hangar.admin.v1.run_pb2 import Action, Run
from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.task_spec_pb2 import TaskSpec
from services.admin import convert
from services.admin.reader import LedgerReader
from services.admin.runs import Runs, check_reason
from services.admin.scheduler_client import SchedulerClient
from services.admin.signals import outputs_with, the_one
from services.admin.watch import ChangeFeed
from services.common.blobs import BlobStore
from services.common.errors import InvalidArgument, NotFound
from services.common.pages import last_entry, page_size, page_token
from services.ledger.queries import actions as queries
from services.ledger.queries import attempts as attempt_queries
from services.ledger.queries import events as event_queries
from services.ledger.queries import payloads as payload_queries
from services.ledger.queries import tasks as task_queries
from services.ledger.queries.runs import RunRecord, get_run

_WATCH_PAGE = 1000
_URL_TIME = timedelta(hours=1)


class Actions:
    """Use cases of actions.

    Args:
        reader: Reads the ledger.
        scheduler_client: Changes it.
        runs: Knows the runs.
        blobs: Has large inputs and outputs.
        feed: Wakes watchers.
        base_url: Address of admin's HTTP port, as clients see it.
    """

    def __init__(
        self,
        reader: LedgerReader,
        scheduler_client: SchedulerClient,
        runs: Runs,
        blobs: BlobStore,
        feed: ChangeFeed,
        base_url: str,
    ) -> None:
        self._reader = reader
        self._scheduler = scheduler_client
        self._runs = runs
        self._blobs = blobs
        self._feed = feed
        self._base_url = base_url

    async def get(self, identifier: ActionIdentifier) -> Action:
        """Returns an action with its attempts. `NotFound` when there is none."""
        record = await self.record(identifier)
        attempts = await self._reader.read(lambda ledger: attempt_queries.list_attempts(ledger, record.id))
        action = convert.action(record, identifier.run, attempts)
        spec = await self._reader.read(lambda ledger: task_queries.get_spec(ledger, record.spec_digest))
        task = TaskSpec.FromString(spec or b"")
        action.has_report = task.report
        action.links.extend(convert.links(task, action))
        action.custom_context.update(json.loads(record.custom_context or "{}"))
        source = record.cached_from
        if source is not None:
            place = await self._reader.read(lambda ledger: queries.locate(ledger, source))
            if place is not None:
                project, domain, run, name = place
                action.cached_from.CopyFrom(
                    ActionIdentifier(run=RunIdentifier(project=project, domain=domain, name=run), name=name)
                )
        return action

    async def list(self, request: messages.ListActionsRequest) -> messages.ListActionsResponse:
        """Lists the actions of a run in the order of enqueueing."""
        run = await self._runs.record(request.run)
        size = page_size(request.page_size)
        after = last_entry(request, request.page_token, int)
        chosen = convert.action_filter(request.filter)
        records = await self._reader.read(
            lambda ledger: queries.list_actions(
                ledger,
                run.id,
                filter=chosen,
                after_sequence=-1 if after is None else int(after),
                limit=size + 1,
            )
        )
        page = records[:size]
        more = page_token(request, page[-1].sequence) if len(records) > size else ""
        actions = [convert.action(record, request.run) for record in page]
        return messages.ListActionsResponse(actions=actions, next_page_token=more)

    async def watch(
        self, request: messages.WatchActionsRequest
    ) -> AsyncIterator[messages.WatchActionsResponse]:
        """Yields the actions of a run, then those that change, until the run and all in it have ended.

        The last message of the snapshot, and every later one, has the cursor to go on from; it is 0 before.
        """
        run = await self._runs.record(request.run)
        topic = (request.run.project, request.run.domain, request.run.name)
        with self._feed.watch(topic) as watcher:
            cursor = request.after
            shown = Run()
            if not cursor:
                async for response in self._snapshot(request, run.id):
                    cursor, shown = response.cursor, response.run
                    yield response
            while True:
                response, complete, ended = await self._changes(request, run.id, cursor)
                if response.actions or response.cursor != cursor or response.run != shown:
                    cursor, shown = response.cursor, response.run
                    yield response
                if ended:
                    return
                if complete:
                    await watcher.wait()

    async def abort(self, identifier: ActionIdentifier, reason: str) -> bool:
        """Aborts an action and everything below it. False when it had ended already."""
        await self.record(identifier)
        return await self._scheduler.abort_action(identifier, check_reason(reason))

    async def signal(self, request: messages.SignalActionRequest) -> ActionIdentifier:
        """Gives a condition the value that it waits for, and returns which one it was.

        Raises:
            InvalidArgument: The value does not fit.
            FailedPrecondition: No such condition waits, or more than one.
        """
        run = await self._runs.record(request.id.run)
        name = request.id.name
        waiting = await self._reader.read(lambda ledger: queries.waiting_conditions(ledger, run.id, name))
        condition = the_one(waiting, run.name, name)
        identifier = ActionIdentifier(run=request.id.run, name=condition.name)
        await self._scheduler.signal_action(identifier, outputs_with(request.value_json, condition))
        return identifier

    async def data(self, identifier: ActionIdentifier) -> messages.GetActionDataResponse:
        """Returns inputs and outputs, or where to read them."""
        record = await self.record(identifier)
        inputs, outputs = await self._reader.read(
            lambda ledger: (
                payload_queries.get_inputs(ledger, record.id),
                payload_queries.get_outputs(ledger, record.id),
            )
        )
        found = [convert.payload(inputs), convert.payload(outputs)]
        urls = [await self._url(payload) for payload in found]
        return messages.GetActionDataResponse(
            inputs=found[0], outputs=found[1], inputs_url=urls[0], outputs_url=urls[1]
        )

    async def events(self, identifier: ActionIdentifier) -> Sequence[event_queries.EventRecord]:
        """Returns everything that happened to an action, in order."""
        record = await self.record(identifier)
        return await self._reader.read(lambda ledger: event_queries.list_action_events(ledger, record.id))

    async def record(self, identifier: ActionIdentifier) -> queries.ActionRecord:
        """Returns an action as the ledger has it.

        Raises:
            NotFound: There is no such project, run or action (reason ``ACTION_NOT_FOUND``).
        """
        name = identifier.name
        if not name:
            raise InvalidArgument("action name must not be empty: the root action is a0", field="id.name")
        run = await self._runs.record(identifier.run)
        record = await self._reader.read(lambda ledger: queries.get_action(ledger, run.id, name))
        if record is None:
            message = f"action {name[:80]!r} does not exist in run {run.name!r}: list the actions of the run"
            raise NotFound(message, reason="ACTION_NOT_FOUND", run=run.name, action=name[:80])
        return record

    async def _url(self, payload: Payload | None) -> str:
        if payload is None or not payload.HasField("reference"):
            return ""
        return await self._blobs.sign_get(payload.reference.key, _URL_TIME)

    async def _snapshot(
        self, request: messages.WatchActionsRequest, run_id: int
    ) -> AsyncIterator[messages.WatchActionsResponse]:
        chosen = convert.action_filter(request.filter)
        start = await self._reader.read(event_queries.last_cursor)
        after = -1
        while True:

            def page(ledger: Connection, after: int = after) -> tuple[RunRecord, list[queries.ActionRecord]]:
                found = queries.list_actions(
                    ledger, run_id, filter=chosen, after_sequence=after, limit=_WATCH_PAGE
                )
                return _run(ledger, request), found

            run, records = await self._reader.read(page)
            complete = len(records) < _WATCH_PAGE
            yield messages.WatchActionsResponse(
                run=convert.run(run, self._base_url),
                actions=[convert.action(record, request.run) for record in records],
                cursor=start if complete else 0,
            )
            if complete:
                return
            after = records[-1].sequence

    async def _changes(
        self, request: messages.WatchActionsRequest, run_id: int, cursor: int
    ) -> tuple[messages.WatchActionsResponse, bool, bool]:
        """Returns what changed, whether that is all for now, and whether nothing can follow."""
        chosen = convert.action_filter(request.filter)
        live = queries.ActionFilter(phases=convert.LIVE)

        def changes(ledger: Connection) -> tuple[RunRecord, queries.ActionChanges, bool]:
            found = queries.actions_changed_since(ledger, run_id, cursor, filter=chosen, limit=_WATCH_PAGE)
            run = _run(ledger, request)
            ended = found.complete and run.phase in convert.TERMINAL
            return run, found, ended and not queries.list_actions(ledger, run_id, filter=live, limit=1)

        run, found, ended = await self._reader.read(changes)
        response = messages.WatchActionsResponse(
            run=convert.run(run, self._base_url),
            actions=[convert.action(record, request.run) for record in found.actions],
            cursor=found.cursor,
        )
        return response, found.complete, ended


def _run(ledger: Connection, request: messages.WatchActionsRequest) -> RunRecord:
    record = get_run(ledger, request.run.project, request.run.domain, request.run.name)
    if record is None:  # runs are never deleted while they are watched
        raise NotFound(f"run {request.run.name!r} does not exist any more", reason="RUN_NOT_FOUND")
    return record
