"""A backend in this process: admin's services over real gRPC, blobs over real HTTP, runs that tests drive."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import threading
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2

from hangar.admin.v1 import (
    data_service_pb2,
    data_service_pb2_grpc,
    log_service_pb2,
    log_service_pb2_grpc,
    project_pb2,
    project_service_pb2,
    project_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    task_service_pb2,
    task_service_pb2_grpc,
)
from hangar.core.v1 import failure_pb2, identifiers_pb2, payload_pb2, phase_pb2
from hangar.image.v1.image_service_pb2_grpc import (
    ImageServiceServicer,
    add_ImageServiceServicer_to_server,
)

TERMINAL = (6, 7, 8, 9)


def now() -> timestamp_pb2.Timestamp:
    """The time as a message."""
    stamp = timestamp_pb2.Timestamp()
    stamp.GetCurrentTime()
    return stamp


async def refuse(context: Any, code: grpc.StatusCode, reason: str, message: str) -> None:
    """Ends a call as the platform's services do: with a google.rpc.Status that holds an ErrorInfo."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="hangar"))
    status = status_pb2.Status(code=code.value[0], message=message, details=[detail])
    await context.abort(code, message, (("grpc-status-details-bin", status.SerializeToString()),))


class FakeRun:
    """One run: its message, its actions and their changes."""

    def __init__(self, request: run_service_pb2.CreateRunRequest, url: str) -> None:
        self.request = request
        self.message = run_pb2.Run(
            id=request.id,
            task_name=request.task.name,
            task_version=request.task.code.version,
            phase=phase_pb2.PHASE_QUEUED,
            created_at=now(),
            labels=request.context.labels,
            url=url,
            action_count=1,
        )
        root = run_pb2.Action(
            id=identifiers_pb2.ActionIdentifier(run=request.id, name="a0"),
            task_name=request.task.name,
            short_name=request.task.short_name,
            phase=phase_pb2.PHASE_QUEUED,
            created_at=now(),
            attempt_count=1,
        )
        self.actions = {"a0": root}
        self.changes: list[str] = ["a0"]
        self.outputs: bytes | None = None
        self.lines: list[str] = []
        self.report: bytes | None = None

    @property
    def ended(self) -> bool:
        return self.message.phase in TERMINAL


class FakeAdmin:
    """The backend. Use as a context manager.

    Attributes:
        on_create: Called with each new run, on the server's loop: decides how it ends.
        failures: Method name → how often it answers UNAVAILABLE before it works.
        token: What calls have to show; empty for nothing.
        tls: Private key and certificate in PEM form, to serve with TLS. Set before it starts.
        images: What answers for images; None for a backend without an image builder.
    """

    def __init__(
        self,
        on_create: Callable[[FakeAdmin, FakeRun], None] | None = None,
        images: ImageServiceServicer | None = None,
    ) -> None:
        self.on_create = on_create
        self.images = images
        self.failures: dict[str, int] = {}
        self.listed: list[run_service_pb2.ListRunsRequest] = []
        self.token = ""
        self.tls: tuple[bytes, bytes] | None = None
        self.runs: dict[str, FakeRun] = {}
        self.deployed: list[task_service_pb2.Task] = []
        self.projects = {
            "default": project_pb2.Project(id="default", name="Default", domains=["development"])
        }
        self.blobs: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.requests: list[Any] = []
        self.puts: list[str] = []
        self.aborts: list[str] = []
        self.port = 0
        self.hold: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Condition()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._http = _BlobServer(self)

    # -------------------------------------------------------------------------------------- life cycle

    def __enter__(self) -> FakeAdmin:
        self._thread.start()
        self._http.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._http.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self) -> None:
        """Starts to serve; on the same port as before after `stop`."""
        self._do(self._start())

    def stop(self) -> None:
        """Stops to serve; connections break."""
        self._do(self._server.stop(None))

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _start(self) -> None:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 1),))
        run_service_pb2_grpc.add_RunServiceServicer_to_server(_Runs(self), self._server)
        project_service_pb2_grpc.add_ProjectServiceServicer_to_server(_Projects(self), self._server)
        task_service_pb2_grpc.add_TaskServiceServicer_to_server(_Tasks(self), self._server)
        log_service_pb2_grpc.add_LogServiceServicer_to_server(_Logs(self), self._server)
        data_service_pb2_grpc.add_DataServiceServicer_to_server(_Data(self), self._server)
        if self.images is not None:
            add_ImageServiceServicer_to_server(self.images, self._server)
        health = grpc.unary_unary_rpc_method_handler(_healthy)
        handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": health})
        self._server.add_generic_rpc_handlers((handler,))
        address = f"127.0.0.1:{self.port}"
        if self.tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials([self.tls]))
        await self._server.start()

    # ------------------------------------------------------------------------------------ to drive runs

    def change(self, change: Callable[[], None]) -> None:
        """Changes state on the server's loop and tells all watchers."""
        self._do(self._change(change))

    async def _change(self, change: Callable[[], None]) -> None:
        async with self._changed:
            change()
            self._changed.notify_all()

    def move(self, run: FakeRun, phase: phase_pb2.Phase, action: str = "a0") -> None:
        """Moves an action. Call it inside `change` or `on_create`."""
        message = run.actions[action]
        message.phase = phase
        if phase == phase_pb2.PHASE_RUNNING:
            message.started_at.CopyFrom(now())
        if phase in TERMINAL:
            message.ended_at.CopyFrom(now())
        if action == "a0":
            run.message.phase = phase
            if phase in TERMINAL:
                run.message.ended_at.CopyFrom(now())
        run.changes.append(action)

    def add_child(self, run: FakeRun, name: str, task: str, parent: str = "a0") -> None:
        """Adds a child action."""
        run.actions[name] = run_pb2.Action(
            id=identifiers_pb2.ActionIdentifier(run=run.message.id, name=name),
            parent=parent,
            task_name=task,
            short_name=task.rpartition(".")[2],
            phase=phase_pb2.PHASE_QUEUED,
            created_at=now(),
        )
        run.changes.append(name)

    def succeed(self, run: FakeRun, outputs: bytes = b'{"o0": null}') -> None:
        """Ends a run with an outputs document."""
        run.outputs = outputs
        self.move(run, phase_pb2.PHASE_SUCCEEDED)

    def fail(self, run: FakeRun, code: str, message: str, traceback: str = "") -> None:
        """Ends a run with a user's exception."""
        failure = failure_pb2.Failure(
            kind=failure_pb2.FAILURE_KIND_USER, code=code, message=message, traceback=traceback
        )
        run.message.failure.CopyFrom(failure)
        run.actions["a0"].failure.CopyFrom(failure)
        self.move(run, phase_pb2.PHASE_FAILED)

    def abort(self, run: FakeRun, reason: str) -> None:
        """Ends a run as aborted."""
        run.message.abort_reason = reason
        run.actions["a0"].abort_reason = reason
        self.move(run, phase_pb2.PHASE_ABORTED)

    async def arrive(self, method: str, context: Any) -> None:
        """Notes a call, and fails it when the test asked for that."""
        shown = dict(context.invocation_metadata()).get("authorization")
        if self.token and shown != f"Bearer {self.token}":
            reason = "TOKEN_WRONG" if shown else "TOKEN_MISSING"
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, reason, "show the token (FLYTE_API_KEY)")
        self.calls.append(method)
        if self.failures.get(method, 0) > 0:
            self.failures[method] -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    async def find(self, identifier: identifiers_pb2.RunIdentifier, context: Any) -> FakeRun:
        run = self.runs.get(identifier.name)
        if run is None:
            await refuse(
                context,
                grpc.StatusCode.NOT_FOUND,
                "RUN_NOT_FOUND",
                f"Run {identifier.name!r} does not exist in project {identifier.project!r}.",
            )
        assert run is not None
        return run


async def _healthy(_request: bytes, _context: Any) -> bytes:
    return b"\x08\x01"


class _Runs(run_service_pb2_grpc.RunServiceServicer):
    def __init__(self, admin: FakeAdmin) -> None:
        self.admin = admin

    async def CreateRun(self, request, context):
        self.admin.requests.append(request)
        await self.admin.arrive("CreateRun", context)
        known = self.admin.runs.get(request.id.name)
        if known is not None:
            if known.request != request:
                await refuse(context, grpc.StatusCode.ALREADY_EXISTS, "RUN_ALREADY_EXISTS", "name in use")
            return run_service_pb2.CreateRunResponse(run=known.message, created=False)
        if request.id.project not in self.admin.projects:
            message = f"Project {request.id.project!r} does not exist."
            await refuse(context, grpc.StatusCode.NOT_FOUND, "PROJECT_NOT_FOUND", message)
        url = f"http://127.0.0.1:1/v2/runs/project/{request.id.project}/domain/{request.id.domain}/{request.id.name}"
        run = FakeRun(request, url)
        self.admin.runs[request.id.name] = run
        if "CreateRun" in self.admin.hold:  # the answer is lost, the run is not
            self.admin.hold.discard("CreateRun")
            await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
        created = run_service_pb2.CreateRunResponse(run=run.message, created=True)
        if self.admin.on_create is not None:
            await self.admin._change(lambda: self.admin.on_create(self.admin, run))
        return created

    async def GetRun(self, request, context):
        await self.admin.arrive("GetRun", context)
        return run_service_pb2.GetRunResponse(run=(await self.admin.find(request.id, context)).message)

    async def ListRuns(self, request, context):
        await self.admin.arrive("ListRuns", context)
        self.admin.listed.append(request)
        runs = [run.message for run in reversed(self.admin.runs.values())]
        wanted = request.filter
        runs = [run for run in runs if not wanted.phases or run.phase in wanted.phases]
        runs = [run for run in runs if wanted.task_name in {"", run.task_name}]
        start, size = int(request.page_token or 0), request.page_size or 100
        token = str(start + size) if len(runs) > start + size else ""
        return run_service_pb2.ListRunsResponse(runs=runs[start : start + size], next_page_token=token)

    async def AbortRun(self, request, context):
        await self.admin.arrive("AbortRun", context)
        run = await self.admin.find(request.id, context)
        if run.ended:
            return run_service_pb2.AbortRunResponse(accepted=False)
        self.admin.aborts.append(request.reason)
        await self.admin._change(lambda: self.admin.abort(run, request.reason))
        return run_service_pb2.AbortRunResponse(accepted=True)

    async def GetAction(self, request, context):
        await self.admin.arrive("GetAction", context)
        run = await self.admin.find(request.id.run, context)
        action = run.actions.get(request.id.name)
        if action is None:
            message = f"Action {request.id.name!r} does not exist in run {request.id.run.name!r}."
            await refuse(context, grpc.StatusCode.NOT_FOUND, "ACTION_NOT_FOUND", message)
        full = run_pb2.Action()
        full.CopyFrom(action)
        full.attempts.add(number=0, phase=action.phase, node="laptop")
        return run_service_pb2.GetActionResponse(action=full)

    async def ListActions(self, request, context):
        await self.admin.arrive("ListActions", context)
        run = await self.admin.find(request.run, context)
        actions = [
            a for a in run.actions.values() if not request.filter.phases or a.phase in request.filter.phases
        ]
        return run_service_pb2.ListActionsResponse(actions=actions)

    async def WatchActions(self, request, context):
        await self.admin.arrive("WatchActions", context)
        run = await self.admin.find(request.run, context)
        cursor = request.after
        while True:
            async with self.admin._changed:
                while cursor >= len(run.changes) and not run.ended:
                    await self.admin._changed.wait()
            names = list(dict.fromkeys(run.changes[cursor:]))
            cursor = len(run.changes)
            actions = [run.actions[name] for name in names]
            yield run_service_pb2.WatchActionsResponse(run=run.message, actions=actions, cursor=cursor)
            if run.ended:
                return

    async def AbortAction(self, request, context):
        await self.admin.arrive("AbortAction", context)
        run = await self.admin.find(request.id.run, context)
        if request.id.name not in run.actions:
            await refuse(context, grpc.StatusCode.NOT_FOUND, "ACTION_NOT_FOUND", "no such action")
        self.admin.aborts.append(request.reason)
        change = lambda: self.admin.move(run, phase_pb2.PHASE_ABORTED, request.id.name)  # noqa: E731
        await self.admin._change(change)
        return run_service_pb2.AbortActionResponse(accepted=True)

    async def GetActionData(self, request, context):
        await self.admin.arrive("GetActionData", context)
        run = await self.admin.find(request.id.run, context)
        answer = run_service_pb2.GetActionDataResponse(inputs=run.request.inputs)
        if run.request.inputs.WhichOneof("data") == "reference":
            answer.inputs_url = self.admin._http.url(run.request.inputs.reference.key)
        if run.outputs is not None and len(run.outputs) > 64 * 1024:
            self.admin.blobs["outputs/large"] = run.outputs
            reference = payload_pb2.BlobReference(key="outputs/large", size=len(run.outputs))
            answer.outputs.reference.CopyFrom(reference)
            answer.outputs_url = self.admin._http.url("outputs/large")
        elif run.outputs is not None:
            answer.outputs.inline = run.outputs
        return answer

    async def GetReport(self, request, context):
        await self.admin.arrive("GetReport", context)
        run = await self.admin.find(request.id.run, context)
        if run.report is None or request.attempt:
            await refuse(context, grpc.StatusCode.NOT_FOUND, "REPORT_NOT_FOUND", "no report")
        self.admin.blobs["report.html"] = run.report
        url = self.admin._http.url("report.html")
        return run_service_pb2.GetReportResponse(attempt=0, size=len(run.report), url=url)


class _Projects(project_service_pb2_grpc.ProjectServiceServicer):
    def __init__(self, admin: FakeAdmin) -> None:
        self.admin = admin

    async def CreateProject(self, request, context):
        await self.admin.arrive("CreateProject", context)
        if request.project.id in self.admin.projects:
            message = f"Project {request.project.id!r} exists already."
            await refuse(context, grpc.StatusCode.ALREADY_EXISTS, "PROJECT_ALREADY_EXISTS", message)
        self.admin.projects[request.project.id] = request.project
        return project_service_pb2.CreateProjectResponse(project=request.project)

    async def GetProject(self, request, context):
        await self.admin.arrive("GetProject", context)
        if request.id not in self.admin.projects:
            message = f"Project {request.id!r} does not exist."
            await refuse(context, grpc.StatusCode.NOT_FOUND, "PROJECT_NOT_FOUND", message)
        return project_service_pb2.GetProjectResponse(project=self.admin.projects[request.id])

    async def ListProjects(self, request, context):
        await self.admin.arrive("ListProjects", context)
        projects = [p for p in self.admin.projects.values() if request.include_archived or not p.archived]
        return project_service_pb2.ListProjectsResponse(projects=projects)

    async def UpdateProject(self, request, context):
        await self.admin.arrive("UpdateProject", context)
        project = self.admin.projects[request.id]
        for field in ("name", "description", "archived"):
            if request.HasField(field):
                setattr(project, field, getattr(request, field))
        return project_service_pb2.UpdateProjectResponse(project=project)


class _Tasks(task_service_pb2_grpc.TaskServiceServicer):
    def __init__(self, admin: FakeAdmin) -> None:
        self.admin = admin

    def _versions(self, request, name):
        """The deployments of a task, last one first."""
        return [
            task
            for task in reversed(self.admin.deployed)
            if (task.project, task.domain, task.spec.name) == (request.project, request.domain, name)
        ]

    async def DeployTasks(self, request, context):
        await self.admin.arrive("DeployTasks", context)
        made = []
        for spec in request.tasks:
            known = self._versions(request, spec.name)
            same = [task for task in known if task.spec.code.version == spec.code.version]
            if same and same[0].spec != spec:
                await refuse(context, grpc.StatusCode.ALREADY_EXISTS, "TASK_VERSION_EXISTS", "other content")
            if known[:1] == same[:1] and same:
                continue
            task = task_service_pb2.Task(
                project=request.project, domain=request.domain, spec=spec, created_at=now(), deployed_at=now()
            )
            made.append(task)
        self.admin.deployed += made
        return task_service_pb2.DeployTasksResponse(tasks=made, changed=[task.spec.name for task in made])

    async def GetTask(self, request, context):
        await self.admin.arrive("GetTask", context)
        found = self._versions(request, request.name)
        wanted = [task for task in found if request.version in ("", task.spec.code.version)]
        if not wanted:
            message = f"Task {request.name!r} does not exist."
            await refuse(context, grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", message)
        return task_service_pb2.GetTaskResponse(task=wanted[0])

    async def ListTasks(self, request, context):
        await self.admin.arrive("ListTasks", context)
        names = sorted({task.spec.name for task in self.admin.deployed})
        newest = [self._versions(request, name)[0] for name in names]
        tasks = [task for task in newest if task.spec.entrypoint or not request.entrypoint]
        return task_service_pb2.ListTasksResponse(tasks=tasks)

    async def ListTaskVersions(self, request, context):
        await self.admin.arrive("ListTaskVersions", context)
        found = self._versions(request, request.name)
        if not found:
            await refuse(context, grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", "no such task")
        return task_service_pb2.ListTaskVersionsResponse(tasks=found)


class _Logs(log_service_pb2_grpc.LogServiceServicer):
    def __init__(self, admin: FakeAdmin) -> None:
        self.admin = admin

    async def ListLogs(self, request, context):
        await self.admin.arrive("ListLogs", context)
        run = await self.admin.find(request.action.run, context)
        start = int(request.cursor or 0)
        page = run.lines[start : start + (request.page_size or 1000)]
        lines = [log_service_pb2.LogLine(text=text, captured_at=now()) for text in page]
        cursor = start + len(page)
        complete = run.ended and cursor == len(run.lines)
        return log_service_pb2.ListLogsResponse(lines=lines, cursor=str(cursor), complete=complete)

    async def TailLogs(self, request, context):
        await self.admin.arrive("TailLogs", context)
        run = await self.admin.find(request.action.run, context)
        cursor = int(request.cursor or 0)
        while True:
            async with self.admin._changed:
                while cursor >= len(run.lines) and not run.ended:
                    await self.admin._changed.wait()
            page = run.lines[cursor:]
            cursor = len(run.lines)
            lines = [log_service_pb2.LogLine(text=text, captured_at=now()) for text in page]
            yield log_service_pb2.TailLogsResponse(lines=lines, cursor=str(cursor), attempt=0)
            if run.ended:
                return


class _Data(data_service_pb2_grpc.DataServiceServicer):
    def __init__(self, admin: FakeAdmin) -> None:
        self.admin = admin

    async def CreateUploads(self, request, context):
        await self.admin.arrive("CreateUploads", context)
        uploads = []
        for wanted in request.uploads:
            is_code = wanted.kind == data_service_pb2.UPLOAD_KIND_CODE_BUNDLE
            key = f"code/{wanted.sha256}.tar.gz" if is_code else f"inputs/{wanted.sha256}.json"
            exists = key in self.admin.blobs
            url = "" if exists else self.admin._http.url(key)
            uploads.append(data_service_pb2.Upload(key=key, exists=exists, url=url))
        return data_service_pb2.CreateUploadsResponse(uploads=uploads)


class _BlobServer:
    """Signed URLs, without the signature."""

    def __init__(self, admin: FakeAdmin) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                key = self.path.removeprefix("/v1/blobs/")
                if admin.failures.get("PUT", 0) > 0:
                    admin.failures["PUT"] -= 1
                    self._answer(503, b"busy")
                elif key.startswith("code/") and hashlib.sha256(content).hexdigest() not in key:
                    self._answer(400, b"digest does not match")
                else:
                    admin.blobs[key] = content
                    admin.puts.append(key)
                    self._answer(200, b"")

            def do_GET(self):
                content = admin.blobs.get(self.path.removeprefix("/v1/blobs/"))
                self._answer(404 if content is None else 200, content or b"no such object")

            def _answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Says nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def url(self, key: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1/blobs/{key}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
