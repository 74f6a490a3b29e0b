"""Catch and retry, waits between attempts, deadlines, queues, custom context, links, reruns and recovery."""

import hashlib
import hmac
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hangar.core.v1.failure_pb2 import FAILURE_KIND_OOM as OOM
from hangar.core.v1.task_spec_pb2 import CACHE_STATUS_RECOVERED as RECOVERED
from integration_tests.api import phase_of
from integration_tests.polling import until
from integration_tests.processes import lives

SCRIPT = """
    import asyncio
    import os
    import time
    from collections.abc import Callable

    from notes import exists, note, read

    import flyte
    import flyte.errors

    env = flyte.TaskEnvironment(name="policy", resources=flyte.Resources(cpu="250m", memory="250Mi"))

    @env.task
    async def oomer(x: int) -> None:
        print(len(bytearray(b"x" * (x * 100 * 2**20))))

    @env.task
    async def always_succeeds() -> int:
        await asyncio.sleep(0.1)
        return 42

    @env.task
    async def failure_recovery() -> int:
        try:
            await oomer(5)
        except flyte.errors.OOMError as error:
            print(f"Failed with {error}")
            await oomer.override(resources=flyte.Resources(cpu="250m", memory="1Gi"))(5)
        finally:
            await always_succeeds()
        return await always_succeeds()

    class Board:
        name = "Board"

        def get_link(self, run_name, project, domain, context, parent_action_name, action_name, pod_name, **kwargs):
            return f"https://board.example.com/{project}/{domain}/{run_name}/{parent_action_name}/{action_name}"

    @env.task(retries=flyte.RetryStrategy(2, flyte.Backoff(base=0.3, factor=2, jitter=0)), links=[Board()])
    def flaky(path: str) -> int:
        note(path, str(time.time()))
        raise ValueError("no")

    @env.task
    async def catches(path: str) -> list[str]:
        try:
            await flaky.aio(path)
        except flyte.errors.RuntimeUserError as error:
            return [type(error).__name__, error.code, str(error)]
        return []

    @env.task(retries=50, timeout=flyte.Timeout(deadline=1.5))
    async def overdue(path: str) -> int:
        note(path, "try")
        if len(read(path)) > 1:
            await asyncio.sleep(600)
        raise ValueError("no")

    @env.task(queue="tpu")
    def elsewhere() -> int:
        return 1

    @env.task
    async def contexts(depth: int) -> list[dict[str, str]]:
        flyte.logger.debug("depth %d", depth)
        here = [flyte.get_custom_context()]
        if depth:
            with flyte.custom_context(tenant=f"t{depth}"):
                here += await contexts(depth - 1)
            here += await contexts(0)
        return here

    @flyte.trace
    async def traced(path: str, number: int) -> int:
        note(path, f"trace {number}")
        return number

    @env.task
    async def step(path: str, number: int) -> int:
        note(path, f"step {number}")
        if exists(f"{path}.stop{number}"):
            raise ValueError(f"step {number} fails")
        return number

    @env.task
    async def pipeline(path: str) -> int:
        note(path, "root")
        done = await asyncio.gather(*[step(path, number) for number in range(3)], return_exceptions=True)
        if 1 not in done:
            raise ValueError("step 1 failed")
        total = sum(done) + await traced(path, 3)
        return total + await step(path, 4)

    @env.task
    async def sleeps(path: str, seconds: float) -> float:
        note(path, str(os.getpid()))
        await asyncio.sleep(seconds)
        return seconds

    @env.task
    async def fails(path: str, others: int) -> int:
        while len(read(path)) < others:
            await asyncio.sleep(0.05)
        raise KeyError("enough")

    @env.task
    async def composed(path: str) -> list[str]:
        done = []
        for next_one in asyncio.as_completed([sleeps(path + ".quick", 0.1), sleeps(path + ".quick", 0.0)]):
            done.append(str(await next_one))
        pending = [asyncio.ensure_future(sleeps(path, 600)), asyncio.ensure_future(sleeps(path + ".quick", 0.2))]
        finished, unfinished = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        done.append(f"{len(finished)} of {len(pending)}")
        for each in unfinished:
            each.cancel()
        done += [type(each).__name__ for each in await asyncio.gather(*unfinished, return_exceptions=True)]
        try:
            async with asyncio.timeout(60) as limit:
                call = asyncio.ensure_future(sleeps(path, 601))
                while len(read(path)) < 2:
                    await asyncio.sleep(0.05)
                limit.reschedule(asyncio.get_running_loop().time())
                await call
        except TimeoutError:
            call.cancel()
            done.append("timeout")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(sleeps(path, 602))
                group.create_task(fails(path, 3))
        except* flyte.errors.RuntimeUserError as caught:
            done += [each.code for each in caught.exceptions]
        return done

    alone = flyte.TaskEnvironment(
        name="alone",
        resources=flyte.Resources(cpu="250m", memory="250Mi"),
        reusable=flyte.ReusePolicy(replicas=1),
        depends_on=[env],
    )
    env.add_dependency(alone)

    @alone.task
    async def factorial(n: int) -> int:
        return n * await factorial(n - 1) if n else 1

    def doubled(x: int) -> int:
        return 2 * x

    @env.task
    async def applies(function: Callable, task: Callable, x: int) -> list[int]:
        return [function(x), await task(x)]

    @env.task
    async def passes_functions(x: int) -> list[int]:
        return await applies(doubled, factorial, x)
"""


@pytest.fixture
def user(workspace):
    """A user with the script."""
    workspace.share_notes()
    workspace.write("policy.py", SCRIPT)
    return workspace


@pytest.fixture
def notes(user):
    """The file that tasks write to."""
    return user.directory / "notes"


def lines(path: Path) -> list[str]:
    """What tasks have written."""
    return path.read_text().splitlines() if path.exists() else []


def test_the_documented_program_recovers_from_too_little_memory(backend, user):
    """The first `oomer` fails for lack of memory, the second has more; `finally` calls a task; the run gives 42."""
    run = user.launch("policy.py", "failure_recovery")
    assert backend.api.succeeded(run, 120) == 42
    root, *children = backend.api.actions(run)
    assert phase_of(root) == "succeeded"
    assert [(each.short_name, phase_of(each)) for each in children] == [
        ("oomer", "failed"),
        ("oomer", "succeeded"),
        ("always_succeeds", "succeeded"),
        ("always_succeeds", "succeeded"),
    ]
    assert children[0].failure.kind == OOM


def test_retries_wait_and_their_end_is_typed(backend, user, notes):
    """Attempts wait 0.3 and 0.6 s, and say so; the parent gets RetriesExhaustedError with the failure's own code."""
    run = user.launch("policy.py", "catches", "--path", notes)
    kind, code, message = backend.api.succeeded(run)
    assert (kind, code, message) == ("RetriesExhaustedError", "ValueError", "no")
    asked = (
        f"import flyte; flyte.init_from_config(); print(type(flyte.remote.Action.get(run_name={run!r}, name="
    )
    child = backend.api.children(run)[0].id.name
    assert user.python("-c", f"{asked}{child!r}).error).__name__)").out.strip() == kind
    times = [float(line) for line in lines(notes)]
    assert len(times) == 3
    assert times[1] - times[0] >= 0.3
    assert times[2] - times[1] >= 0.6
    name = backend.api.children(run)[0].id.name
    shown = json.loads(user.flyte("get", "action", run, name, "-of", "json").out)
    assert shown["links"] == {"Board": f"https://board.example.com/default/development/{run}/a0/{name}"}


def test_a_deadline_ends_an_action_whatever_retries_are_left(backend, user, notes):
    """An action is over with its deadline, also in the middle of an attempt, and the command says so."""
    done = user.flyte("run", "policy.py", "overdue", "--path", notes, code=4)
    failed = backend.api.run(done.lines[0])
    assert (phase_of(failed), failed.failure.code) == ("timed_out", "DeadlineExceeded")
    assert len(lines(notes)) == 2


def test_a_queue_that_no_host_serves_is_named(backend, user):
    """Nobody waits for a host that does not exist: the action fails at once and says what there is."""
    run = user.launch("policy.py", "elsewhere")
    failed = backend.api.wait(run)
    assert failed.failure.code == "InsufficientCapacity"
    assert "is for queue tpu, which no host serves; the hosts serve queue default" in failed.failure.message


def test_custom_context_goes_down_and_can_be_changed_on_the_way(backend, user):
    """What the caller of a run gives reaches all actions; a block changes it for what is called inside and below."""
    user.write(
        "start.py",
        """
        import flyte
        from policy import contexts

        flyte.init_from_config()
        context = flyte.with_runcontext(
            custom_context={"tenant": "t0", "a": "1"},
            annotations={"why": "test"},
            log_level="DEBUG",
            log_format="json",
        )
        print(context.run(contexts, 2).name)
        """,
    )
    run = user.python("start.py").lines[-1]
    t0, t1, t2 = ({"tenant": f"t{number}", "a": "1"} for number in range(3))
    assert backend.api.succeeded(run) == [t0, t2, t1, t2, t0]
    assert dict(backend.api.run(run).annotations) == {"why": "test"}
    logged = [json.loads(line) for line in backend.api.log_lines(run) if line.startswith("{")]
    assert ("DEBUG", "depth 2", "a0") in [(each["level"], each["message"], each["action"]) for each in logged]


def test_recovery_repeats_nothing_that_succeeded(backend, user, notes):
    """Of a failed run, and of one that recovered it and failed, children and traces are taken over; the rest runs."""
    stop = [Path(f"{notes}.stop{number}") for number in (1, 4)]
    for each in stop:
        each.touch()
    first = user.launch("policy.py", "pipeline", "--path", notes)
    assert phase_of(backend.api.wait(first)) == "failed"
    assert Counter(lines(notes)) == {"root": 1, "step 0": 1, "step 1": 1, "step 2": 1}
    stop[0].unlink()
    second = user.flyte("rerun", first, "--recover", "--name", "second", code=1).lines[0]
    assert Counter(lines(notes))["step 1"] == 2
    assert Counter(lines(notes))["trace 3"] == 1
    stop[1].unlink()
    done = user.flyte("rerun", second, "--recover")
    third = done.lines[0]
    assert done.lines[-1] == "10"
    assert Counter(lines(notes)) == {
        "root": 3, "step 0": 1, "step 1": 2, "step 2": 1, "trace 3": 1, "step 4": 2,
    }  # fmt: skip
    taken = [each for each in backend.api.actions(third) if each.cache_status == RECOVERED]
    assert sorted(each.short_name for each in taken) == ["step", "step", "step", "traced"]
    shown = json.loads(user.flyte("get", "action", third, taken[0].id.name, "-of", "json").out)
    assert (shown["cache_status"], shown["attempts"]) == ("recovered", [])
    assert shown["cached_from"].endswith(f"/second/{taken[0].id.name}")
    assert backend.api.run(third).recovered_from == "second"
    again = user.flyte("rerun", third)
    assert (again.lines[-1], Counter(lines(notes))["step 0"]) == ("10", 2)
    assert "does not exist" in user.flyte("rerun", "nothing", code=7).err


def test_what_is_no_longer_awaited_ends(backend, user, notes):
    """With `as_completed`, `wait`, `timeout` and task groups, calls that are cancelled end, with their processes."""
    run = user.launch("policy.py", "composed", "--path", notes)
    assert backend.api.succeeded(run, 90) == [
        "0.0", "0.1", "1 of 2", "CancelledError", "timeout", "KeyError",
    ]  # fmt: skip
    sleepers = [int(line) for line in lines(notes)]
    assert len(sleepers) == 3
    until(lambda: not any(lives(pid) for pid in sleepers), "their processes have ended")
    assert Counter(phase_of(each) for each in backend.api.children(run, "sleeps"))["aborted"] == 3


def test_a_task_may_call_itself(backend, user):
    """Recursion is calls like any other, also through a pool of one, which is said to be a risk."""
    run = user.launch("policy.py", "factorial", "--n", 5)
    assert backend.api.succeeded(run) == 120
    logged = "\n".join(backend.api.log_lines(run))
    assert logged.count("alone.factorial is called from the only slot of its environment alone") == 1


def test_functions_and_tasks_are_values(backend, user):
    """A function is pickled, a task stays the module's own: calling it is an action of its environment."""
    run = user.launch("policy.py", "passes_functions", "--x", 3)
    assert backend.api.succeeded(run, 90) == [6, 6]
    assert len(backend.api.children(run, "factorial")) == 4


class Receiver:
    """Somebody who is told of runs, and does not answer well at first."""

    def __init__(self, refused: int) -> None:
        self.received: list[tuple[dict[str, str], dict[str, object]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                expected = self.headers["X-Hangar-Signature"].split(",")[0].removeprefix("t=").encode()
                digest = hmac.new(b"secret-of-tests", expected + b"." + body, hashlib.sha256).hexdigest()
                assert self.headers["X-Hangar-Signature"].endswith(f",v1={digest}")
                receiver.received.append((dict(self.headers), json.loads(body)))
                self.send_response(503 if len(receiver.received) <= refused else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stops."""
        self.server.shutdown()
        self.server.server_close()


def test_notifications_survive_a_kill_and_a_host_serves_its_queues(make_backend, make_workspace):
    """A webhook that fails is called again, also by the backend that was started after a kill; queues place actions."""
    receiver = Receiver(refused=1)
    try:
        backend = make_backend(
            HANGAR_SCHEDULER_NOTIFICATION_DESTINATIONS=receiver.url,
            HANGAR_SCHEDULER_NOTIFICATION_KEY="secret-of-tests",
            HANGAR_EXECUTOR_QUEUES="tpu",
        )
        user = make_workspace(backend)
        user.share_notes()
        user.write("policy.py", SCRIPT)
        user.write(
            "start.py",
            """
            import sys

            import flyte
            from policy import always_succeeds, elsewhere

            flyte.init_from_config()
            url = sys.argv[1]
            hook = flyte.notify.Webhook(f"{url}/a", on_phase=["running", "succeeded"], headers={"X-Mine": "1"})
            run = flyte.with_runcontext(notifications=[hook], name="told").run(elsewhere)
            print(flyte.with_runcontext(name="queued", queue="tpu").run(always_succeeds).name)
            try:
                flyte.with_runcontext(notifications=flyte.notify.Webhook("http://127.0.0.1:1/x")).run(elsewhere)
            except flyte.errors.BaseRuntimeError as error:
                print(error)
            """,
        )
        done = user.python("start.py", receiver.url)
        assert (
            "which is not allowed; the operators allow with HANGAR_SCHEDULER_NOTIFICATION_DEST"
            in done.lines[-1]
        )
        until(lambda: receiver.received, "it was told once", 60)
        backend.kill()
        backend.start()
        assert backend.api.succeeded("told") == 1
        assert backend.api.succeeded("queued") == 42
        told = until(
            lambda: {str(body["phase"]) for _, body in receiver.received[1:]} >= {"running", "succeeded"},
            "it was told of both phases",
            60,
        )
        assert told
        headers, body = receiver.received[-1]
        assert (body["run"], body["task"], headers["X-Mine"]) == ("told", "policy.elsewhere", "1")
        assert str(body["url"]).endswith("/told")
        assert len({headers["X-Hangar-Delivery"] for headers, _ in receiver.received}) == 2
    finally:
        receiver.close()
