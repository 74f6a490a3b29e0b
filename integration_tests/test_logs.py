"""What tasks write arrives, to the last byte."""

import json

from integration_tests.polling import until

SCRIPT = """
    import asyncio
    import os
    import subprocess
    import sys
    import time

    from notes import exists

    import flyte

    env = flyte.TaskEnvironment(name="env", resources=flyte.Resources(cpu="250m", memory="256Mi"))
    pool = flyte.TaskEnvironment(
        name="pool", resources=flyte.Resources(cpu="250m", memory="256Mi"),
        reusable=flyte.ReusePolicy(replicas=1, concurrency=4),
    )
    driver = flyte.TaskEnvironment(
        name="driver", resources=flyte.Resources(cpu="250m", memory="256Mi"), depends_on=[pool]
    )

    @env.task
    def writes() -> None:
        print("from print")
        print("from stderr", file=sys.stderr)
        sys.stdout.write("ünï ")
        sys.stdout.flush()
        os.write(1, "from the descriptor\\n".encode())
        subprocess.run([sys.executable, "-c", "print('from a process')"], check=True)
        print("last bytes without a line end", end="")

    @env.task
    async def writes_async() -> None:
        print("before")
        await asyncio.sleep(0)
        print("after")

    @env.task
    def writes_much(count: int) -> None:
        for number in range(count):
            print(f"line {number} " + "x" * 80)

    @env.task(retries=1)
    def writes_and_fails() -> int:
        print(f"attempt {flyte.ctx().attempt_number}")
        if flyte.ctx().attempt_number == 0:
            raise ValueError("once")
        return 1

    @env.task
    def writes_and_dies() -> None:
        print("last words", flush=True)
        os._exit(7)

    @env.task
    def writes_when_told(path: str) -> str:
        print("first", flush=True)
        while not exists(path):
            time.sleep(0.05)
        print("second")
        return "done"

    @pool.task
    async def speaks(name: str) -> None:
        for turn in range(3):
            print(f"{name} {turn}")
            await asyncio.sleep(0.01)

    @driver.task
    async def chorus() -> None:
        await asyncio.gather(*(speaks(name) for name in "abc"))
"""


def test_everything_that_a_task_and_its_processes_write(backend, workspace):
    """print, standard error, the descriptor and subprocesses are in the log, the last bytes too."""
    workspace.share_notes()
    workspace.write("talk.py", SCRIPT)
    run = workspace.launch("talk.py", "writes")
    backend.api.succeeded(run)
    lines = backend.api.log_lines(run)
    expected = ["from print", "from stderr", "ünï from the descriptor", "from a process"]
    assert sorted(lines[:-1]) == sorted(expected)
    assert lines[-1] == "last bytes without a line end"
    assert workspace.flyte("get", "logs", run).lines == lines


def test_async_tasks_and_many_lines(backend, workspace):
    """Coroutines are captured, and twenty thousand lines arrive complete and in order."""
    workspace.share_notes()
    workspace.write("talk.py", SCRIPT)
    few, many = (
        workspace.launch("talk.py", "writes_async"),
        workspace.launch("talk.py", "writes_much", "--count", 20_000),
    )
    backend.api.succeeded(few)
    backend.api.succeeded(many)
    assert backend.api.log_lines(few) == ["before", "after"]
    assert backend.api.log_lines(many) == [f"line {number} {'x' * 80}" for number in range(20_000)]
    assert workspace.flyte("get", "logs", many, "-l", 2).lines == backend.api.log_lines(many)[-2:]


def test_each_attempt_has_a_log_of_its_own(backend, workspace):
    """A retried task keeps the log of each attempt, and a process that dies keeps its last words."""
    workspace.share_notes()
    workspace.write("talk.py", SCRIPT)
    run, dead = (
        workspace.launch("talk.py", "writes_and_fails"),
        workspace.launch("talk.py", "writes_and_dies"),
    )
    backend.api.succeeded(run)
    assert backend.api.log_lines(run, attempt=1) == ["attempt 1"]
    assert backend.api.log_lines(run, attempt=0)[0] == "attempt 0"
    assert workspace.flyte("get", "logs", run, "--attempt", 0).lines[0] == "attempt 0"
    backend.api.wait(dead)
    assert backend.api.log_lines(dead)[0] == "last words"


def test_actions_in_one_process_do_not_mix_their_logs(backend, workspace):
    """Actions that run at the same time in one worker each get their own lines."""
    workspace.share_notes()
    workspace.write("talk.py", SCRIPT)
    run = workspace.launch("talk.py", "chorus")
    backend.api.succeeded(run)
    logs = [backend.api.log_lines(run, child.id.name) for child in backend.api.children(run)]
    assert sorted(logs) == [[f"{name} {turn}" for turn in range(3)] for name in "abc"]


def test_following(backend, workspace):
    """`flyte run --follow` shows lines while the task runs, and ends with it."""
    workspace.share_notes()
    workspace.write("talk.py", SCRIPT)
    gate = workspace.directory / "gate"
    client = workspace.popen("run", "--follow", "talk.py", "writes_when_told", "--path", gate)
    assert client.stdout is not None
    name, _, first = (client.stdout.readline().rstrip("\n") for _ in range(3))
    assert first == "first"
    assert not gate.exists()
    follower = workspace.popen("get", "logs", name, "--follow")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "first\n"
    gate.touch()
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0, err
    assert out.splitlines() == ["second", "Run 'a0' completed successfully.", "done"]
    assert follower.communicate(timeout=60)[0] == "second\n"
    assert follower.returncode == 0


def test_following_shows_what_children_write(backend, workspace):
    """`flyte run --follow` prints the lines of every action, those of children with their names in front."""
    workspace.share_notes()
    workspace.write("talk.py", SCRIPT)
    followed = workspace.flyte("run", "--follow", "talk.py", "chorus")
    children = {
        child.id.name: backend.api.log_lines(followed.lines[0], child.id.name)
        for child in backend.api.children(followed.lines[0])
    }
    expected = {f"[speaks {name}] {line}" for name, lines in children.items() for line in lines}
    assert len(expected) == 9
    assert expected <= set(followed.lines)


def test_times_of_lines(backend, workspace):
    """JSON has the time of each line."""
    workspace.share_notes()
    workspace.write("talk.py", SCRIPT)
    run = workspace.launch("talk.py", "writes_async")
    backend.api.succeeded(run)
    until(lambda: len(workspace.flyte("get", "logs", run).lines) == 2, "both lines are stored")
    entries = [json.loads(line) for line in workspace.flyte("-of", "json-raw", "get", "logs", run).lines]
    assert [entry["text"] for entry in entries] == ["before", "after"]
    assert entries[0]["time"] <= entries[1]["time"]
