"""The backend of one laptop: it starts by itself, says so, and stops."""

import json
import re

import pytest

from integration_tests.backend import share_environments
from integration_tests.polling import until
from integration_tests.processes import lives, of_directory

HELLO = """
    import flyte

    env = flyte.TaskEnvironment(name="env")

    @env.task
    def hello(name: str) -> str:
        return f"Hello, {name}!"
"""


@pytest.fixture
def laptop(make_workspace, place, environments):
    """A user without any configuration, and with a data directory that has nothing in it."""
    user = make_workspace(None)
    data = place / "laptop"
    share_environments(environments, data / "executor" / "environments")
    user.environ["HANGAR_DATA_DIR"] = str(data)
    user.environ["HANGAR_EXECUTOR_ORPHAN_TTL"] = "5"
    user.write("hello.py", HELLO)
    yield user
    user.flyte("stop")
    until(lambda: not of_directory(data), "nothing is left of the backend", 30)


def test_flyte_run_starts_the_backend(laptop):
    """Without a configuration `flyte run` starts the backend, says how to stop it, and uses it again."""
    assert "does not run" in laptop.flyte("status", code=5).out
    first = laptop.flyte("run", "hello.py", "hello", "--name", "World")
    assert first.lines[-1] == "Hello, World!"
    assert re.search(
        r"Embedded backend ready at 127\.0\.0\.1:\d+ in [\d.]+ s .*Stop it: flyte stop", first.err
    )
    second = laptop.flyte("run", "hello.py", "hello", "--name", "again")
    assert (second.lines[-1], second.err) == ("Hello, again!", "image of env: cached\n")
    status = json.loads(laptop.flyte("status", "-of", "json").out)
    assert status["running"] is True
    assert lives(status["pid"])
    assert "runs already" in laptop.flyte("start").out
    assert str(status["pid"]) in laptop.flyte("stop").out
    assert not lives(status["pid"])
    assert "does not run" in laptop.flyte("stop").out


def test_runs_are_kept_when_the_backend_is_stopped(laptop):
    """What ran before the stop is there after the next start: state, inputs, outputs."""
    name = laptop.flyte("run", "hello.py", "hello", "--name", "World").lines[0]
    laptop.flyte("stop")
    laptop.flyte("start")
    assert json.loads(laptop.flyte("-of", "json", "get", "run", name).out)["phase"] == "succeeded"
    shown = json.loads(laptop.flyte("-of", "json", "get", "io", name).out)
    assert shown == {"inputs": {"name": "World"}, "outputs": {"o0": "Hello, World!"}}


def test_local_runs_need_no_backend(laptop):
    """`flyte run --local` and flyte.run without a configuration run in this process."""
    done = laptop.flyte("run", "--local", "hello.py", "hello", "--name", "World")
    assert done.lines[-1] == "Hello, World!"
    laptop.write(
        "plain.py",
        """
        from hello import hello

        import flyte

        print(flyte.run(hello, name="World"))
    """,
    )
    assert laptop.python("plain.py").out == "Hello, World!\n"
    assert "does not run" in laptop.flyte("status", code=5).out
