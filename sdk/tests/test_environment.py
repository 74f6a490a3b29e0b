"""Task environments."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

import flyte
from flyte._environment import walk

A10G = flyte.GPUAccelerator.NVIDIA_A10G


@pytest.mark.parametrize("name", ["my_env", "a", "my-env-2", "a_b-c", "0"])
def test_names_in_snake_and_kebab_case_are_valid(name):
    """Lower-case words joined by single separators."""
    assert flyte.TaskEnvironment(name).name == name


@pytest.mark.parametrize("name", ["", "My_env", "my env", "_a", "a_", "a__b", "a.b", "a--b", "ä", "a\n"])
def test_other_names_are_refused(name):
    """The message shows the name and the rule."""
    with pytest.raises(ValueError, match="must be in snake_case or kebab-case"):
        flyte.TaskEnvironment(name)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": 3}, TypeError, "name of an environment must be a string, not 3"),
        (
            {"env_vars": {"A": 1}},
            TypeError,
            r"env_vars must be a dict of strings: 'A' has the value 1; write str",
        ),
        ({"env_vars": ["A=1"]}, TypeError, "env_vars must be a dict of strings"),
        ({"env_vars": {"A=B": "1"}}, ValueError, "no valid environment variable"),
        ({"resources": {"cpu": 1}}, TypeError, "resources must be flyte.Resources"),
        ({"limits": "big"}, TypeError, "resources must be flyte.Resources"),
        ({"image": 3}, TypeError, "image must be a flyte.Image, an address or"),
        ({"image": "not an address"}, ValueError, "no address of an image"),
        (
            {"include": "data.yaml"},
            TypeError,
            r"include must be a tuple of paths.*write include=\('data.yaml',\)",
        ),
        ({"include": (3,)}, TypeError, "include must be a tuple of strings"),
        ({"reusable": 2}, TypeError, "reusable must be flyte.ReusePolicy"),
        ({"reusable": "off"}, TypeError, "reusable must be flyte.ReusePolicy"),
        ({"depends_on": ["other"]}, TypeError, "can depend on environments only, not on 'other'"),
        ({"description": 3}, TypeError, "description of an environment must be a string"),
        ({"cache": "sometimes"}, ValueError, "cache='sometimes' must be"),
        ({"plugin_config": 1, "reusable": flyte.ReusePolicy()}, ValueError, "exclude each other"),
        ({"resources": flyte.Resources(cpu=1), "limits": flyte.Resources(cpu=2)}, ValueError, "same setting"),
        ({"accelerator": A10G}, ValueError, "needs a number of GPUs"),
        ({"resources": flyte.Resources(gpu="T4:1"), "accelerator": A10G}, ValueError, "name different types"),
        ({"queue": "Big Queue"}, ValueError, "queue='Big Queue' must be"),
        ({"queue": 5}, TypeError, "queue must be the name of a queue"),
        ({"interruptible": "yes"}, TypeError, "interruptible must be True or False"),
        ({"colour": "red"}, TypeError, "unexpected keyword argument 'colour'"),
    ],
)
def test_wrong_values_name_field_value_and_fix(arguments, error, message):
    """Every refusal says what was wrong."""
    with pytest.raises(error, match=message):
        flyte.TaskEnvironment(**{"name": "e", **arguments})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pod_template", "gpu-pod"),
        ("secrets", "key"),
        ("plugin_config", object()),
    ],
)
def test_parameters_of_later_versions_are_refused_by_name(name, value):
    """A documented parameter that is not built yet is never accepted and ignored."""
    with pytest.raises(flyte.errors.FeatureNotAvailableError, match=rf"TaskEnvironment 'e'\({name}=.*: .+"):
        flyte.TaskEnvironment("e", **{name: value})


def test_documented_defaults_are_accepted():
    """Writing a default out is the same as leaving it out."""
    env = flyte.TaskEnvironment(
        "e",
        depends_on=[],
        pod_template=None,
        description=None,
        secrets=None,
        env_vars=None,
        resources=None,
        interruptible=False,
        image="auto",
        include=(),
        cache="disable",
        reusable=None,
        plugin_config=None,
        queue=None,
    )
    assert (env.env_vars, env.resources, env.include, env.tasks) == ({}, flyte.Resources(), (), {})


@pytest.mark.parametrize(
    "arguments",
    [
        {"limits": flyte.Resources(cpu="8", mem="32Gi", gpu="1"), "accelerator": A10G},
        {"resources": flyte.Resources(cpu=8, memory="32Gi", gpu="A10G:1")},
        {"resources": flyte.Resources(cpu=8, memory="32Gi", gpu=flyte.GPU("A10G", 1))},
        {
            "resources": flyte.Resources(cpu=8, memory="32Gi", gpu=1),
            "limits": flyte.Resources(cpu="8", mem="32Gi", gpu="1"),
            "accelerator": "A10G",
        },
    ],
)
def test_every_spelling_of_the_hardware_means_the_same(arguments):
    """`limits` is `resources`; `accelerator` types a count."""
    assert flyte.TaskEnvironment("e", **arguments).resources.to_spec() == {
        "cpu_millis": 8000,
        "memory_bytes": 32 * 1024**3,
        "gpu": {"model": "A10G", "count": 1, "partition": ""},
    }


def test_the_default_image_is_debian_with_the_running_python():
    """Without an image tasks get the Python version that declared them."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for image in ("auto", None):
        assert f'"python":"{version}"' in flyte.TaskEnvironment("e", image=image).image.definition_json
    assert flyte.TaskEnvironment("e", image="python:3.12").image == flyte.Image.from_base("python:3.12")


def test_long_descriptions_are_cut():
    """At most 255 characters are kept."""
    assert len(flyte.TaskEnvironment("e", description="x" * 300).description) == 255


def test_the_declaring_file_anchors_included_files():
    """`include` is relative to the file that made the environment."""
    env = flyte.TaskEnvironment("e", include=["data.yaml", "templates/"])
    assert env.include == ("data.yaml", "templates/")
    assert Path(env.declared_in) == Path(__file__)


def test_tasks_are_listed_by_qualified_name():
    """Environment, a dot, function."""
    env = flyte.TaskEnvironment("e")

    @env.task
    def one() -> None: ...

    @env.task(short_name="shown")
    async def two() -> None: ...

    assert env.tasks == {"e.one": one, "e.two": two}
    assert (one.short_name, two.short_name) == ("one", "shown")


def test_a_task_may_be_defined_again_but_not_in_two_modules():
    """A notebook runs a cell twice; two modules that define one name would hide each other."""
    env = flyte.TaskEnvironment("e")

    def again() -> None: ...

    env.task(again)
    second = env.task(again)
    assert env.tasks == {"e.again": second}
    with pytest.raises(
        ValueError, match=r"has a task 'again' already, in module .*: rename the one in elsewhere"
    ):
        env.task(types.FunctionType(again.__code__, {"__name__": "elsewhere"}, "again"))


def test_dependencies_ignore_repeats_and_refuse_themselves():
    """Known environments are kept once, in order."""
    one, two = flyte.TaskEnvironment("one"), flyte.TaskEnvironment("two")
    env = flyte.TaskEnvironment("e", depends_on=[one])
    env.add_dependency(two, one)
    assert env.depends_on == [one, two]
    with pytest.raises(ValueError, match="'e' cannot depend on itself"):
        env.add_dependency(env)
    with pytest.raises(TypeError, match=r"depends_on must be a list: depends_on=\[one\]"):
        flyte.TaskEnvironment("f", depends_on=one)


def test_walking_follows_dependencies_and_cycles_end():
    """Each environment comes once, however it is reached."""
    a, b, c = (flyte.TaskEnvironment(name) for name in "abc")
    a.add_dependency(b, c)
    b.add_dependency(c, a)
    c.add_dependency(a)
    assert walk([a]) == [a, b, c]
    assert walk([]) == []


def test_two_environments_of_one_name_are_refused():
    """The message says where both are."""
    env = flyte.TaskEnvironment("a", depends_on=[flyte.TaskEnvironment("b"), flyte.TaskEnvironment("b")])
    with pytest.raises(ValueError, match=r"Duplicate environment name 'b': in .*test_environment.py"):
        walk([env])


def test_a_file_imported_under_two_names_is_explained():
    """The message hints at the root directory when one file was imported twice."""
    one, two = flyte.TaskEnvironment("b"), flyte.TaskEnvironment("b")
    one.declared_module, two.declared_module = "b", "src.b"
    with pytest.raises(ValueError, match=r"imported as b and as src.b.*--root-dir src"):
        walk([one, two])


def test_clones_share_settings_but_no_tasks():
    """What is not named stays as it was."""
    other = flyte.TaskEnvironment("other")
    env = flyte.TaskEnvironment(
        "e",
        image="python:3.12",
        resources=flyte.Resources(cpu=1),
        env_vars={"A": "1"},
        depends_on=[other],
        reusable=flyte.ReusePolicy(),
        include=("a.txt",),
    )

    @env.task
    def one() -> None: ...

    clone = env.clone_with("clone", resources=flyte.Resources(cpu=2), reusable=None)
    assert (clone.name, clone.resources.cpu, clone.reusable, clone.tasks) == ("clone", 2, None, {})
    assert (clone.image, clone.env_vars, clone.depends_on, clone.include) == (
        env.image,
        {"A": "1"},
        [other],
        ("a.txt",),
    )


def test_clones_refuse_unknown_and_unavailable_settings():
    """As the constructor does."""
    env = flyte.TaskEnvironment("e")
    with pytest.raises(TypeError, match="unexpected keyword argument 'queue': it takes image, resources"):
        env.clone_with("c", queue="q")
    with pytest.raises(flyte.errors.FeatureNotAvailableError, match="secrets"):
        env.clone_with("c", secrets="key")


def test_an_environment_of_existing_tasks_takes_over_their_settings():
    """Tasks are named after the new environment; the old ones stay."""
    env = flyte.TaskEnvironment("e", resources=flyte.Resources(cpu=3))

    @env.task
    def one(x: int) -> int:
        return x

    nightly = flyte.TaskEnvironment.from_task("nightly", one)
    assert nightly.resources == env.resources
    assert list(nightly.tasks) == ["nightly.one"]
    assert nightly.tasks["nightly.one"](4) == 4
    assert one.name == "e.one"


def test_an_environment_of_tasks_that_differ_is_refused():
    """All tasks of an environment share hardware and software."""
    one, two = flyte.TaskEnvironment("one"), flyte.TaskEnvironment("two", resources=flyte.Resources(cpu=9))

    def task() -> None: ...

    with pytest.raises(ValueError, match="'one' and 'two' differ in resources"):
        flyte.TaskEnvironment.from_task("both", one.task(task), two.task(task))
    with pytest.raises(ValueError, match="needs at least one task"):
        flyte.TaskEnvironment.from_task("none")
    with pytest.raises(TypeError, match=r"takes tasks made with @env.task"):
        flyte.TaskEnvironment.from_task("none", task)  # type: ignore[arg-type]
