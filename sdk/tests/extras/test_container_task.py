"""Container tasks: how they are described, what they become, and how local mode runs them."""

from __future__ import annotations

import asyncio
import pickle
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

import flyte
from flyte._local import run_local
from flyte.extras import ContainerTask


@dataclass
class Point:
    """A structure."""

    x: int
    label: str = "p"


def shell(name: str, script: str, **settings: Any) -> ContainerTask:
    """A task that is a script of the smallest image."""
    return ContainerTask(name=name, image="busybox:latest", command=["sh", "-c", script], **settings)


greeting = shell(
    "greeting",
    "echo Hello, {{.inputs.name}} > /out/text; cat /in/point > /out/point; echo $SEEN; id -u; touch /x 2>&1 || true",
    inputs={"name": str, "point": (Point, Point(1))},
    outputs={"text": str, "point": Point},
    input_data_dir="/in",
    output_data_dir="/out",
    env_vars={"SEEN": "this"},
)
exits = shell("exits", "echo last words; exit 3", retries=1)
sleeps = shell("sleeps", "sleep 600", timeout=0.5)
missing = shell("missing", "true", outputs={"x": int})
programs = flyte.TaskEnvironment.from_task("programs", greeting, exits, sleeps, missing)
env = flyte.TaskEnvironment("container_callers", depends_on=[programs])


@env.task
async def caller(name: str) -> str:
    """Calls one as a child."""
    text, point = await greeting(name=name)
    return f"{text} {point.x}"


def test_the_spec_says_what_runs():
    """Words, directories and files of the program; an address of an image is used as it is."""
    spec = greeting.to_spec()
    assert (spec["name"], spec["environment"], spec["is_async"]) == ("programs.greeting", "programs", False)
    assert spec["container"] == {
        "image": "busybox:latest",
        "command": greeting.command,
        "arguments": [],
        "input_directory": "/in",
        "output_directory": "/out",
        "output_files": ["text", "point"],
    }
    assert spec["image"] == {"digest": "", "definition_json": ""}
    assert [each["name"] for each in spec["interface"]["inputs"]] == ["name", "point"]
    assert [each["name"] for each in spec["interface"]["outputs"]] == ["o0", "o1"]
    assert [each["required"] for each in spec["interface"]["inputs"]] == [True, False]


def test_an_image_with_layers_is_made_by_the_platform():
    """The spec has its definition, and no address."""
    image = flyte.Image.from_base("python:3.12-slim").with_pip_packages("numpy")
    task = ContainerTask(name="layered", image=image, command=["true"])
    assert (task.to_container()["image"], task.image) == ("", image)
    assert ContainerTask(name="plain", image=flyte.Image.from_base("a:1")).to_container()["image"] == "a:1"


def test_it_needs_an_environment_and_keeps_it():
    """Without one it is refused, with what to do; the first environment takes the task itself, a second one a copy."""
    task = shell("alone", "true")
    with pytest.raises(ValueError, match=r"from_task\(\"my_env\", alone\)"):
        task.to_spec()
    one = flyte.TaskEnvironment.from_task("one", task)
    two = flyte.TaskEnvironment.from_task("two", task)
    assert (task.name, one.tasks["one.alone"]) == ("one.alone", task)
    assert two.tasks["two.alone"] is not task
    reusable = flyte.TaskEnvironment("pool", reusable=flyte.ReusePolicy())
    with pytest.raises(ValueError, match="reusable"):
        task.in_environment(reusable)


def test_variants_and_pickles_stay_container_tasks():
    """`override` leaves the original alone, and a pickle names the task of its module."""
    other = greeting.override(retries=4, env_vars={"SEEN": "that"})
    assert (other.to_spec()["retry"]["count"], greeting.to_spec()["retry"]["count"]) == (4, 0)
    assert other.to_spec()["container"] == greeting.to_spec()["container"]
    with pytest.raises(ValueError, match="cannot be reusable"):
        greeting.override(reusable=flyte.ReusePolicy())
    sys.modules.setdefault(__name__, sys.modules[greeting.func.__module__])
    assert pickle.loads(pickle.dumps(greeting)) is greeting


def test_a_result_is_kept_for_equal_programs():
    """With cache="auto" another command or image is another version, and an equal one is not."""

    def version(command: str, image: str = "a:1") -> str:
        task = ContainerTask(name="kept", image=image, command=[command], cache="auto")
        return str(task.cache.version_override)

    assert version("x") == version("x")
    assert len({version("x"), version("y"), version("x", "a:2")}) == 3


def test_it_waits_where_it_is_told():
    """Queue and interruptible are those of the task, else those of its environment."""
    task = ContainerTask(name="placed", image="a:1", queue="gpu", interruptible=True, max_inline_io=7)
    assert (task.queue, task.interruptible, task.max_inline_io_bytes) == ("gpu", True, 7)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"name": "two words"}, ValueError, "letters, digits"),
        ({"image": 3}, TypeError, "image must be"),
        ({"command": "echo x"}, TypeError, r"command must be a list"),
        ({"arguments": ["x", 1]}, TypeError, "arguments"),
        ({"command": ["{{.inputs.y}}"]}, ValueError, "'y', which is no input"),
        ({"inputs": {"a b": int}}, ValueError, "'a b'"),
        ({"inputs": {"a": (int, 1), "b": int}}, ValueError, "no default"),
        ({"inputs": {"a": Any}}, TypeError, "'a' has type"),
        ({"outputs": {"a": complex}}, TypeError, "'a' has type complex"),
        ({"input_data_dir": "here"}, ValueError, "input_data_dir must be an absolute path"),
        ({"output_data_dir": "/var/../x"}, ValueError, "output_data_dir"),
        ({"input_data_dir": "/data", "output_data_dir": "/data/out"}, ValueError, "apart"),
        ({"pod_template": object()}, flyte.errors.FeatureNotAvailableError, "pod_template"),
    ],
)
def test_a_wrong_description_is_refused(settings: dict[str, Any], error: type[Exception], words: str):
    """The message names the field and says what is right."""
    with pytest.raises(error, match=words):
        ContainerTask(**{"name": "x", "image": "a:1", **settings})


def test_local_mode_runs_it(docker_url: str, capfd: pytest.CaptureFixture[str]):
    """As a child and by itself: templates, files, defaults, variables, a user without rights."""
    assert run_local(caller, "Ada").outputs()[0] == "Hello, Ada 1"
    said = capfd.readouterr().out
    assert said.split() == ["this", "65532", "touch:", "/x:", "Read-only", "file", "system"]
    assert asyncio.run(greeting("Bob", point=Point(2))) == ("Hello, Bob", Point(2))


def test_local_failures_say_what_was_wrong(docker_url: str):
    """Exit codes with the last words after the retries, files that are missing, time limits."""
    with pytest.raises(
        flyte.errors.RuntimeUserError, match="exited with code 3; its last words: last words"
    ) as caught:
        run_local(exits).outputs()
    assert caught.value.code == "ContainerExited"
    with pytest.raises(flyte.errors.RuntimeUserError, match="no file /var/outputs/x"):
        run_local(missing).outputs()
    with pytest.raises(flyte.errors.TaskTimeoutError):
        run_local(sleeps).outputs()


def test_without_docker_local_mode_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """The error says that there is no `docker` and what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(flyte.errors.NonRecoverableError, match="no `docker` command here"):
        asyncio.run(greeting("Bob"))
    layered = ContainerTask(name="l", image=flyte.Image.from_base("a:1").with_env_vars({"A": "b"}))
    with pytest.raises(flyte.errors.NonRecoverableError, match="its image has layers"):
        asyncio.run(layered())


def test_times_and_durations_have_their_types():
    """The function has the declared interface, for type checks and forms."""
    task = shell("typed", "true", inputs={"at": datetime}, outputs={"took": timedelta})
    assert [each.annotation for each in (*task.interface.inputs, *task.interface.outputs)] == [
        datetime,
        timedelta,
    ]
