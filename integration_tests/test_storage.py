"""Runs through S3: bytes travel by signed URLs, and an outage of the store costs time and nothing else."""

import asyncio
import json
import subprocess
import urllib.request
from typing import Any

import grpc
import pytest

from hangar.admin.v1 import log_service_pb2
from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from integration_tests.api import DOMAIN, PROJECT, phase_of
from integration_tests.backend import BIN
from integration_tests.components.seaweedfs import SeaweedFs
from integration_tests.polling import until
from integration_tests.stack import Stack
from services.common.blobs import BlobStore
from services.common.tests.small_disk import small_disk

SCRIPT = """
    import asyncio
    import os

    from notes import exists, note

    import flyte

    pool = flyte.TaskEnvironment(
        name="pool", resources=flyte.Resources(cpu="250m", memory="256Mi"),
        reusable=flyte.ReusePolicy(replicas=1, concurrency=8),
    )
    cold = flyte.TaskEnvironment(name="cold", resources=flyte.Resources(cpu="250m", memory="256Mi"))
    driver = flyte.TaskEnvironment(
        name="driver", resources=flyte.Resources(cpu="250m", memory="256Mi"), depends_on=[pool, cold]
    )

    def work(path: str, number: int, text: str) -> str:
        note(path, str(number))
        for line in range(200):
            print(f"{number}: line {line}")
        return text + str(number) * 100_000

    @pool.task
    async def warm_child(path: str, number: int, text: str, gate: str) -> str:
        note(path + ".waiting", str(number))
        while gate and not exists(gate):
            await asyncio.sleep(0.05)
        return work(path, number, text)

    @cold.task
    def cold_child(path: str, number: int, text: str) -> str:
        return work(path, number, text)

    @driver.task(report=True)
    async def pipeline(path: str, count: int, text: str, gate: str = "") -> str:
        for step in ("first", "second"):
            await flyte.report.replace.aio(f"<p>{step} flush</p>", do_flush=True)
        warm = [warm_child(path, number, text, gate) for number in range(count)]
        results = [*await asyncio.gather(*warm), await cold_child.aio(path, count, text)]
        for number, result in enumerate(results):
            assert result == text + str(number) * 100_000, number
        print("AWS variables:", [name for name in os.environ if name.startswith("AWS")])
        return "".join(results)
"""
TEXT_BYTES = 150_000
COUNT = 6


@pytest.fixture
def make_stack(place, environments, closed):
    """Makes and starts services apart whose blobs are in a bucket; afterwards nothing of them is left."""
    made = []

    def make(s3: SeaweedFs | None, **settings: str) -> Stack:
        state = settings.pop("state", "")
        each = {"executor": {"HANGAR_EXECUTOR_STATE": state}} if state else None
        shared = {
            "HANGAR_EXECUTOR_ORPHAN_TTL": "20",
            "HANGAR_EXECUTOR_CPU": "4",
            **(s3.environ if s3 else {}),
            **settings,
        }
        blobs = f"{s3.bucket('runs')}/hangar" if s3 else None
        stack = Stack(place / f"storage-{len(closed)}", environments, shared, blobs=blobs, each=each)
        made.append(stack)
        closed.append(stack)
        return stack.start()

    yield make
    for stack in made:
        try:
            if stack.is_running:
                stack.check_ledger()
        finally:
            stack.close()


@pytest.fixture
def user_of(make_workspace):
    """Makes a user of a stack, with the script and a text too long for a message."""

    def make(stack: Stack):
        user = make_workspace(stack)
        user.environ["FLYTE_API_KEY"] = stack.token
        user.share_notes()
        user.write("storage.py", SCRIPT)
        user.write("submit.py", SUBMIT)
        return user

    return make


SUBMIT = f"""
    import sys

    import flyte
    from storage import pipeline

    flyte.init_from_config("config.yaml")
    path, gate = sys.argv[1:]
    print(flyte.run(pipeline, path, {COUNT}, "ü" * {TEXT_BYTES // 2}, gate).name)
"""


def keys_of(stack: Stack, monkeypatch) -> list[str]:
    """Keys of all objects in the stack's bucket."""
    environ = stack.environs["admin"]
    for name, value in environ.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)

    async def listed() -> list[str]:
        return sorted([blob.key async for blob in BlobStore(environ["HANGAR_ADMIN_BLOBS"]).list()])

    return asyncio.run(listed())


def action_page(stack: Stack, run: str, part: str = "") -> dict[str, Any]:
    """What the page of a run's root action is made of, or a part of it."""
    page = f"{stack.http}/api/v1/projects/{PROJECT}/domains/{DOMAIN}/runs/{run}/actions/a0{part}"
    request = urllib.request.Request(page, headers={"authorization": f"Bearer {stack.token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def check_result(stack: Stack, user, run: str) -> None:
    """The run succeeded; every child ran once in one attempt; outputs and logs are whole."""
    result = stack.api.succeeded(run, 150)
    text = "ü" * (TEXT_BYTES // 2)
    assert result == "".join(text + str(number) * 100_000 for number in range(COUNT + 1))
    ran = (user.directory / "lines").read_text().split()
    assert sorted(ran) == sorted(map(str, range(COUNT + 1)))
    actions = stack.api.actions(run)
    assert {(phase_of(each), each.attempt_count) for each in actions} == {("succeeded", 1)}
    assert len(actions) == COUNT + 2
    for action in stack.api.children(run):
        number = str(stack.api.inputs(run, action.id.name)["number"])
        printed = stack.api.log_lines(run, action.id.name)
        assert [line for line in printed if line.startswith(f"{number}: ")] == [
            f"{number}: line {line}" for line in range(200)
        ]


def test_a_pipeline_through_s3(s3, make_stack, user_of, monkeypatch):
    """Code, long inputs and outputs and logs are in the bucket, and nobody sees a credential."""
    public = s3.endpoint.replace("127.0.0.1", "localhost")  # clients see the store at another address
    stack = make_stack(s3, HANGAR_ADMIN_BLOBS_PUBLIC_ENDPOINT=public)
    user = user_of(stack)
    run = user.python("submit.py", user.directory / "lines", "").lines[-1]
    check_result(stack, user, run)
    keys = keys_of(stack, monkeypatch)
    for part in ("code/", "inputs/", f"runs/{PROJECT}/{DOMAIN}/{run}/a0/0/outputs.json", "/logs/0.log"):
        assert any(part in key for key in keys), (part, keys)
    assert not list((stack.data / "blobs").glob("**/*.json")), "nothing is in a directory"
    assert "AWS variables: []" in stack.api.log_lines(run)
    said = stack.log_tail(lines=10_000)
    assert s3.secret_key not in said
    assert "X-Amz-Signature" not in said

    # A report is replaced in the bucket; its signed URL is for the store as well, and the page gets it from admin.
    assert f"runs/{PROJECT}/{DOMAIN}/{run}/a0/0/report.html" in keys
    report = user.flyte("get", "report", run, "-o", "-").out
    assert "second flush" in report
    assert "first flush" not in report
    assert action_page(stack, run, "/report")["size"] == len(report.encode())

    # What the run page offers for download is a URL of the store that any client can open.
    data = action_page(stack, run)
    for part in ("inputs", "outputs"):
        assert data[part]["url"].startswith(f"{public}/runs-")
        with urllib.request.urlopen(data[part]["url"], timeout=30) as answer:
            assert len(answer.read()) == data[part]["size"] > TEXT_BYTES


def test_a_store_that_is_down_for_a_while(s3_own, make_stack, user_of):
    """Results and logs wait on the host with the reason shown; submits fail clearly; then all goes on, once."""
    stack = make_stack(s3_own)
    user = user_of(stack)
    gate = user.directory / "gate"
    run = user.python("submit.py", user.directory / "lines", gate).lines[-1]
    waiting = user.directory / "lines.waiting"
    until(lambda: waiting.exists() and len(waiting.read_text().split()) == COUNT, "all children to run", 120)
    s3_own.stop()
    gate.touch()

    def reasons() -> list[str]:
        return [each.wait_reason for each in stack.api.children(run, "warm_child")]

    until(
        lambda: all("the outputs cannot be stored yet" in each for each in reasons()),
        f"reasons {reasons()}",
        60,
    )
    assert all(s3_own.endpoint in each for each in reasons())
    assert {phase_of(each) for each in stack.api.children(run)} == {"running"}
    outputs = stack.data / "executor" / "outputs"
    assert len(list(outputs.glob("*.json"))) == COUNT, "they are on the disk of the host"

    submitted = user.python("submit.py", user.directory / "other", gate, code=1, seconds=150)
    assert "StoreFailed" in submitted.err or "blob store" in submitted.err
    assert s3_own.endpoint in submitted.err
    root = ActionIdentifier(run=RunIdentifier(project=PROJECT, domain=DOMAIN, name=run), name="a0")
    logged = [each for each in stack.api.children(run) if each.id.name]
    assert logged
    stack.kill("executor")  # what was delivered outlives it
    stack.start_service("executor")
    assert {phase_of(each) for each in stack.api.children(run)} == {"running"}

    s3_own.start()
    check_result(stack, user, run)
    assert not list(outputs.glob("*.json"))
    assert not (user.directory / "other").exists()

    s3_own.stop()
    shown = action_page(stack, run)["outputs"]["text"]
    assert s3_own.endpoint in shown, "the page shows the action, and why its outputs are missing"
    with pytest.raises(grpc.RpcError) as caught:
        stack.api.logs.ListLogs(log_service_pb2.ListLogsRequest(action=root), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert s3_own.endpoint in str(caught.value.details())
    s3_own.start()
    assert any("AWS variables" in line for line in stack.api.log_lines(run))


def test_a_full_disk_of_a_host(make_stack, user_of, place):
    """Children that end meanwhile stay running with the reason shown, and end in one attempt when there is room."""
    with small_disk(place / "disk", 64) as disk:
        stack = make_stack(None, state=str(disk.path / "state"))
        user = user_of(stack)
        gate = user.directory / "gate"
        run = user.python("submit.py", user.directory / "lines", gate).lines[-1]
        waiting = user.directory / "lines.waiting"
        until(
            lambda: waiting.exists() and len(waiting.read_text().split()) == COUNT, "all children to run", 120
        )
        disk.fill(leave=200_000)  # for what they print
        gate.touch()

        def stuck() -> list[str]:
            reasons = [each.wait_reason for each in stack.api.children(run, "warm_child")]
            return [
                each for each in reasons if f"the disk of {disk.path}" in each and "bytes are free" in each
            ]

        until(stuck, "a reason on a child", 60)
        assert phase_of(stack.api.run(run)) == "running"
        disk.make_room()
        check_result(stack, user, run)
        stack.close()


@pytest.mark.parametrize("service", ["admin", "executor"])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"AWS_SECRET_ACCESS_KEY": "not-the-secret"},
            ["refuses access", "AWS_SECRET_ACCESS_KEY", "AWS_ALLOW_HTTP"],
        ),
        (
            {"blobs": "s3://no-such-bucket/hangar"},
            ["bucket 'no-such-bucket'", "does not exist", "Make the bucket"],
        ),
        ({"AWS_ALLOW_HTTP": ""}, ["AWS_ALLOW_HTTP=true is not set"]),
        ({"blobs": "gs://bucket"}, ["'gs://bucket' is not supported"]),
    ],
    ids=["secret", "bucket", "http", "scheme"],
)
def test_a_store_that_cannot_be_used_is_named_at_the_start(s3, place, environments, service, wrong, words):
    """The service ends at once, with endpoint, bucket, variable and fix, and without the secret."""
    settings = {**s3.environ, **{name: value for name, value in wrong.items() if name != "blobs"}}
    blobs = wrong.get("blobs") or "s3://named/hangar"
    stack = Stack(place / f"wrong-{service}-{len(words[0])}", environments, settings, blobs=blobs)
    s3.bucket("named")
    done = subprocess.run(
        [str(BIN / "hangar"), "serve", service],
        env=stack.environs[service],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    for word in words:
        assert word in said
    assert "not-the-secret" not in said
    assert "Traceback" not in said
    stack.api.close()
