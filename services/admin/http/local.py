"""JSON of local runs for the pages, in the form that those of the backend have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from services.admin.http.paths import attempt_of
from services.admin.local_runs import LocalRuns
from services.common.errors import HangarError

_RUN = "/api/v1/local/runs/{run}"
_ACTION = _RUN + "/actions/{action}"
_POLL_SECONDS = 0.5
_TERMINAL = ("PHASE_SUCCEEDED", "PHASE_FAILED", "PHASE_ABORTED", "PHASE_TIMED_OUT")


class LocalEndpoints:
    """What the pages ask for about local runs.

    Args:
        runs: Recorded local runs.
    """

    def __init__(self, runs: LocalRuns) -> None:
        self._runs = runs

    @property
    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        return [
            Route("/api/v1/local/runs", self.list_runs),
            Route(_RUN, self.get_run),
            Route(_RUN + "/watch", self.watch_run),
            Route(_ACTION, self.get_action),
            Route(_ACTION + "/logs/tail", self.tail_logs),
        ]

    async def list_runs(self, request: Request) -> Response:
        """Recorded runs, newest first."""
        return JSONResponse({"runs": await asyncio.to_thread(self._runs.runs)})

    async def get_run(self, request: Request) -> Response:
        """One run."""
        return JSONResponse(await asyncio.to_thread(self._runs.run, request.path_params["run"]))

    async def watch_run(self, request: Request) -> Response:
        """The run and its actions, live, as server-sent events."""
        await asyncio.to_thread(self._runs.run, request.path_params["run"])
        return _events(self._changes(request.path_params["run"]))

    async def get_action(self, request: Request) -> Response:
        """One action with its attempts, inputs and outputs."""
        names = request.path_params
        return JSONResponse(await asyncio.to_thread(self._runs.action, names["run"], names["action"]))

    async def tail_logs(self, request: Request) -> Response:
        """Lines that were printed, then new ones, as server-sent events."""
        names = request.path_params
        await asyncio.to_thread(self._runs.action, names["run"], names["action"])
        return _events(self._lines(names["run"], names["action"], attempt_of(request)))

    async def _changes(self, name: str) -> AsyncIterator[dict[str, Any]]:
        before: dict[str, dict[str, Any]] = {}
        while True:
            run = await asyncio.to_thread(self._runs.run, name)
            actions = await asyncio.to_thread(self._runs.actions, name, run["alive"])
            changed = [action for action in actions if before.get(action["id"]["name"]) != action]
            if changed:
                before |= {action["id"]["name"]: action for action in changed}
                yield {"run": run, "actions": changed}
            if run["phase"] in _TERMINAL:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _lines(self, run: str, name: str, attempt: int | None) -> AsyncIterator[dict[str, Any]]:
        shown = 0
        while True:
            action = await asyncio.to_thread(self._runs.action, run, name)
            newest = max(action["attempt_count"] - 1, 0)
            ended = action["phase"] in _TERMINAL or (attempt is not None and attempt < newest)
            if attempt is None:
                attempt = newest
            lines = await asyncio.to_thread(self._runs.lines, run, name, attempt, shown)
            if lines:
                shown += len(lines)
                yield {"attempt": attempt, "lines": lines}
            elif attempt < newest:
                attempt, shown = attempt + 1, 0
                continue
            if ended:
                return
            await asyncio.sleep(_POLL_SECONDS)


def _events(messages: AsyncIterator[dict[str, Any]]) -> Response:
    async def stream() -> AsyncIterator[str]:
        try:
            async for message in messages:
                yield f"data: {json.dumps(message, separators=(',', ':'))}\n\n"
            yield "event: end\ndata: {}\n\n"
        except HangarError as error:
            text = json.dumps({"reason": error.reason, "message": error.message})
            yield f"event: problem\ndata: {text}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"cache-control": "no-store"})
