"""Tasks that are a program of an image with neither Python nor the SDK in it, in real containers."""

from __future__ import annotations

import pytest

from integration_tests.api import phase_of
from integration_tests.polling import until
from integration_tests.workspace import Workspace

SCRIPT = r"""
    from dataclasses import dataclass
    from datetime import datetime, timedelta

    import flyte
    from flyte.extras import ContainerTask
    from flyte.io import Dir, File

    small = flyte.Resources(cpu="100m", memory="64Mi")

    @dataclass
    class Point:
        x: int
        label: str = "p"

    def shell(name, script, **settings):
        return ContainerTask(
            name=name, image="busybox:latest", command=["sh", "-c", script], **{"resources": small, **settings}
        )

    everything = shell(
        "everything",
        "echo Hello, $(cat /in/name) > /out/text; cat /in/point > /out/point; echo $(({{.inputs.n}} + 1)) > /out/n;"
        " echo {{.inputs.rate}} > /out/rate; cat /in/on > /out/on; cat /in/at > /out/at; echo 90 > /out/took;"
        " printf 'a\\nb' > /out/raw; echo seen $SEEN $FLYTE_ATTEMPT_NUMBER",
        inputs={"name": str, "point": Point, "n": int, "rate": float, "on": bool, "at": datetime},
        outputs={"text": str, "point": Point, "n": int, "rate": float, "on": bool, "at": datetime, "took": timedelta,
                 "raw": bytes},
        input_data_dir="/in", output_data_dir="/out", env_vars={"SEEN": "this"},
    )
    missing = shell("missing", "true", outputs={"x": int})
    wrong = shell("wrong", "echo abc > /var/outputs/x", outputs={"x": int})
    link = shell("link", "ln -s /etc/passwd /var/outputs/x", outputs={"x": str})
    exits = shell("exits", "echo first words; echo last words; exit 3", retries=1)
    hungry = shell("hungry", "exec dd if=/dev/zero of=/dev/null bs=256M count=4")
    slow = shell("slow", "trap 'echo told to end; exit 0' TERM; echo begun; sleep 600 & wait", timeout=2)
    no_program = ContainerTask(name="no_program", image="busybox:latest", command=["nowhere"], resources=small)
    closed = shell(
        "closed", "id -u; touch /etc/x || echo read-only; touch /var/inputs/x || echo inputs; ls /sys/class/net",
        inputs={"x": int},
    )
    gate = shell(
        "gate", "echo begun; while [ ! -e /tmp/never ]; do sleep 0.1; i=$((i+1)); [ $i = {{.inputs.ticks}} ] && break;"
        " done; echo ended; echo $i > /var/outputs/ticks", inputs={"ticks": int}, outputs={"ticks": int},
    )
    copies = shell(
        "copies", "cp {{.inputs.file}} /var/outputs/file; mkdir -p /var/outputs/tree/sub;"
        " cp {{.inputs.tree}}/sub/b /var/outputs/tree/sub/c", inputs={"file": File, "tree": Dir},
        outputs={"file": File, "tree": Dir},
    )
    pipes = shell("pipes", "mkdir /var/outputs/tree; mkfifo /var/outputs/tree/p", outputs={"tree": Dir})
    programs = flyte.TaskEnvironment.from_task(
        "programs", copies, pipes, everything, missing, wrong, link, exits, hungry, slow, no_program, closed, gate
    )
    env = flyte.TaskEnvironment("main", depends_on=[programs], resources=flyte.Resources(cpu="100m", memory="256Mi"))

    @env.task
    async def main() -> str:
        parts = await everything(
            name="it's \"me\" ü", point=Point(3), n=41, rate=0.5, on=True, at=datetime(2026, 1, 2, 3, 4, 5)
        )
        try:
            await exits.override(retries=0)()
        except flyte.errors.RuntimeUserError as error:
            return f"{parts}\n{error.code}"
        return "no error"

    @env.task
    async def files() -> str:
        import pathlib

        here = pathlib.Path("here/sub")
        here.mkdir(parents=True)
        (here / "b").write_text("inside")
        pathlib.Path("one.txt").write_text("one")
        file, tree = await copies(file=await File.from_local("one.txt"), tree=await Dir.from_local("here"))
        again, _ = await copies(file=file, tree=await Dir.from_local("here"))
        found = pathlib.Path(await tree.download()) / "sub" / "c"
        return pathlib.Path(await again.download()).read_text() + found.read_text()
"""


@pytest.fixture(scope="module")
def user(shared_docker_backend, place):
    """Somebody with the script."""
    found = Workspace(place / "users" / "container-tasks", shared_docker_backend.grpc)
    found.write("programs.py", SCRIPT)
    return found


FAILURES = {
    "missing": ("OutputMissing", "/var/outputs/x"),
    "wrong": ("OutputInvalid", "/var/outputs/x is no INTEGER: write a whole number"),
    "link": ("OutputMissing", "no plain file"),
    "exits": ("ContainerExited", "exited with code 3; its last words: first words\nlast words"),
    "hungry": ("OutOfMemory", "memory limit of 67108864 bytes"),
    "slow": ("TaskTimeout", "longer than its limit of 2 s"),
    "no_program": ("NoProgram", "nowhere"),
    "pipes": ("OutputInvalid", "/var/outputs/tree/p is neither a plain file nor a directory"),
}


@pytest.fixture(scope="module")
def failing(user):
    """Runs of all tasks that fail, by task: at the same time, as most of them wait."""
    return {task: user.launch("programs.py", task) for task in FAILURES}


@pytest.mark.parametrize("task", FAILURES)
def test_a_failure_says_what_was_wrong(backend, failing, task):
    """Files that are missing, wrong or no files, exit codes, memory, time limits, programs that are not there."""
    run = backend.api.wait(failing[task])
    failure = backend.api.action(failing[task]).failure
    code, words = FAILURES[task]
    assert phase_of(run) == ("timed_out" if task == "slow" else "failed")
    assert (failure.code, words in failure.message) == (code, True), failure
    if task == "exits":
        assert len(backend.api.action(failing[task]).attempts) == 2
    if task == "slow":
        assert backend.api.log_lines(failing[task]) == ["begun", "told to end"]


def test_values_go_in_and_come_out_by_their_types(backend, user):
    """Templates and files hold inputs as text, files of outputs are read by their types, failures are caught."""
    run = user.launch("programs.py", "main")
    assert backend.api.succeeded(run) == (
        "('Hello, it\\'s \"me\" ü', Point(x=3, label='p'), 42, 0.5, True, datetime.datetime(2026, 1, 2, 3, 4, 5), "
        "datetime.timedelta(seconds=90), b'a\\nb')\nContainerExited"
    )
    [child] = backend.api.children(run, "everything")
    assert backend.api.log_lines(run, child.id.name) == ["seen this 0"]


def test_files_and_directories_go_in_and_come_out(backend, user):
    """A program gets copies of what references stand for, and what it leaves can be handed on."""
    assert backend.api.succeeded(user.launch("programs.py", "files")) == "oneinside"


def test_a_program_is_as_closed_as_a_worker(backend, user):
    """No root, nothing to write but its outputs, no network."""
    run = user.launch("programs.py", "closed", "--x", 1)
    backend.api.succeeded(run)
    said = backend.api.log_lines(run)
    assert [line for line in said if "touch" not in line] == ["65532", "read-only", "inputs", "lo"]


def test_an_aborted_program_is_gone(backend, user):
    """The container of an aborted run is killed and removed, though as process 1 it ignores SIGTERM."""
    run = user.launch("programs.py", "gate", "--ticks", 10_000)
    until(lambda: phase_of(backend.api.action(run)) == "running", "it runs", 30)
    backend.api.abort(run, "enough")
    assert phase_of(backend.api.wait(run)) == "aborted"
    until(lambda: not [each for each in backend.host.containers() if each.state == "running"], "it is gone")


@pytest.mark.parametrize("ticks", [5, 60], ids=["ends while the executor is dead", "ends after its return"])
def test_an_executor_that_is_killed_finds_its_programs(make_backend, make_workspace, ticks):
    """The program runs on, once; its whole output and its result are there, whenever it has ended."""
    backend = make_backend(apart=True)
    user = make_workspace(backend)
    user.write("programs.py", SCRIPT)
    run = user.launch("programs.py", "gate", "--ticks", ticks)
    until(backend.host.running, "its container runs", 30)
    backend.kill_executor()
    if ticks < 10:
        until(lambda: not backend.host.running(), "it has ended", 30)
    backend.start_executor()
    assert backend.api.succeeded(run) == ticks
    assert backend.api.log_lines(run) == ["begun", "ended"]
    assert len(backend.api.action(run).attempts) == 1


def test_the_process_engine_refuses_a_container_at_once(shared_backend, place):
    """Without any host that could run it the run fails at once, and says which hosts there are and what to do."""
    user = Workspace(place / "users" / "no-containers", shared_backend.grpc)
    user.write("programs.py", SCRIPT)
    finished = user.flyte("run", "programs.py", "missing", code=None)
    assert "which only a host with the Docker engine can run" in finished.err + finished.out
    assert "HANGAR_EXECUTOR_ENGINE=docker" in finished.err + finished.out
