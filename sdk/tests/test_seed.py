"""The samples of the core concepts, as they are printed there, declared and run without a backend."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator

import pytest

import flyte
from flyte.models import ActionPhase

MINIMAL = """
import flyte

env = flyte.TaskEnvironment(name="my_env")

@env.task
def hello() -> str:
    return "Hello from Flyte!"
"""

RESOURCES = """
env = flyte.TaskEnvironment(
    name="compute_heavy",
    limits=flyte.Resources(cpu="4", mem="16Gi"),
)
"""

GPU = """
env = flyte.TaskEnvironment(
    name="gpu_training",
    limits=flyte.Resources(cpu="8", mem="32Gi", gpu="1"),
    accelerator=flyte.GPUAccelerator.NVIDIA_A10G,
)
"""

IMAGE = """
image = flyte.Image.from_debian_base().with_pip_packages("pandas", "scikit-learn")

env = flyte.TaskEnvironment(
    name="ml_env",
    image=image,
)
"""

SHARED_ENVIRONMENT = """
env = flyte.TaskEnvironment(
    name="data_processing",
    limits=flyte.Resources(cpu="2", mem="8Gi"),
)

@env.task
def load_data(path: str) -> dict:
    # Runs with 2 CPU, 8Gi memory
    ...

@env.task
def transform_data(data: dict) -> dict:
    # Also runs with 2 CPU, 8Gi memory
    ...
"""

TWO_ENVIRONMENTS = """
light_env = flyte.TaskEnvironment(
    name="light",
    limits=flyte.Resources(cpu="1", mem="2Gi"),
)

heavy_env = flyte.TaskEnvironment(
    name="heavy",
    limits=flyte.Resources(cpu="8", mem="32Gi"),
)

@light_env.task
def preprocess(data: str) -> str:
    # Light processing
    ...

@heavy_env.task
def train_model(data: str) -> dict:
    # Resource-intensive training
    ...
"""

GREET = """
import flyte

env = flyte.TaskEnvironment(name="my_env")

@env.task
def greet(name: str) -> str:
    return f"Hello, {name}!"
"""

TYPE_HINTS = """
@env.task
def process_numbers(values: list[int]) -> int:
    return sum(values)
"""

DIRECT_CALL = """
# Direct call - runs locally, not in a container
result = greet("World")
print(result)  # "Hello, World!"
"""

RUN = """
result = flyte.run(greet, name="World")
print(result)  # "Hello, World!"
"""

PIPELINE = """
@env.task
def step_one(x: int) -> int:
    return x * 2

@env.task
def step_two(x: int) -> int:
    return x + 10

@env.task
def pipeline(x: int) -> int:
    a = step_one(x)   # Run step_one
    b = step_two(a)   # Run step_two with result
    return b
"""

STATUS = """
run = flyte.run(pipeline, x=5)

# The run object has status information
print(run.status)
"""


class Program:
    """A module that is written one sample at a time."""

    def __init__(self) -> None:
        self.module = types.ModuleType("seed_sample")
        exec("import flyte\nenv = flyte.TaskEnvironment(name='my_env')", vars(self.module))

    def add(self, *samples: str) -> types.ModuleType:
        """Execute samples in the module."""
        for sample in samples:
            exec(compile(sample, "seed_sample.py", "exec"), vars(self.module))
        return self.module


@pytest.fixture
def program(monkeypatch, tmp_path) -> Iterator[Program]:
    """A new program; runs without a backend, whose records go to a directory of the test's own."""
    from flyte import _initialize

    _initialize.uninstall()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sample = Program()
    monkeypatch.setitem(sys.modules, "seed_sample", sample.module)
    return sample


def test_the_minimal_environment(program):
    """With just a name one gets the default image and resources."""
    module = program.add(MINIMAL)
    assert module.hello() == "Hello from Flyte!"
    assert module.hello.name == "my_env.hello"
    assert str(flyte.run(module.hello)) == "Hello from Flyte!"
    assert module.hello.to_spec()["resources"] == {"cpu_millis": 0, "memory_bytes": 0}


def test_resources(program):
    """`limits` and `mem`."""
    assert program.add(RESOURCES).env.resources.to_spec() == {
        "cpu_millis": 4000,
        "memory_bytes": 16 * 1024**3,
    }


def test_gpu(program):
    """A count in a string and its type beside it."""
    spec = program.add(GPU).env.resources.to_spec()
    assert spec == {
        "cpu_millis": 8000,
        "memory_bytes": 32 * 1024**3,
        "gpu": {"model": "A10G", "count": 1, "partition": ""},
    }


def test_images(program):
    """Packages in the author's order."""
    definition = json.loads(program.add(IMAGE).env.image.definition_json)
    assert definition["base"]["kind"] == "debian"
    assert [layer["packages"] for layer in definition["layers"]] == [["pandas", "scikit-learn"]]


def test_many_tasks_share_an_environment(program):
    """Both tasks have its resources."""
    module = program.add(SHARED_ENVIRONMENT)
    for task in (module.load_data, module.transform_data):
        assert task.to_spec()["resources"] == {"cpu_millis": 2000, "memory_bytes": 8 * 1024**3}


def test_several_environments(program):
    """Each task has its own environment's resources."""
    module = program.add(TWO_ENVIRONMENTS)
    assert module.preprocess.to_spec()["resources"]["cpu_millis"] == 1000
    assert module.train_model.to_spec()["resources"]["cpu_millis"] == 8000


def test_a_direct_call_prints_the_greeting(program, capsys):
    """A task is called like a regular function."""
    program.add(GREET, DIRECT_CALL)
    assert capsys.readouterr().out == "Hello, World!\n"


def test_a_run_prints_the_greeting(program, capsys):
    """Printing a run shows its output."""
    program.add(GREET, RUN)
    assert capsys.readouterr().out == "Hello, World!\n"


def test_type_hints_are_what_data_is_checked_against(program):
    """A list of ints is taken, other things are not."""
    module = program.add(TYPE_HINTS)
    assert flyte.run(module.process_numbers, values=[1, 2, 3]).result() == 6
    with pytest.raises(flyte.errors.RuntimeDataValidationError, match="parameter 'values'"):
        flyte.run(module.process_numbers, values=["one"])


def test_the_pipeline_is_one_run_and_three_actions(program, capsys):
    """Output 20, parents and children right, and a status."""
    module = program.add(PIPELINE, STATUS)
    assert capsys.readouterr().out == "succeeded\n"
    assert module.pipeline(5) == 20
    run = module.run
    assert run.result() == 20
    assert [(action.task_name, action.parent, action.phase) for action in run.actions] == [
        ("my_env.pipeline", None, ActionPhase.SUCCEEDED),
        ("my_env.step_one", "a0", ActionPhase.SUCCEEDED),
        ("my_env.step_two", "a0", ActionPhase.SUCCEEDED),
    ]
