"""Wrong input of every kind: one clear message, the right exit code, no internals, nothing half-created."""

import re
import signal
import sqlite3
import subprocess

import pytest

from integration_tests.api import phase_of
from integration_tests.backend import BIN, clean_environ, database_settings, free_ports
from integration_tests.polling import until

TASKS = """
    import flyte

    env = flyte.TaskEnvironment(name="env")

    @env.task
    def double(x: int, label: str = "") -> int:
        return 2 * x

    @env.task
    def wrong_output() -> int:
        return "five"

    @env.task
    def unserialisable_output() -> dict:
        import threading

        return {"lock": threading.Lock()}
"""

_FRAME = re.compile(r'File "(.+)", line \d')


def check_message(done, *texts: str) -> None:
    """It says all that, and shows no traceback but one of the user's own code."""
    said = done.out + done.err
    for text in texts:
        assert text in said, f"{text!r} is missing\n{done}"
    for file in _FRAME.findall(said):
        assert "/users/" in file, f"internal frame {file}\n{done}"
    if "Traceback" in said:
        assert _FRAME.search(said), str(done)
    assert len(said.splitlines()) < 30, str(done)


@pytest.fixture
def user(backend, workspace):
    """A user with some tasks. At the end of the test no run has been created."""
    workspace.write("tasks.py", TASKS)
    before = backend.api.run_names()
    yield workspace
    assert backend.api.run_names() == before


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (["tasks.pyy", "double", "--x", "1"], 2, ["File tasks.pyy does not exist", "tasks.py"]),
        (["config.yaml", "double"], 2, ["config.yaml is not a Python file"]),
        (["tasks.py", "dubble", "--x", "1"], 2, ["dubble", "double"]),
        (["tasks.py", "double", "--y", "1"], 2, ["--y"]),
        (["--wiht", "tasks.py", "double", "--x", "1"], 2, ["--wiht"]),
        (["tasks.py", "double", "--x", "five"], 2, ["--x", "five", "INTEGER"]),
        (["tasks.py", "double"], 2, ["Missing required parameter(s): --x (type: INTEGER)"]),
        (["tasks.py", "double", "5"], 2, ["5"]),
        (["-p", "nobody", "tasks.py", "double", "--x", "1"], 7, ["nobody", "project"]),
        (["-d", "nowhere", "tasks.py", "double", "--x", "1"], 2, ["nowhere", "development, staging"]),
        (["--name", "Not a name", "tasks.py", "double", "--x", "1"], 2, ["Not a name"]),
        (["-e", "NOVALUE", "tasks.py", "double", "--x", "1"], 2, ["NOVALUE", "KEY=VALUE"]),
        (["--detach", "--follow", "tasks.py", "double", "--x", "1"], 2, ["--detach", "--follow"]),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) and "double" in value else "",
)
def test_command_lines(user, arguments, code, texts):
    """Unknown files, tasks, flags, projects and domains, wrong types and missing inputs are refused by name."""
    check_message(user.flyte("run", *arguments, code=code), *texts)


@pytest.mark.parametrize(
    "command", [["get", "run"], ["get", "action"], ["get", "io"], ["get", "logs"], ["abort"]]
)
def test_unknown_runs(user, command):
    """A run that does not exist is not found, whatever is asked about it."""
    check_message(user.flyte(*command, "no-such-run", code=7), "no-such-run")


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ('flyte.TaskEnvironment(name="My Env")', ["My Env", "snake_case or kebab-case"]),
        ("flyte.TaskEnvironment(name=5)", ["5"]),
        ('flyte.TaskEnvironment(name="a", resources=flyte.Resources(cpu=-1))', ["cpu", "-1"]),
        ('flyte.TaskEnvironment(name="a", resources=flyte.Resources(memory="lots"))', ["memory", "lots"]),
        ('flyte.TaskEnvironment(name="a", resources=flyte.Resources(gpu="Z9:1"))', ["Z9"]),
        (
            'flyte.TaskEnvironment(name="a", resources=flyte.Resources(cpu=1), limits=flyte.Resources(cpu=2))',
            ["limits", "resources"],
        ),
        ('flyte.TaskEnvironment(name="a", reusable=flyte.ReusePolicy(idle_ttl=1))', ["idle_ttl", "30"]),
        ('flyte.TaskEnvironment(name="a", secrets="key")', ["secrets"]),
        ('flyte.TaskEnvironment(name="a", colour="red")', ["colour"]),
    ],
    ids=lambda value: value[22:60] if isinstance(value, str) else "",
)
def test_definitions(user, line, texts):
    """A wrong name, resource, policy or parameter is refused where it is written, and the line is shown."""
    user.write("wrong.py", f"import flyte\n\nenv = {line}\n\n@env.task\ndef f() -> int:\n    return 1\n")
    check_message(user.flyte("run", "wrong.py", "f", code=2), "wrong.py", "line 3", *texts)


def test_files_that_cannot_be_imported(user):
    """Syntax errors, missing modules, and files without tasks are the user's to mend, and shown as such."""
    user.write("syntax.py", "import flyte\ndef f(:\n")
    check_message(user.flyte("run", "syntax.py", "f", code=2), "syntax.py", "line 2")
    user.write("needs.py", "import not_installed_anywhere\n")
    check_message(user.flyte("run", "needs.py", "f", code=2), "not_installed_anywhere", "install")
    user.write("empty.py", "x = 1\n")
    check_message(user.flyte("run", "empty.py", "f", code=2), "No tasks found in empty.py")


def test_an_input_that_cannot_be_serialised(user):
    """A value that is none of the input's type is refused before anything is created, and named."""
    user.write(
        "call.py",
        """
        import threading

        from tasks import double

        import flyte

        flyte.init_from_config()
        try:
            flyte.run(double, x=threading.Lock())
        except flyte.errors.RuntimeDataValidationError as error:
            print(error)
    """,
    )
    done = user.python("call.py")
    check_message(done, "double", "'x'", "lock", "int")


@pytest.mark.parametrize(
    ("task", "texts"),
    [
        ("wrong_output", ["RuntimeDataValidationError", "five", "int"]),
        ("unserialisable_output", ["RestrictedTypeError", "lock"]),
    ],
)
def test_outputs_that_do_not_fit(backend, workspace, task, texts):
    """An output that cannot be written as its type fails the task, once, with the output's name and value."""
    workspace.write("tasks.py", TASKS)
    done = workspace.flyte("run", "tasks.py", task, code=1)
    check_message(done, "return value", *texts)
    assert phase_of(backend.api.run(done.lines[0])) == "failed"


def test_an_impossible_package(backend, workspace, environments):
    """Packages that cannot be installed are refused before a run begins, with the installer's words."""
    workspace.write(
        "image.py",
        """
        import flyte

        image = flyte.Image.from_debian_base().with_pip_packages("pydantic==99.0")
        env = flyte.TaskEnvironment(name="env", image=image)

        @env.task(retries=3)
        def f() -> int:
            return 1
    """,
    )
    done = workspace.flyte("run", "image.py", "f", code=1)
    check_message(done, "pydantic==99.0")
    assert done.lines == []
    wanted = [*environments.glob("*/requirements.txt"), *environments.glob("*/*/requirements.txt")]
    assert not [each for each in wanted if "pydantic==99.0" in each.read_text()]


@pytest.mark.parametrize(
    ("layer", "text"),
    [('with_apt_packages("vim")', "apt"), ('with_commands(["true"])', "commands")],
)
def test_image_layers_that_need_docker(workspace, layer, text):
    """What the process engine cannot give is refused by name."""
    workspace.write(
        "image.py",
        f"""
        import flyte

        env = flyte.TaskEnvironment(name="env", image=flyte.Image.from_debian_base().{layer})

        @env.task
        def f() -> int:
            return 1
    """,
    )
    done = workspace.flyte("run", "image.py", "f", code=None)
    assert done.code in (1, 2)
    check_message(done, text)


def test_a_name_that_is_taken(backend, workspace):
    """A second run of a name is refused and the first one is shown; it stays as it was."""
    workspace.write("tasks.py", TASKS)
    arguments = ["run", "--name", "taken", "tasks.py", "double", "--x"]
    first = workspace.flyte(*arguments, 1)
    before = backend.api.run_names()
    check_message(workspace.flyte(*arguments, 2, code=2), "taken", "other inputs", "choose another name")
    check_message(workspace.flyte(*arguments, 1, code=2), "taken", first.lines[1])
    assert backend.api.run_names() == before
    assert backend.api.outputs("taken") == {"o0": 2}


def test_an_unreachable_backend(make_workspace):
    """Without a backend at the endpoint every command ends with 5 and says what to check."""
    user = make_workspace(None)
    user.write("tasks.py", TASKS)
    [port] = free_ports(1)
    for command in (["run", "tasks.py", "double", "--x", 1], ["get", "run"]):
        done = user.flyte("--endpoint", f"127.0.0.1:{port}", "--insecure", *command, code=5)
        check_message(done, f"127.0.0.1:{port}", "flyte status")


def test_wrong_configurations(make_workspace):
    """A configuration that is missing, broken or has unknown keys is named with its file."""
    user = make_workspace(None)
    user.write("tasks.py", TASKS)
    check_message(user.flyte("-c", "missing.yaml", "get", "run", code=2), "missing.yaml")
    user.write("config.yaml", "admin: [1\n")
    check_message(user.flyte("get", "run", code=2), "config.yaml")
    user.write("config.yaml", "admin:\n  endpiont: localhost:1\n")
    check_message(user.flyte("get", "run", code=2), "config.yaml", "endpiont", "endpoint")


# -- the operator ------------------------------------------------------------------------------------------


def hangar_up(data, **settings: str) -> subprocess.CompletedProcess[str]:
    """`hangar up` that is expected to end by itself."""
    ports = {"HANGAR_EMBEDDED_GRPC_PORT": "0", "HANGAR_EMBEDDED_HTTP_PORT": "0"}
    environ = clean_environ(**{"HANGAR_DATA_DIR": str(data), **ports, **settings})
    command = [str(BIN / "hangar"), "up"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def check_refused(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    """It ended with 1 and one message with all that."""
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    for text in texts:
        assert text in said, said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 3, said


def test_a_data_directory_that_cannot_be_written(place, make_workspace):
    """A data directory that cannot be made is refused with the way to choose another one."""
    file = place / "a-file"
    file.touch()
    check_refused(hangar_up(file / "data"), str(file / "data"), "--data-dir", "HANGAR_DATA_DIR")
    user = make_workspace(None)
    user.environ["HANGAR_DATA_DIR"] = str(file / "data")
    check_message(user.flyte("start", code=5), str(file / "data"), "HANGAR_DATA_DIR")
    assert file.read_bytes() == b""


def test_a_second_backend_on_one_data_directory(make_backend):
    """The second backend names the first one and its address, and the first one goes on."""
    backend = make_backend()
    assert backend.up is not None
    check_refused(hangar_up(backend.data), str(backend.up.pid), backend.grpc, str(backend.data), "flyte stop")
    assert backend.api.is_serving()


@pytest.mark.parametrize("name", ["ledger.db", "admin.db"])
def test_a_database_that_is_newer_than_the_program(make_backend, name):
    """A database of a later version is refused and not touched; with the right one everything goes on."""
    backend = make_backend(**database_settings(""))  # files, wherever the others are
    backend.stop()

    def version(text: str = "") -> str:
        with sqlite3.connect(backend.data / name) as connection:
            if text:
                connection.execute("UPDATE alembic_version SET version_num = ?", (text,))
            [found] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.close()
        return str(found)

    known = version()
    version("9999_of_the_future")
    check_refused(hangar_up(backend.data), name, "9999_of_the_future", "upgrade hangar")
    assert version() == "9999_of_the_future"
    assert not (backend.data / "backend.json").exists()
    version(known)
    backend.start()
    assert backend.api.project_ids() == ["default"]


@pytest.mark.parametrize(
    ("name", "value", "texts"),
    [
        ("HANGAR_EXECUTOR_CPUS", "4", ["HANGAR_EXECUTOR_CPUS", "HANGAR_EXECUTOR_CPU"]),
        ("HANGAR_EXECUTOR_MEMORY", "lots", ["HANGAR_EXECUTOR_MEMORY", "lots", "16Gi"]),
        ("HANGAR_EXECUTOR_GPUS", "/no/such/file", ["/no/such/file"]),
        ("HANGAR_LOG_LEVEL", "loud", ["HANGAR_LOG_LEVEL", "loud"]),
        ("HANGAR_EMBEDDED_PORT", "1", ["HANGAR_EMBEDDED_PORT", "HANGAR_EMBEDDED_GRPC_PORT"]),
    ],
)
def test_wrong_settings_of_services(place, name, value, texts):
    """A setting that is unknown or wrong is named, and nothing starts."""
    check_refused(hangar_up(place / "wrong-settings", **{name: value}), *texts)


def test_a_port_that_is_in_use(make_backend, place):
    """A port that was asked for and is taken is refused by name."""
    backend = make_backend()
    port = backend.grpc.rpartition(":")[2]
    check_refused(hangar_up(place / "port", HANGAR_EMBEDDED_GRPC_PORT=port), port, "in use")


def test_an_interrupt_detaches(backend, workspace):
    """Ctrl-C leaves the run alone, ends with 130, and says how to watch and abort it."""
    workspace.write(
        "slow.py",
        """
        import time
        from pathlib import Path

        import flyte

        env = flyte.TaskEnvironment(name="env", resources=flyte.Resources(cpu="250m", memory="256Mi"))

        @env.task
        def wait_for(path: str) -> str:
            while not Path(path).exists():
                time.sleep(0.05)
            return "released"
    """,
    )
    gate = workspace.directory / "gate"
    client = workspace.popen("run", "slow.py", "wait_for", "--path", gate)
    assert client.stdout is not None
    name = client.stdout.readline().strip()
    until(lambda: phase_of(backend.api.run(name)) == "running", "the run runs")
    client.send_signal(signal.SIGINT)
    _, err = client.communicate(timeout=30)
    assert client.returncode == 130
    assert f"flyte abort {name}" in err
    assert "Traceback" not in err
    gate.touch()
    assert backend.api.succeeded(name) == "released"
