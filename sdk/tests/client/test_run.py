"""flyte.run and the Run object, against admin's API over real gRPC."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import tarfile
import threading
from datetime import datetime, timezone

import grpc
import grpc.aio
import pytest

import flyte
from flyte._client._errors import from_rpc_error
from flyte.models import ActionPhase
from flyte.remote import Action, Run, Task
from hangar.core.v1 import phase_pb2

TASKS = """
    from dataclasses import dataclass
    import flyte
    env = flyte.TaskEnvironment(name="my_env", env_vars={"A": "1"})

    @dataclass
    class Point:
        x: int
        y: int

    @env.task
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    @env.task
    def split(x: int) -> tuple[int, str]:
        return x, str(x)

    @env.task
    def move(point: Point) -> Point:
        return point

    @env.task
    def nothing() -> None:
        return None
"""


@pytest.fixture
def tasks(admin, user_module):
    """User code, with the SDK connected to the backend."""
    flyte.init(endpoint=admin.endpoint, insecure=True, project="default")
    return user_module("run_tasks", TASKS)


def finish(admin, run, outputs=b'{"o0":null}'):
    """Ends a run with success."""
    admin.change(lambda: admin.succeed(admin.runs[run.name], outputs))


def test_run_returns_at_once_and_str_waits(admin, tasks):
    """A run is handed back while it is queued; printing it shows the output value."""
    run = flyte.run(tasks.greet, name="World")
    assert run.status is ActionPhase.QUEUED
    assert "queued" in repr(run)
    threading.Timer(0.05, finish, (admin, run, b'{"o0":"Hello, World!"}')).start()
    assert str(run) == "Hello, World!"
    assert run.url.endswith(f"/v2/runs/project/default/domain/development/{run.name}")


def test_the_request_says_what_to_run(admin, tasks):
    """The backend gets the task with its code, the inputs and the settings of the run."""
    run = flyte.with_runcontext(name="first", env_vars={"B": "2"}, labels={"team": "data"}, version="v1").run(
        tasks.greet, "World"
    )
    request = admin.runs["first"].request
    assert run.name == "first"
    assert request.task.name == "my_env.greet"
    assert (request.task.code.module, request.task.code.attribute) == ("run_tasks", "greet")
    assert request.task.code.version == "v1"
    assert list(request.task.code.python_path) == ["."]
    assert request.task.env_vars == {"A": "1"}
    assert request.inputs.inline == b'{"name":"World"}'
    assert len(request.inputs.digest) == 32
    assert dict(request.context.env_vars) == {"B": "2"}
    assert dict(request.context.labels) == {"team": "data"}
    archive = admin.blobs[f"code/{request.task.code.bundle_digest}.tar.gz"]
    with tarfile.open(fileobj=io.BytesIO(archive)) as code:
        assert code.getnames() == ["run_tasks.py", ".flyte/images.json"]
        images = json.load(code.extractfile(".flyte/images.json"))
    assert images == {"my_env": request.task.image.definition_json}


def test_unchanged_code_is_uploaded_once(admin, tasks):
    """A second run of the same code uploads nothing and has the same version."""
    first = flyte.run(tasks.greet, name="a")
    second = flyte.run(tasks.greet, name="b")
    assert len(admin.puts) == 1
    assert first.task_version == second.task_version != ""


def test_outputs_have_the_types_of_the_signature(admin, tasks):
    """Outputs come back as the task's types, by position and by name."""
    run = flyte.run(tasks.split, 5)
    finish(admin, run, b'{"o0":5,"o1":"5"}')
    outputs = run.outputs()
    assert (tuple(outputs), outputs.o0, outputs.o1) == ((5, "5"), 5, "5")
    assert run.result() == (5, "5")
    moved = flyte.run(tasks.move, tasks.Point(1, 2))
    finish(admin, moved, b'{"o0":{"x":1,"y":2}}')
    assert moved.result() == tasks.Point(1, 2)
    assert moved.inputs() == {"point": tasks.Point(1, 2)}


def test_outputs_of_nothing_are_one_none(admin, tasks):
    """A task that returns nothing has the outputs (None,)."""
    run = flyte.run(tasks.nothing)
    finish(admin, run, b"{}")
    assert tuple(run.outputs()) == (None,)
    assert run.result() is None


def test_large_documents_travel_by_reference(admin, tasks):
    """Inputs and outputs above 64 KiB are objects of the blob store, and come back whole."""
    name = "x" * 100_000
    run = flyte.run(tasks.greet, name)
    reference = admin.runs[run.name].request.inputs.reference
    assert reference.key in admin.blobs
    assert reference.size > 100_000
    finish(admin, run, b'{"o0":"' + b"y" * 200_000 + b'"}')
    assert run.inputs() == {"name": name}
    assert run.result() == "y" * 200_000


def test_a_failed_run_raises_its_error(admin, tasks, capsys):
    """Waiting does not raise; asking for outputs raises the typed error; printing shows one line."""
    run = flyte.run(tasks.greet, "x")
    admin.change(lambda: admin.fail(admin.runs[run.name], "ValueError", "bad name", "Traceback …"))
    run.wait()
    assert capsys.readouterr().out == "Run 'a0' failed: ValueError: bad name\n"
    with pytest.raises(flyte.errors.RuntimeUserError, match="bad name") as caught:
        run.outputs()
    assert caught.value.code == "ValueError"
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.user_traceback == "Traceback …"
    assert str(run) == f"Run '{run.name}' failed: ValueError: bad name"


@pytest.mark.parametrize(
    ("counted", "final", "expected"),
    [(1, False, "RuntimeUserError"), (3, False, "RetriesExhaustedError"), (3, True, "RuntimeUserError")],
)
def test_used_up_retries_have_an_error_of_their_own(admin, tasks, counted, final, expected):
    """As in a parent: only of an action that had retries, and none is left; run and action say the same."""
    run = flyte.run(tasks.greet, "x")

    def fail():
        fake = admin.runs[run.name]
        for message in (fake.message, fake.actions["a0"]):
            message.counted_failures = counted
            message.failure.non_recoverable = final
        admin.fail(fake, "ValueError", "bad name")
        for message in (fake.message, fake.actions["a0"]):
            message.failure.non_recoverable = final

    admin.change(fail)
    with pytest.raises(flyte.errors.RuntimeUserError, match="bad name") as caught:
        run.result()
    assert (type(caught.value).__name__, caught.value.code) == (expected, "ValueError")
    action = Action.get(run_name=run.name)
    assert type(action.error) is type(action.details().error_info) is type(caught.value)


def test_wait_prints_the_completion_line(admin, tasks, capsys):
    """The seed's line is printed, unless it is asked to be quiet."""
    run = flyte.run(tasks.nothing)
    finish(admin, run)
    run.wait()
    run.wait(quiet=True)
    assert capsys.readouterr().out == "Run 'a0' completed successfully.\n"


def test_wait_for_running_returns_before_the_end(admin, tasks):
    """`wait_for="running"` returns when user code runs."""
    run = flyte.run(tasks.nothing)
    admin.change(lambda: admin.move(admin.runs[run.name], phase_pb2.PHASE_RUNNING))
    run.wait(quiet=True, wait_for="running")
    assert run.known_phase is ActionPhase.RUNNING


def test_abort_shows_its_reason(admin, tasks):
    """An aborted run raises ActionAbortedError with the reason; aborting it again is not accepted."""
    run = flyte.run(tasks.nothing)
    assert run.abort("wrong data") is True
    with pytest.raises(flyte.errors.ActionAbortedError, match="wrong data"):
        run.result()
    assert run.abort() is False


def test_status_is_refreshed_without_waiting_for_the_end(admin, tasks):
    """A polling loop sees the phase move on."""
    run = flyte.run(tasks.nothing)
    admin.change(lambda: admin.move(admin.runs[run.name], phase_pb2.PHASE_RUNNING))
    seen = poll(lambda: run.status, lambda phase: phase is ActionPhase.RUNNING)
    assert seen is ActionPhase.RUNNING
    finish(admin, run)
    assert poll(run.done, bool) is True


async def test_status_is_refreshed_behind_a_running_loop(admin, tasks):
    """Inside an event loop asking does not wait, and a polling loop still sees the phase move on."""
    run = await flyte.run.aio(tasks.nothing)
    admin.change(lambda: admin.succeed(admin.runs[run.name]))
    deadline = asyncio.get_running_loop().time() + 30
    while not run.done() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - what is tested
        await asyncio.sleep(0.01)
    assert run.status is ActionPhase.SUCCEEDED


async def test_every_method_has_a_twin(admin, tasks):
    """A run is started, watched and read from asynchronous code."""
    run = await flyte.run.aio(tasks.greet, name="World")
    admin.change(lambda: admin.succeed(admin.runs[run.name], b'{"o0":"hi"}'))
    await run.wait.aio(quiet=True)
    assert await run.result.aio() == "hi"
    assert (await run.outputs.aio()).o0 == "hi"
    assert await run.inputs.aio() == {"name": "World"}
    assert (await Run.get.aio(run.name)).name == run.name
    assert [found.name async for found in Run.listall.aio()] == [run.name]


async def test_the_callers_loop_goes_on_while_it_waits(admin, tasks):
    """Two runs that are awaited together are watched together."""
    runs = await asyncio.gather(*(flyte.run.aio(tasks.greet, name) for name in ("a", "b")))
    waiting = asyncio.gather(*(run.result.aio() for run in runs))
    for run in runs:
        await asyncio.to_thread(finish, admin, run, b'{"o0":"%s"}' % run.name.encode())
    assert await waiting == [run.name for run in runs]


def test_watch_yields_changes_until_the_end(admin, tasks):
    """Watching yields the run at every change, and ends with it."""
    run = flyte.run(tasks.nothing)
    threading.Timer(0.05, finish, (admin, run)).start()
    assert [seen.known_phase for seen in run.watch()][-1] is ActionPhase.SUCCEEDED


def test_a_name_in_use_is_an_error(admin, tasks):
    """The same name is refused for the same and for other inputs."""
    context = flyte.with_runcontext(name="taken")
    context.run(tasks.greet, "a")
    for name in ("a", "b"):
        with pytest.raises(flyte.errors.RuntimeUserError) as caught:
            context.run(tasks.greet, name)
        assert caught.value.code == "RunAlreadyExistsError"


def test_a_lost_answer_creates_one_run(admin, tasks):
    """When the answer to the creation is lost, sending it again finds the run that exists."""
    admin.hold.add("CreateRun")
    run = flyte.with_runcontext(name="once").run(tasks.greet, "a")
    assert run.name == "once"
    assert list(admin.runs) == ["once"]
    assert admin.calls.count("CreateRun") == 2


def test_the_backend_may_restart_while_a_run_is_awaited(admin, tasks):
    """Waiting goes on with its cursor when the backend is back."""
    run = flyte.run(tasks.greet, "x")
    waiting = threading.Thread(target=run.wait, kwargs={"quiet": True})
    waiting.start()
    poll(lambda: admin.calls.count("WatchActions"), lambda n: n >= 1)
    admin.stop()
    admin.start()
    finish(admin, run, b'{"o0":"back"}')
    waiting.join(30)
    assert not waiting.is_alive()
    assert run.result() == "back"


def test_the_embedded_backend_may_come_back_at_another_port(admin, user_module, tmp_path, monkeypatch):
    """Waiting goes on when the embedded backend was started again and says that it listens elsewhere."""
    tasks = user_module("moving_tasks", TASKS)
    monkeypatch.chdir(tmp_path)
    said = tmp_path / "data" / "backend.json"
    said.parent.mkdir()

    def say():
        said.write_text(json.dumps({"pid": os.getpid(), "grpc": admin.endpoint, "http": "127.0.0.1:1"}))

    say()
    flyte.init_from_config()
    run = flyte.run(tasks.greet, "x")
    waiting = threading.Thread(target=run.wait, kwargs={"quiet": True})
    waiting.start()
    poll(lambda: admin.calls.count("WatchActions"), lambda n: n >= 1)
    before = admin.port
    admin.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", before))  # not listening: nobody answers there
        admin.port = 0
        admin.start()
        say()
        finish(admin, run, b'{"o0":"moved"}')
        waiting.join(30)
    assert admin.port != before
    assert run.result() == "moved"


def test_calls_are_tried_again_while_the_backend_is_away(admin, tasks):
    """UNAVAILABLE is not the caller's business when it passes."""
    admin.failures |= {"CreateUploads": 2, "CreateRun": 2, "PUT": 1}
    assert flyte.run(tasks.greet, "x").name in admin.runs


def test_errors_of_the_platform_have_their_classes():
    """Who sends too much is told so; whatever else fails on the way is a failed call."""
    for code, expected in (
        (grpc.StatusCode.RESOURCE_EXHAUSTED, flyte.errors.SlowDownError),
        (grpc.StatusCode.INTERNAL, flyte.errors.UnionRpcError),
    ):
        error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="no")
        assert type(from_rpc_error(error, "host:1")) is expected


def test_an_unreachable_backend_is_one_clear_error(tasks):
    """The message names the endpoint and what to do."""
    from flyte._client._client import Patience
    from flyte._client._loop import LOOP
    from flyte._initialize import require_session

    flyte.init(endpoint="127.0.0.1:1", insecure=True)
    client = LOOP.run(require_session().client())
    client.patience = Patience(first=0.2, later=0.2)
    with pytest.raises(flyte.errors.UnionRpcError, match=r"127\.0\.0\.1:1") as caught:
        flyte.run(tasks.greet, "x")
    assert caught.value.code == "BackendUnavailableError"
    assert "flyte status" in str(caught.value)


def test_unknown_things_are_not_found(admin, tasks):
    """What does not exist is an error that names it."""
    with pytest.raises(flyte.errors.ActionNotFoundError, match="'nope'"):
        Run.get("nope")
    with pytest.raises(flyte.errors.RemoteTaskNotFoundError, match=r"nope\.task"):
        Task.get("nope.task", auto_version="latest").fetch()
    with pytest.raises(flyte.errors.RuntimeUserError, match="'nope'") as caught:
        flyte.with_runcontext(project="nope").run(tasks.nothing)
    assert caught.value.code == "ProjectNotFoundError"
    assert not admin.runs


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [((), {}, "missing"), (("a", "b"), {}, "takes 1"), ((), {"nme": "x"}, "'nme'"), ((5,), {}, "name")],
)
def test_wrong_inputs_create_nothing(admin, tasks, args, kwargs, message):
    """Missing, unknown and mistyped inputs are refused before anything is sent."""
    with pytest.raises((TypeError, flyte.errors.RuntimeDataValidationError), match=message):
        flyte.run(tasks.greet, *args, **kwargs)
    assert not admin.calls


def test_only_tasks_are_run(admin, tasks):
    """A plain function is refused with what to do."""
    with pytest.raises(TypeError, match=r"@env\.task"):
        flyte.run(len, "x")


@pytest.mark.parametrize("refused", ["service_account", "run_base_dir", "debug"])
def test_what_is_not_built_is_refused_by_name(refused):
    """A documented parameter without its feature is refused by name."""
    with pytest.raises(flyte.errors.FeatureNotAvailableError, match=f"{refused}="):
        flyte.with_runcontext(**{refused: True})


def test_run_settings_reach_the_backend(admin, tasks):
    """Annotations, custom context, queue, interruptible, log settings and notifications are in the request."""
    hook = flyte.notify.Webhook("https://ci.example.com/x", on_phase="failed", headers={"A": "b"})
    flyte.with_runcontext(
        annotations={"why": "test"},
        custom_context={"tenant": "t"},
        queue="gpu",
        interruptible=False,
        log_level=10,
        log_format="json",
        reset_root_logger=True,
        env_vars={"A": "1"},
        notifications=hook,
    ).run(tasks.nothing)
    context = admin.requests[-1].context
    assert (dict(context.annotations), dict(context.custom_context)) == ({"why": "test"}, {"tenant": "t"})
    assert (context.queue, context.HasField("interruptible"), context.interruptible) == ("gpu", True, False)
    assert dict(context.env_vars) == {
        "A": "1",
        "FLYTE_LOG_LEVEL": "10",
        "FLYTE_LOG_FORMAT": "json",
        "FLYTE_RESET_ROOT_LOGGER": "1",
    }
    assert [(each.url, dict(each.headers)) for each in context.notifications] == [
        ("https://ci.example.com/x", {"A": "b"})
    ]


def test_a_dry_run_sends_nothing_and_shows_what_it_would(admin, tasks, tmp_path):
    """`dry_run` gives definition, inputs, settings and bundle, and writes the bundle where it is told."""
    made = flyte.with_runcontext(dry_run=True, copy_bundle_to=tmp_path / "out", queue="gpu").run(
        tasks.greet, "Ada"
    )
    assert not admin.calls
    assert (made.task_spec["name"].rpartition(".")[2], made.context["queue"]) == ("greet", "gpu")
    assert "Ada" in made.inputs
    assert made.bundle_path.read_bytes()
    assert any(name.endswith(".py") for name in made.files)


def test_copy_style_none_sends_no_code(admin, tasks):
    """The bundle has no code, and Python looks for it where the image has it; a version has to be given."""
    run = flyte.with_runcontext(copy_style="none", version="1.4").run(tasks.greet, "x")
    code = admin.runs[run.name].request.task.code
    assert (code.version, list(code.python_path)) == ("1.4", ["."])
    with tarfile.open(fileobj=io.BytesIO(admin.blobs[f"code/{code.bundle_digest}.tar.gz"])) as bundle:
        assert bundle.getnames() == [".flyte/images.json"]
    with pytest.raises(ValueError, match="needs version="):
        flyte.with_runcontext(copy_style="none")
    with pytest.raises(ValueError, match="loaded_modules, all or none"):
        flyte.with_runcontext(copy_style="some")


def test_the_callers_span_is_passed_on(admin, tasks):
    """A run belongs to the trace of the OpenTelemetry span that is active."""
    from opentelemetry import trace

    context = trace.SpanContext(0x1, 0x2, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        run = flyte.run(tasks.nothing)
    expected = f"00-{1:032x}-{2:016x}-01"
    assert admin.runs[run.name].request.context.traceparent == expected


def test_without_a_session_runs_are_local(user_module):
    """Before flyte.init, flyte.run needs no backend."""
    tasks = user_module("local_tasks", TASKS)
    run = flyte.run(tasks.greet, name="World")
    assert str(run) == "Hello, World!"


def poll(value, good, seconds=30):
    """The value once it is good, or as it is when the time is over."""
    deadline = datetime.now(timezone.utc).timestamp() + seconds
    while not good(value()) and datetime.now(timezone.utc).timestamp() < deadline:
        threading.Event().wait(0.01)
    return value()
