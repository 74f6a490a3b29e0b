"""A backend as its gRPC API shows it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from hangar.admin.v1 import (
    log_service_pb2,
    log_service_pb2_grpc,
    project_service_pb2,
    project_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
)
from hangar.core.v1 import payload_pb2, phase_pb2
from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from integration_tests.polling import until

PROJECT = "default"
DOMAIN = "development"
ROOT = "a0"
_TERMINAL = {"succeeded", "failed", "aborted", "timed_out"}
_CALL_SECONDS = 20


def phase_of(message: run_pb2.Run | run_pb2.Action | run_pb2.Attempt) -> str:
    """The phase of a run, action or attempt as the SDK spells it, such as "succeeded"."""
    return phase_pb2.Phase.Name(message.phase).removeprefix("PHASE_").lower()


class _ShowToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Makes a call with the token."""
        return continuation(self._show(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Makes a call with the token."""
        return continuation(self._show(client_call_details), request)

    def _show(self, details: Any) -> _Details:
        metadata = [*(details.metadata or ()), self._header]
        return _Details(details.method, details.timeout, metadata, details.wait_for_ready)


@dataclass
class _Details(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: Any
    wait_for_ready: bool | None
    credentials: Any = None
    compression: Any = None


def with_token(channel: grpc.Channel, token: str) -> grpc.Channel:
    """A channel whose calls show a token; the channel itself when it is empty."""
    return grpc.intercept_channel(channel, _ShowToken(token)) if token else channel


class Api:
    """Calls of one backend in the default project and domain.

    Args:
        address: Host and port of its gRPC port.
        token: What it demands; empty for nothing.
    """

    def __init__(self, address: str, token: str = "") -> None:
        self._plain = grpc.insecure_channel(
            address,
            options=[("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)],
        )
        self._channel = with_token(self._plain, token)
        self.runs = run_service_pb2_grpc.RunServiceStub(self._channel)
        self.logs = log_service_pb2_grpc.LogServiceStub(self._channel)
        self.projects = project_service_pb2_grpc.ProjectServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def close(self) -> None:
        """Closes the channel."""
        self._plain.close()

    def is_serving(self) -> bool:
        """True when the backend says that it is healthy."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def run(self, name: str) -> run_pb2.Run:
        """One run."""
        request = run_service_pb2.GetRunRequest(id=_run(name))
        return self.runs.GetRun(request, timeout=_CALL_SECONDS, wait_for_ready=True).run

    def run_names(self) -> list[str]:
        """Names of the newest runs."""
        return [run.id.name for run in self._newest_runs()]

    def live_runs(self) -> list[str]:
        """Names of those of the newest runs that have not ended."""
        return [run.id.name for run in self._newest_runs() if phase_of(run) not in _TERMINAL]

    def _newest_runs(self) -> Sequence[run_pb2.Run]:
        request = run_service_pb2.ListRunsRequest(project=PROJECT, domain=DOMAIN, page_size=1000)
        return self.runs.ListRuns(request, timeout=_CALL_SECONDS).runs

    def project_ids(self) -> list[str]:
        """Identifiers of the projects."""
        request = project_service_pb2.ListProjectsRequest()
        return [project.id for project in self.projects.ListProjects(request, timeout=_CALL_SECONDS).projects]

    def actions(self, run: str) -> list[run_pb2.Action]:
        """All actions of a run in the order of enqueueing."""
        found: list[run_pb2.Action] = []
        token = ""
        while True:
            request = run_service_pb2.ListActionsRequest(run=_run(run), page_size=1000, page_token=token)
            answer = self.runs.ListActions(request, timeout=_CALL_SECONDS, wait_for_ready=True)
            found += answer.actions
            token = answer.next_page_token
            if not token:
                return found

    def children(self, run: str, task: str = "") -> list[run_pb2.Action]:
        """All actions of a run but the root, of one task when it is named."""
        return [each for each in self.actions(run) if each.parent and task in ("", each.short_name)]

    def action(self, run: str, name: str = ROOT) -> run_pb2.Action:
        """One action with its attempts."""
        request = run_service_pb2.GetActionRequest(id=_action(run, name))
        return self.runs.GetAction(request, timeout=_CALL_SECONDS, wait_for_ready=True).action

    def inputs(self, run: str, name: str = ROOT) -> dict[str, Any]:
        """Inputs of an action by name."""
        data = self._data(run, name)
        return _document(data.inputs, data.inputs_url)

    def outputs(self, run: str, name: str = ROOT) -> dict[str, Any]:
        """Outputs of an action by name."""
        data = self._data(run, name)
        assert data.HasField("outputs"), f"action {name} of {run} has no outputs"
        return _document(data.outputs, data.outputs_url)

    def _data(self, run: str, name: str) -> run_service_pb2.GetActionDataResponse:
        request = run_service_pb2.GetActionDataRequest(id=_action(run, name))
        return self.runs.GetActionData(request, timeout=_CALL_SECONDS, wait_for_ready=True)

    def log_lines(self, run: str, name: str = ROOT, attempt: int | None = None) -> list[str]:
        """What an attempt that has ended wrote, line by line; the newest attempt unless given."""
        lines: list[str] = []
        cursor = ""

        def is_complete() -> bool:
            nonlocal cursor
            request = log_service_pb2.ListLogsRequest(
                action=_action(run, name), attempt=attempt, page_size=10_000, cursor=cursor
            )
            answer = self.logs.ListLogs(request, timeout=_CALL_SECONDS)
            lines.extend(line.text for line in answer.lines)
            cursor = answer.cursor
            return bool(answer.complete and not answer.lines)

        until(is_complete, f"the whole log of {name} of run {run}")
        return lines

    def abort(self, run: str, reason: str) -> None:
        """Aborts a run."""
        self.runs.AbortRun(
            run_service_pb2.AbortRunRequest(id=_run(run), reason=reason), timeout=_CALL_SECONDS
        )

    def wait(self, run: str, seconds: float = 60) -> run_pb2.Run:
        """Waits until a run has ended, and returns it."""
        until(lambda: phase_of(self.run(run)) in _TERMINAL, f"the end of run {run}", seconds)
        return self.run(run)

    def succeeded(self, run: str, seconds: float = 60) -> Any:
        """Waits until a run has succeeded, and returns its first output.

        Raises:
            AssertionError: It ended in another way, or not in time.
        """
        ended = self.wait(run, seconds)
        assert phase_of(ended) == "succeeded", f"run {run}: {ended}"
        return self.outputs(run).get("o0")


def _run(name: str) -> RunIdentifier:
    return RunIdentifier(project=PROJECT, domain=DOMAIN, name=name)


def _action(run: str, name: str) -> ActionIdentifier:
    return ActionIdentifier(run=_run(run), name=name)


def _document(payload: payload_pb2.Payload, url: str) -> dict[str, Any]:
    if not payload.HasField("reference"):
        return dict(json.loads(payload.inline))
    with urllib.request.urlopen(url, timeout=_CALL_SECONDS) as answer:
        return dict(json.load(answer))
