"""JSON for the pages: the messages of the gRPC API, with their field names, and live updates as events.

It is made for the pages that come with it; programs use gRPC.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hangar.admin.v1 import log_service_pb2, project_service_pb2, run_service_pb2
from hangar.admin.v1.run_pb2 import Run
from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.phase_pb2 import Phase
from services.admin import convert
from services.admin.actions import Actions
from services.admin.http.bodies import read_json
from services.admin.http.paths import ACTION, RUN, action_of, attempt_of, run_of
from services.admin.logs import Logs
from services.admin.projects import Projects
from services.admin.runs import Runs
from services.common.blobs import BlobStore
from services.common.errors import HangarError, InvalidArgument, Unavailable
from services.common.names import DOMAINS

_SHOWN_BYTES = 256 * 1024
_LARGEST_BODY = 64 * 1024


class ApiEndpoints:
    """What the pages ask for.

    Args:
        projects: Projects.
        runs: Runs.
        actions: Actions.
        logs: Logs.
        blobs: Large inputs and outputs.
    """

    def __init__(
        self, projects: Projects, runs: Runs, actions: Actions, logs: Logs, blobs: BlobStore
    ) -> None:
        self._projects = projects
        self._runs = runs
        self._actions = actions
        self._logs = logs
        self._blobs = blobs

    @property
    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        return [
            Route("/api/v1/projects", self.list_projects),
            Route("/api/v1/runs", self.list_runs),
            Route(RUN, self.get_run),
            Route(RUN + "/abort", self.abort_run, methods=["POST"]),
            Route(RUN + "/rerun", self.rerun, methods=["POST"]),
            Route(RUN + "/watch", self.watch_run),
            Route(ACTION, self.get_action),
            Route(ACTION + "/abort", self.abort_action, methods=["POST"]),
            Route(ACTION + "/signal", self.signal_action, methods=["POST"]),
            Route(ACTION + "/logs", self.list_logs),
            Route(ACTION + "/logs/tail", self.tail_logs),
        ]

    async def list_projects(self, request: Request) -> Response:
        """Projects that are not archived."""
        return _json(await self._projects.list(project_service_pb2.ListProjectsRequest(page_size=1000)))

    async def list_runs(self, request: Request) -> Response:
        """Recent runs, newest first, of one project and domain or of all."""
        query = request.query_params
        if query.get("project"):
            projects = [query["project"]]
        else:
            everything = await self._projects.list(project_service_pb2.ListProjectsRequest(page_size=1000))
            projects = [project.id for project in everything.projects]
        domains = [query["domain"]] if query.get("domain") else DOMAINS
        found: list[Run] = []
        for project in projects:
            for domain in domains:
                page = await self._runs.list(
                    run_service_pb2.ListRunsRequest(project=project, domain=domain, page_size=100)
                )
                found += page.runs
        found.sort(key=lambda run: run.created_at.ToMicroseconds(), reverse=True)
        return _json(run_service_pb2.ListRunsResponse(runs=found[:100]))

    async def get_run(self, request: Request) -> Response:
        """One run."""
        return _json(await self._runs.get(run_of(request)))

    async def abort_run(self, request: Request) -> Response:
        """Aborts a run."""
        accepted = await self._runs.abort(run_of(request), await _reason(request))
        return JSONResponse({"accepted": accepted})

    async def rerun(self, request: Request) -> Response:
        """Runs a run's task again: the body is `{"recover": …}`, true to take over what succeeded."""
        body = await read_json(request, _LARGEST_BODY, "recover")
        recover = body.get("recover", False) if isinstance(body, dict) else None
        if not isinstance(recover, bool):
            raise InvalidArgument(
                'the body must be a JSON object, with "recover" true or false', field="recover"
            )
        return _json(
            await self._runs.rerun(run_service_pb2.RerunRunRequest(id=run_of(request), recover=recover))
        )

    async def abort_action(self, request: Request) -> Response:
        """Aborts an action."""
        accepted = await self._actions.abort(action_of(request), await _reason(request))
        return JSONResponse({"accepted": accepted})

    async def signal_action(self, request: Request) -> Response:
        """Gives a condition its value: the body is `{"value": …}`."""
        body = await read_json(request, _LARGEST_BODY, "value")
        if not isinstance(body, dict) or "value" not in body:
            raise InvalidArgument('the body must be a JSON object with "value"', field="value")
        text = json.dumps(body["value"], ensure_ascii=False)
        signal = run_service_pb2.SignalActionRequest(id=action_of(request), value_json=text)
        return _json(run_service_pb2.SignalActionResponse(id=await self._actions.signal(signal)))

    async def watch_run(self, request: Request) -> Response:
        """The run and its actions, live, as server-sent events."""
        identifier = run_of(request)
        await self._runs.record(identifier)
        after = request.headers.get("last-event-id", "")
        watch = run_service_pb2.WatchActionsRequest(
            run=identifier, after=int(after) if after.isdecimal() else 0
        )
        return _events(self._actions.watch(watch))

    async def get_action(self, request: Request) -> Response:
        """One action with its attempts, what happened to it, and its inputs and outputs."""
        identifier = action_of(request)
        action = await self._actions.get(identifier)
        events = await self._actions.events(identifier)
        data = await self._actions.data(identifier)
        content = _plain(action)
        content["events"] = [
            {
                "phase": Phase.Name(event.phase),
                "attempt": event.attempt,
                "occurred_at": _time(event.occurred_at),
                "detail": event.detail,
            }
            for event in events
        ]
        content["inputs"] = await self._document(data.inputs, data.inputs_url)
        has_outputs = data.HasField("outputs")
        content["outputs"] = await self._document(data.outputs, data.outputs_url) if has_outputs else None
        return JSONResponse(content)

    async def list_logs(self, request: Request) -> Response:
        """Stored lines."""
        attempt = attempt_of(request)
        cursor = request.query_params.get("cursor", "")
        listing = log_service_pb2.ListLogsRequest(action=action_of(request), attempt=attempt, cursor=cursor)
        return _json(await self._logs.list(listing))

    async def tail_logs(self, request: Request) -> Response:
        """Stored and new lines as server-sent events."""
        identifier = action_of(request)
        await self._actions.record(identifier)
        cursor = request.headers.get("last-event-id", "")
        tail = log_service_pb2.TailLogsRequest(action=identifier, attempt=attempt_of(request), cursor=cursor)
        return _events(self._logs.tail(tail))

    async def _document(self, payload: Payload, url: str) -> dict[str, Any]:
        if not payload.HasField("reference"):
            return {"text": payload.inline.decode(errors="replace"), "size": len(payload.inline), "url": ""}
        size = payload.reference.size
        try:
            shown = await self._blobs.get_range(payload.reference.key, 0, min(size, _SHOWN_BYTES))
        except Unavailable as error:  # the rest of the action is worth showing, above all now
            shown = f"({error.message})".encode()
        return {"text": shown.decode(errors="replace"), "size": size, "url": url}


async def _reason(request: Request) -> str:
    body = await read_json(request, _LARGEST_BODY, "reason")
    if not isinstance(body, dict):
        raise InvalidArgument("the body is not a JSON object", field="reason")
    reason = body.get("reason", "")
    if not isinstance(reason, str):
        raise InvalidArgument("reason must be text", field="reason")
    return reason


def _plain(message: Message) -> dict[str, Any]:
    content: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return content


def _json(message: Message) -> Response:
    return JSONResponse(_plain(message))


def _time(micros: int) -> str:
    moment = convert.timestamp(micros)
    return moment.ToJsonString() if moment else ""


def _events(responses: AsyncIterator[Any]) -> Response:
    """Returns a stream of messages: each with its cursor as id, and one named "end" after the last."""

    async def stream() -> AsyncIterator[str]:
        try:
            async for response in responses:
                identity = f"id: {response.cursor}\n" if response.cursor else ""
                yield f"{identity}data: {json.dumps(_plain(response), separators=(',', ':'))}\n\n"
            yield "event: end\ndata: {}\n\n"
        except HangarError as error:  # the browser connects again with the last id, and reads the error then
            text = json.dumps({"reason": error.reason, "message": error.message})
            yield f"event: problem\ndata: {text}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"cache-control": "no-store"})
