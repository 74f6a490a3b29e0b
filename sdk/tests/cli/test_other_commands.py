"""Every other command, as a process."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def run_name(flyte_command):
    """A run that has succeeded."""
    return flyte_command("run", "flow.py", "greet", "--name", "log").lines[0]


@pytest.fixture
def hanging(flyte_command):
    """A run that goes on."""
    return flyte_command("run", "--detach", "flow.py", "greet", "--name", "hang").lines[0]


def test_help_teaches(alone):
    """The top-level help names the commands and shows examples."""
    result = alone("--help")
    assert result.code == 0
    for text in (
        "run",
        "get",
        "abort",
        "create",
        "start",
        "stop",
        "status",
        "Examples:",
        "flyte run hello.py greet",
    ):
        assert text in result.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["get"],
        ["get", "run"],
        ["get", "logs"],
        ["abort"],
        ["abort", "run"],
        ["create", "config"],
        ["update", "project"],
    ],
)
def test_every_command_has_help(alone, arguments):
    """--help works everywhere, without a backend."""
    result = alone(*arguments, "--help")
    assert result.code == 0
    assert "Usage: flyte" in result.out


def test_version(alone):
    """The version is that of the SDK."""
    assert alone("--version").out == "Flyte SDK version: 0.1.0\n"


def test_unknown_commands_suggest_the_nearest(alone):
    """A typo is exit code 2 with a suggestion."""
    result = alone("gett", "run")
    assert result.code == 2
    assert "Did you mean 'get'?" in result.err
    assert "Did you mean 'action'?" in alone("get", "actoin").err


def test_get_run_lists_and_shows(flyte_command, run_name):
    """Lists have a line per run; a name gives one run; JSON has everything."""
    assert run_name in flyte_command("get", "run").out
    assert "succeeded" in flyte_command("get", "run", run_name).out
    [newest] = flyte_command("-of", "json", "get", "run", "--limit", "1").json
    assert (newest["name"], newest["phase"], newest["task"]) == (run_name, "succeeded", "my_env.greet")
    assert flyte_command("get", "run", run_name, "-of", "json").json["actions"] == 1
    simple = flyte_command("get", "run", "-of", "table-simple", "--limit", "1").lines
    assert simple[0].split()[:3] == ["NAME", "TASK", "PHASE"]
    assert len(simple) == 2


def test_get_run_filters(flyte_command, run_name, hanging):
    """Filters by phase and task; an unknown phase is a usage error."""
    running = flyte_command("-of", "json", "get", "run", "--in-phase", "running").json
    assert {run["phase"] for run in running} == {"running"}
    assert hanging in {run["name"] for run in running}
    assert flyte_command("-of", "json", "get", "run", "--task-name", "no.such").json == []
    assert flyte_command("get", "run", "--in-phase", "sleeping").code == 2
    assert (
        flyte_command("get", "run", "--sort-by", "updated_at", "asc", "--updated-after", "2026-01-01").code
        == 0
    )
    assert flyte_command("get", "run", "--sort-by", "name", "asc").code == 2


def test_get_action(flyte_command, run_name):
    """Actions of a run, and one with its attempts."""
    [row] = flyte_command("-of", "json", "get", "action", run_name).json
    assert (row["action"], row["phase"]) == ("a0", "succeeded")
    one = flyte_command("-of", "json", "get", "action", run_name, "a0").json
    assert one["attempts"][0]["node"] == "laptop"
    assert "on laptop" in flyte_command("get", "action", run_name, "a0").out


def test_get_io(flyte_command):
    """Inputs and outputs, both or one of them."""
    name = flyte_command("run", "flow.py", "greet", "--name", "World").lines[0]
    assert flyte_command("-of", "json", "get", "io", name).json == {
        "inputs": {"name": "World"},
        "outputs": {"o0": "Hello, World!"},
    }
    assert flyte_command("get", "io", name, "-o").lines == ["Outputs", "  o0: Hello, World!"]


def test_get_report(flyte_command, run_name, work):
    """Get report writes the document to a file, or to standard output; a run without one is exit code 7."""
    result = flyte_command("get", "report", run_name)
    assert result.out.strip() == str(work / f"{run_name}-a0.html")
    assert (work / f"{run_name}-a0.html").read_text() == "<p>é</p>"
    flyte_command("get", "report", run_name, "a0", "-o", "r.html", "-of", "json")
    assert (work / "r.html").read_text() == "<p>é</p>"
    assert flyte_command("get", "report", run_name, "-o", "-").out == "<p>é</p>"
    missing = flyte_command("get", "report", run_name, "-a", "1")
    assert (missing.code, missing.err.strip()) == (7, "Error: no report")
    assert flyte_command("get", "report", run_name, "-o", "no/r.html").code == 1
    assert flyte_command("get", "report", run_name, "-o", "-", "--open").code == 2


def test_get_logs(flyte_command, run_name):
    """All lines, the last ones, with times, as JSON."""
    assert flyte_command("get", "logs", run_name).lines == ["one", "two"]
    assert flyte_command("get", "logs", run_name, "-l", "1").lines == ["two"]
    assert flyte_command("get", "logs", run_name, "--follow").lines == ["one", "two"]
    assert flyte_command("get", "logs", run_name, "--show-ts").lines[0].endswith(" one")
    assert flyte_command("get", "logs", run_name, "--pretty", "--filter-system").lines[1].endswith(" │ two")
    raw = flyte_command("get", "logs", run_name, "-of", "json-raw").lines
    assert [json.loads(line)["text"] for line in raw] == ["one", "two"]


@pytest.mark.parametrize(
    "arguments",
    [["get", "run"], ["get", "action"], ["get", "io"], ["get", "logs"], ["abort"], ["abort", "run"]],
)
def test_unknown_runs_are_exit_code_7(flyte_command, arguments):
    """What does not exist is named."""
    result = flyte_command(*arguments, "nope")
    assert result.code == 7
    assert "'nope' does not exist" in result.err


@pytest.mark.parametrize("spelling", [["abort"], ["abort", "run"]])
def test_abort_a_run(flyte_command, backend, hanging, spelling):
    """Both spellings abort, with a reason; a run that has ended is left alone."""
    result = flyte_command(*spelling, hanging, "--reason", "enough")
    assert result.lines == [f"Run '{hanging}' has been aborted."]
    assert backend.runs[hanging].message.abort_reason == "enough"
    assert "had ended already: aborted" in flyte_command(*spelling, hanging).out


@pytest.mark.parametrize("spelling", [["abort"], ["abort", "action"]])
def test_abort_an_action(flyte_command, backend, hanging, spelling):
    """Both spellings abort one action, by default with the reason that says where it came from."""
    result = flyte_command(*spelling, hanging, "a0")
    assert result.lines == [f"Action 'a0' of run '{hanging}' has been aborted."]
    assert backend.aborts[-1] == "Manually aborted from the CLI"


def test_projects(flyte_command):
    """Projects are created, listed, changed and archived."""
    created = flyte_command("create", "project", "--id", "demo", "--name", "Demo", "-l", "team=data")
    assert created.lines == ["Project demo created successfully!"]
    assert flyte_command("create", "project", "--id", "demo").code == 2
    assert flyte_command("update", "project", "demo", "--name", "The demo", "--archive").code == 0
    assert "demo" not in {project["id"] for project in flyte_command("-of", "json", "get", "project").json}
    assert flyte_command("-of", "json", "get", "project", "demo").json["name"] == "The demo"
    assert flyte_command("update", "project", "demo").code == 2
    assert flyte_command("get", "project", "nope").code == 7


def test_deployed_tasks(flyte_command, work):
    """A file is deployed; its tasks are listed, shown in a version, and run by name with options of their types."""
    dry = flyte_command("-of", "json", "deploy", "--dry-run", "flow.py", "env").json
    assert flyte_command("-of", "json", "get", "task").json == []
    done = flyte_command("deploy", "flow.py", "env")
    assert done.code == 0, done.err
    assert "my_env.greet" in done.out
    version = dry["version"]
    assert done.lines[-1].endswith(f"as version {version} (3 changed)")
    tasks = {task["name"]: task for task in flyte_command("-of", "json", "get", "task").json}
    assert tasks["my_env.greet"]["inputs"] == {"name": "STRING"}
    [only] = flyte_command("-of", "json", "get", "task", "my_env.greet").json
    assert flyte_command("-of", "json", "get", "task", "my_env.greet", version).json == only
    assert flyte_command("get", "task", "no.such").code == 7
    assert flyte_command("get", "task", "my_env.greet", "no").code == 7
    assert flyte_command("get", "task", "--entrypoint").out == ""
    listed = flyte_command("run", "deployed-task")
    assert "my_env.everything" in listed.out
    (work / "flow.py").unlink()
    ran = flyte_command("run", "deployed-task", f"my_env.greet:{version}", "--name", "World")
    assert (ran.code, ran.lines[-1]) == (0, "Hello, World!")
    wrong = flyte_command("run", "deployed-task", "my_env.everything", "--data-path", "x", "--count", "many")
    assert wrong.code == 2
    assert "expected INTEGER" in wrong.err
    point = flyte_command(
        "run",
        "deployed-task",
        "my_env.everything",
        "--data-path",
        "x",
        "--point",
        '{"x": 1}',
        "--color",
        "RED",
    )
    assert point.code == 0, point.err
    missing = flyte_command("run", "deployed-task", "my_env.greet")
    assert "Missing required parameter(s): --name (type: STRING)" in missing.err
    assert flyte_command("run", "deployed-task", "my_env.no", "--x", "1").code == 7
    assert flyte_command("run", "--local", "deployed-task", "my_env.greet").code == 2


def test_deploy_finds_environments(flyte_command, write):
    """By variable, all of a file, or all below a directory; what cannot be loaded is named or left out."""
    write("two.py", "import flyte\none = flyte.TaskEnvironment(name='one')\ntwo = flyte.TaskEnvironment(name='two')\n"
          "@one.task\ndef f() -> int: return 1\n@two.task\ndef g() -> int: return 2\n")  # fmt: skip
    write("below/good.py", "import flyte\nenv = flyte.TaskEnvironment(name='good')\n"
          "@env.task\ndef f() -> int: return 1\n")  # fmt: skip
    write("below/bad.py", "import no_such_module\n")
    several = flyte_command("deploy", "--dry-run", "two.py")
    assert (several.code, "one, two" in several.err) == (2, True)
    unknown = flyte_command("deploy", "--dry-run", "two.py", "on")
    assert "Did you mean 'one'" in unknown.err
    everything = flyte_command("-of", "json", "deploy", "--dry-run", "--all", "two.py").json
    assert [row["name"] for row in everything["entities"]] == ["one.f", "two.g"]
    refused = flyte_command("deploy", "--dry-run", "--recursive", "below")
    assert (refused.code, "no_such_module" in refused.err) == (2, True)
    found = flyte_command("-of", "json", "deploy", "--dry-run", "-r", "-i", "below")
    assert [row["name"] for row in found.json["entities"]] == ["good.f"]
    assert "no_such_module" in found.err
    assert flyte_command("deploy", "nothing.py", "env").code == 2
    assert flyte_command("deploy", "--copy-style", "none", "two.py", "one").code == 2


def test_create_config_and_use_it(alone, work, backend):
    """The file is written, shown, used, and not overwritten without being asked."""
    made = alone("create", "config", "--endpoint", backend.endpoint, "--insecure", "--project", "default")
    assert made.lines == ["Config file written to .flyte/config.yaml"]
    shown = alone("-of", "json", "get", "config").json
    assert (shown["endpoint"], shown["insecure"]) == (backend.endpoint, True)
    assert shown["file"] == str(work / ".flyte" / "config.yaml")
    assert alone("run", "flow.py", "greet", "--name", "x").code == 0
    declined = alone("create", "config", "--endpoint", "other:1", stdin="n\n")
    assert "Will not overwrite the existing config file at .flyte/config.yaml" in declined.out
    forced = alone("create", "config", "--endpoint", "other:1", "--builder", "local", "--force")
    assert forced.code == 0
    assert "other:1" in (work / ".flyte" / "config.yaml").read_text()
    assert alone("-of", "json", "get", "config").json["image_builder"] == "local"


def test_local_runs_are_recorded_and_shown(alone, work):
    """`--local-persistence` keeps local runs; `get run`, `action`, `io` and `logs` show them with `--local`."""
    assert alone("create", "config", "--local-persistence").code == 0
    assert alone("-of", "json", "get", "config").json["local_persistence"] is True
    ran = ("run", "--local", "--label", "team=data", "--name")
    assert alone(*ran, "good", "flow.py", "greet", "--name", "x").code == 0
    assert alone("run", "--local", "--name", "bad", "flow.py", "fails", "--x", "1").code == 1
    listed = alone("get", "run", "--local", "--in-phase", "failed")
    assert ("bad" in listed.out, "good" in listed.out) == (True, False)
    shown = alone("-of", "json", "get", "run", "--local", "good").json
    assert (shown["phase"], shown["labels"], shown["actions"]) == ("succeeded", {"team": "data"}, 1)
    action = alone("get", "action", "--local", "bad", "a0").out
    assert "ValueError: 1 is too small" in action
    assert 'raise ValueError(f"{x} is too small")' in action
    assert alone("-of", "json", "get", "io", "--local", "good").json == {
        "inputs": {"name": "x"},
        "outputs": {"o0": "Hello, x!"},
    }
    assert alone("get", "logs", "--local", "good").out == ""
    assert alone("get", "run", "--local", "none").code == 7
    refused = alone("get", "run", "--local", "--project", "p")
    assert (refused.code, "--project has no effect with --local" in refused.err) == (2, True)


def test_create_config_refuses_what_is_wrong(alone, work):
    """A missing or wrong endpoint and what is not built are usage errors that write nothing."""
    assert alone("create", "config").code == 2
    assert alone("create", "config", "--endpoint", "a b").code == 2
    assert (
        "--auth-type is not available"
        in alone("create", "config", "--endpoint", "x", "--auth-type", "Pkce").err
    )
    assert not (work / ".flyte").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--org", "x", "get", "run"], "--org is not available"),
        (["--auth-type", "Pkce", "get", "run"], "--auth-type is not available"),
        (
            ["get", "secret"],
            "flyte get secret is not available in this version: pass the value with env_vars=",
        ),
        (["start", "devbox"], "flyte start devbox is not available in this version: `flyte start`"),
        (["serve", "app.py", "env"], "flyte serve is not available in this version: apps are not built yet"),
        (["get", "run", "--only-mine"], "--only-mine is not available"),
        (["run", "--version", "1", "python-script", "flow.py"], "--version is not available for scripts"),
        (["run", "--version", "1", "deployed-task", "a.b"], "--version has no effect on a deployed task"),
    ],
)
def test_what_is_not_available_is_refused_by_name(alone, arguments, words):
    """A documented option without its feature, or where it means nothing, says so; exit code 2."""
    result = alone(*arguments)
    assert (result.code, words in result.err) == (2, True), result.err


def test_a_wrong_configuration_is_named(alone, write):
    """File, key and value are in the message; exit code 2."""
    write("config.yaml", "admin: {endpont: x}\n")
    result = alone("get", "run")
    assert result.code == 2
    assert "unknown key admin.endpont" in result.err
    assert "Did you mean 'endpoint'?" in result.err
    missing = alone("-c", "nowhere.yaml", "get", "run")
    assert missing.code == 2
    assert "nowhere.yaml does not exist" in missing.err


def test_without_backend_commands_say_how_to_start_one(alone):
    """Commands other than run start nothing; exit code 5."""
    result = alone("get", "run")
    assert result.code == 5
    assert "flyte start" in result.err
    status = alone("status")
    assert status.code == 5
    assert "does not run" in status.out
    assert alone("-of", "json", "status").json["running"] is False
    stop = alone("stop")
    assert (stop.code, stop.out) == (0, "The embedded backend does not run.\n")
