"""`flyte run`, as a process: what it prints and how it exits."""

from __future__ import annotations

import json

import pytest


def test_prints_exactly_the_seeds_lines_and_then_the_outputs(flyte_command):
    """Name, URL, completion line; then the output; exit code 0; nothing on standard error."""
    result = flyte_command("run", "flow.py", "greet", "--name", "World")
    name, url, completion, output = result.lines
    assert url.endswith(f"/v2/runs/project/default/domain/development/{name}")
    assert completion == "Run 'a0' completed successfully."
    assert output == "Hello, World!"
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("fail", 1, "Run 'a0' failed: ValueError: bad name"),
        ("abort", 3, "was aborted: wrong data"),
        ("timeout", 4, "Run 'a0' timed out"),
    ],
)
def test_exit_code_tells_the_outcome(flyte_command, name, code, message):
    """Each outcome has its exit code and one clear message."""
    result = flyte_command("run", "flow.py", "greet", "--name", name)
    assert result.code == code
    assert len(result.lines) == 2
    assert any(message in line for line in result.err.splitlines())
    assert "site-packages" not in result.err


def test_a_failure_shows_the_users_traceback(flyte_command):
    """The user's own frames are shown, none of the SDK's."""
    result = flyte_command("run", "flow.py", "greet", "--name", "fail")
    assert 'File "flow.py", line 3, in greet' in result.err
    assert "flyte/cli" not in result.err


def test_detach_returns_at_once(flyte_command, backend):
    """Two lines, exit code 0, while the run goes on."""
    result = flyte_command("run", "--detach", "flow.py", "greet", "--name", "hang")
    assert len(result.lines) == 2
    assert result.code == 0
    assert not backend.runs[result.lines[0]].ended


def test_follow_prints_what_the_task_writes(flyte_command):
    """Lines of the log come between the URL and the completion line."""
    result = flyte_command("run", "--follow", "flow.py", "greet", "--name", "log")
    assert result.lines[2:] == ["one", "two", "Run 'a0' completed successfully."]


def test_json_is_one_document(flyte_command):
    """Scripts get everything in one JSON object, of failures too."""
    good = flyte_command("-of", "json", "run", "flow.py", "greet", "--name", "World").json
    assert (good["phase"], good["outputs"], good["error"]) == ("succeeded", {"o0": "Hello, World!"}, None)
    bad = flyte_command("run", "-of", "json-raw", "flow.py", "greet", "--name", "fail")
    assert bad.code == 1
    assert json.loads(bad.out)["error"]["code"] == "ValueError"


def test_options_reach_the_backend(flyte_command, backend):
    """Name, environment variables and labels are those of the command line."""
    result = flyte_command(
        "run", "--name", "nightly", "-e", "A=1=2", "--label", "team=data", "flow.py", "greet", "--name", "x"
    )
    assert result.code == 0
    context = backend.runs["nightly"].request.context
    assert (dict(context.env_vars), dict(context.labels)) == ({"A": "1=2"}, {"team": "data"})
    again = flyte_command("run", "--name", "nightly", "flow.py", "greet", "--name", "y")
    assert again.code == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data_path", "p"], {"data_path": "p"}),
        (["--data-path", "p", "--count", "7", "--rate=-1.5"], {"data_path": "p", "count": 7, "rate": -1.5}),
        (["--data-path", "p", "--debug"], {"debug": True}),
        (["--debug", "--data-path", "p"], {"debug": True, "data_path": "p"}),
        (["--data-path", "p", "--debug", "false"], {"debug": False}),
        (["--data-path", "p", "--debug=true", "--no-cache"], {"debug": True, "cache": False}),
        (["--data-path", "p", "--count", "-3"], {"count": -3}),
        (["--data-path", "p", "--values", "[3]"], {"values": [3]}),
        (["--data-path", "p", "--point", '{"x": 1}'], {"point": {"x": 1, "y": 0}}),
        (["--data-path", "p", "--color", "BLUE"], {"color": "blue"}),
        (["--data-path", "p"], {"count": 3, "debug": False, "cache": True, "values": [1, 2], "point": None}),
    ],
)
def test_arguments_have_the_types_of_the_signature(flyte_command, backend, arguments, expected):
    """What is typed becomes what the signature says; what is not given has its default."""
    result = flyte_command("run", "flow.py", "everything", *arguments)
    assert result.code == 0, result.err
    inputs = json.loads(backend.runs[result.lines[0]].request.inputs.inline)
    assert {name: inputs.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py", "greet"], "File nowhere.py does not exist."),
        (["flw.py", "greet"], "Did you mean flow.py?"),
        (["flow.py", "gret"], "Did you mean 'greet'?"),
        (["flow.py", "greet"], "Missing required parameter(s): --name (type: STRING)"),
        (["flow.py", "greet", "--nam", "x"], "--name"),
        (["flow.py", "everything", "--data-path", "p", "--count", "many"], "'many'"),
        (["flow.py", "everything", "--data-path", "p", "--color", "green"], "'green'"),
        (["--nonsense", "flow.py", "greet"], "--nonsense"),
        (["--detach", "--follow", "flow.py", "greet"], "--detach and --follow"),
        (["-e", "novalue", "flow.py", "greet", "--name", "x"], "KEY=VALUE"),
        (["--copy-style", "none", "flow.py", "greet", "--name", "x"], "copy_style='none'"),
        (
            ["--image", "gpu=x", "flow.py", "greet", "--name", "x"],
            "--image gpu=x: no environment here has an image",
        ),
        (["--version", "a b/c", "flow.py", "greet", "--name", "x"], "version='a b/c' is not valid"),
        (["--root-dir", "/usr", "flow.py", "greet", "--name", "x"], "not below the root directory"),
        (["--domain", "moon", "--project", "nope", "flow.py", "greet", "--name", "x"], "'nope'"),
    ],
)
def test_wrong_command_lines_say_what_to_do(flyte_command, backend, arguments, message):
    """One clear message, exit code 2 (7 for an unknown project), nothing on standard output, no traceback."""
    before = len(backend.runs)
    result = flyte_command("run", *arguments)
    assert result.code == (7 if "nope" in message else 2)
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    assert len(backend.runs) == before


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "import nonexistent_module\n",
            ["flow2.py cannot be imported", "line 1", "nonexistent_module is needed"],
        ),
        ("def broken(:\n", ["flow2.py cannot be imported", "SyntaxError", "line 1"]),
        ("def f():\n    return 1 / 0\nf()\n", ["ZeroDivisionError", "line 2, in f"]),
        ("import sys\nsys.exit(4)\n", ["calls sys.exit"]),
        ("x = 1\n", ["No tasks found in flow2.py"]),
        ("import flyte\nenv = flyte.TaskEnvironment(name='Bad Name')\n", ["'Bad Name'", "snake_case"]),
    ],
)
def test_files_that_cannot_be_loaded_are_explained(flyte_command, write, text, messages):
    """The user's frames are shown, none of the SDK's or Python's import machinery; exit code 2."""
    write("flow2.py", text)
    result = flyte_command("run", "flow2.py", "greet")
    assert result.code == 2
    for message in messages:
        assert message in result.err
    assert "importlib" not in result.err
    assert "flyte/cli" not in result.err


def test_help_lists_tasks_and_inputs(alone):
    """Help teaches: tasks of a file with their descriptions, inputs with type, default and description."""
    tasks = alone("run", "flow.py", "--help")
    assert "greet" in tasks.out
    assert "Greet somebody." in tasks.out
    inputs = alone("run", "flow.py", "everything", "--help")
    for text in ("--data-path, --data_path STRING", "[required]", "[default: 3]", "--no-cache", "INTEGER"):
        assert text in inputs.out, inputs.out
    assert "Whom to greet." in alone("run", "flow.py", "greet", "--help").out
    assert {tasks.code, inputs.code} == {0}


def test_packages_and_roots(flyte_command, backend, write):
    """A module of a package keeps its name; a root directory keeps the layout below it."""
    write("pkg/__init__.py", "")
    write("pkg/common.py", "GREETING = 'hi'\n")
    text = """
        import flyte
        from {}common import GREETING
        env = flyte.TaskEnvironment(name="env")
        @env.task
        def greet(name: str) -> str:
            return GREETING
    """
    write("pkg/flow3.py", text.format("pkg."))
    in_package = flyte_command("run", "pkg/flow3.py", "greet", "--name", "x")
    assert in_package.code == 0, in_package.err
    code = backend.runs[in_package.lines[0]].request.task.code
    assert code.module == "pkg.flow3"
    write("src/common.py", "GREETING = 'hi'\n")
    write("src/flow4.py", text.format(""))
    with_root = flyte_command("run", "--root-dir", ".", "src/flow4.py", "greet", "--name", "x")
    assert with_root.code == 0, with_root.err
    code = backend.runs[with_root.lines[0]].request.task.code
    assert (code.module, list(code.python_path)) == ("src.flow4", ["src", "."])


def test_local_runs_need_no_backend(alone):
    """`--local` runs in this process; a failure is exit code 1 with the user's frames only."""
    good = alone("run", "--local", "flow.py", "greet", "--name", "World")
    assert (good.code, good.lines[-1]) == (0, "Hello, World!")
    assert good.lines[0].startswith("Completed Local Run ")
    bad = alone("run", "--local", "flow.py", "fails", "--x", "3")
    assert bad.code == 1
    assert "✕ Execution failed: ValueError: 3 is too small" in bad.err
    assert "flyte/_local" not in bad.err


def test_what_has_no_effect_on_local_runs_is_said(alone):
    """Images and ways of packing are for backends; a version is that of the context."""
    options = ("--image", "python:3.12", "--copy-style", "all", "--version", "v7")
    run = alone("run", "--local", *options, "flow.py", "greet", "--name", "World")
    assert (run.code, run.lines[-1]) == (0, "Hello, World!")
    assert "--image has no effect on a local run" in run.err
    assert "--copy-style has no effect on a local run" in run.err
    assert "--version" not in run.err


def test_an_unreachable_backend_is_exit_code_5(alone):
    """The message names the endpoint and what to do."""
    result = alone("--endpoint", "127.0.0.1:1", "--insecure", "run", "flow.py", "greet", "--name", "x")
    assert result.code == 5
    assert "No backend answers at 127.0.0.1:1" in result.err
    assert "Traceback" not in result.err
