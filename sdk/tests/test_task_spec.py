"""Task specs: what the platform gets to know of a task."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format

import flyte
from flyte import _code
from hangar.core.v1 import task_spec_pb2

env = flyte.TaskEnvironment(
    "spec_tests",
    image=flyte.Image.from_debian_base(python_version=(3, 12)).with_pip_packages("numpy"),
    resources=flyte.Resources(cpu=2, memory="1Gi", gpu="T4:1", disk="1Gi", shm="auto"),
    env_vars={"A": "1"},
    reusable=flyte.ReusePolicy(replicas=(1, 2), concurrency=4),
)
plain = flyte.TaskEnvironment("plain")


@env.task(retries=2, timeout=flyte.Timeout(5, 6))
async def train(rate: float, names: list[str], deep: bool = False) -> tuple[int, str]:
    """Trains a model.

    It takes a while.

    Args:
        rate: How fast it learns.
        names: What it learns from.
        deep: Whether it thinks.
    """
    return 1, "a"


@plain.task
def nothing() -> None:
    """Does nothing."""


renamed = plain.task(nothing.func)


def message(task: flyte.TaskTemplate) -> task_spec_pb2.TaskSpec:
    """The spec as the proto, which refuses unknown fields."""
    return json_format.ParseDict(task.to_spec(), task_spec_pb2.TaskSpec())


def test_a_spec_says_everything():
    """Every setting arrives in its field."""
    spec = message(train)
    assert (spec.name, spec.short_name, spec.environment) == ("spec_tests.train", "train", "spec_tests")
    assert (spec.resources.cpu_millis, spec.resources.memory_bytes) == (2000, 1024**3)
    assert (spec.resources.disk_bytes, spec.resources.shm_bytes) == (1024**3, -1)
    assert (spec.resources.gpu.model, spec.resources.gpu.count) == ("T4", 1)
    assert (spec.retry.count, spec.timeout.max_runtime_millis, spec.timeout.max_queued_millis) == (
        2,
        5000,
        6000,
    )
    assert (spec.reuse.min_replicas, spec.reuse.max_replicas, spec.reuse.concurrency) == (1, 2, 4)
    assert (dict(spec.env_vars), spec.description, spec.is_async) == ({"A": "1"}, "Trains a model.", True)
    assert spec.max_inline_io_bytes == 10 * 1024 * 1024
    assert spec.image.digest == env.image.digest
    assert json.loads(spec.image.definition_json)["base"] == {"kind": "debian", "python": "3.12"}


def test_the_interface_has_types_defaults_and_descriptions():
    """Inputs in order, outputs as o0, o1."""
    interface = message(train).interface
    assert [(v.name, v.required, v.default_json, v.description) for v in interface.inputs] == [
        ("rate", True, "", "How fast it learns."),
        ("names", True, "", "What it learns from."),
        ("deep", False, "false", "Whether it thinks."),
    ]
    assert [v.name for v in interface.outputs] == ["o0", "o1"]
    assert json.loads(interface.inputs[1].schema_json)["type"] == "array"
    assert interface.inputs[2].type_name


def test_unset_settings_are_absent():
    """A plain task has no pool, and leaves resources to the platform."""
    spec = message(nothing)
    assert not spec.HasField("reuse")
    assert (spec.resources.cpu_millis, spec.resources.memory_bytes, spec.is_async) == (0, 0, False)
    assert not spec.interface.outputs


def test_an_override_changes_the_spec_but_not_the_code():
    """Another definition of the same task object."""
    changed = message(train.override(reusable="off", resources=flyte.Resources(cpu=1), short_name="small"))
    assert (changed.resources.cpu_millis, changed.short_name, changed.name) == (
        1000,
        "small",
        "spec_tests.train",
    )
    assert not changed.HasField("reuse")
    assert changed.code == message(train).code


def test_the_code_identity_comes_from_where_the_code_runs():
    """A run's identity over the process's."""
    identity = _code.CodeIdentity("d1", ("src", "."), "v1")
    with _code.using(identity):
        code = message(train).code
    assert (code.bundle_digest, list(code.python_path), code.version) == ("d1", ["src", "."], "v1")
    assert (code.module, code.attribute) == (__name__, "train")
    assert message(train).code.bundle_digest == ""


def test_a_task_is_found_under_another_name():
    """The attribute is where the task object is, not what the function is called."""
    assert renamed.location == (__name__, "renamed")
    assert nothing.location == (__name__, "nothing")


def test_scripts_are_imported_by_their_module_name(monkeypatch):
    """What was defined in `__main__` is found under the name that the client gives it."""
    monkeypatch.setattr(train.func, "__module__", "__main__")
    monkeypatch.setitem(__import__("sys").modules["__main__"].__dict__, "train", train)
    with _code.using(_code.CodeIdentity(main_module="scripts.train")):
        assert train.location == ("scripts.train", "train")


def test_tasks_that_cannot_be_imported_are_refused():
    """A task inside a function has no name that a worker could import."""

    @plain.task
    def local() -> None: ...

    with pytest.raises(
        ValueError, match=r"plain.local is no attribute of module .*: define it at the top level"
    ):
        local.to_spec()
