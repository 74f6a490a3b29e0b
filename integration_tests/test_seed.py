"""The samples of the core concepts, as they are printed there."""

import json
import re
import urllib.request

import pytest

from integration_tests.api import DOMAIN, PROJECT, phase_of

HELLO = """
import flyte

env = flyte.TaskEnvironment(name="my_env")

@env.task
def hello() -> str:
    return "Hello from Flyte!"
"""

GREET = """
import flyte

env = flyte.TaskEnvironment(name="my_env")

@env.task
def greet(name: str) -> str:
    return f"Hello, {name}!"
"""

PROCESS_NUMBERS = """
import flyte

env = flyte.TaskEnvironment(name="my_env")

@env.task
def process_numbers(values: list[int]) -> int:
    return sum(values)
"""

PIPELINE = """
import flyte

env = flyte.TaskEnvironment(name="my_env")

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

ENVIRONMENTS = """
import flyte

env = flyte.TaskEnvironment(
    name="compute_heavy",
    limits=flyte.Resources(cpu="4", mem="16Gi"),
)

compute_heavy = env

env = flyte.TaskEnvironment(
    name="gpu_training",
    limits=flyte.Resources(cpu="8", mem="32Gi", gpu="1"),
    accelerator=flyte.GPUAccelerator.NVIDIA_A10G,
)

gpu_training = env

light_env = flyte.TaskEnvironment(
    name="light",
    limits=flyte.Resources(cpu="1", mem="2Gi"),
)

heavy_env = flyte.TaskEnvironment(
    name="heavy",
    limits=flyte.Resources(cpu="8", mem="32Gi"),
)

@compute_heavy.task
def crunch(values: list[int]) -> int:
    return sum(values)

@gpu_training.task
def devices() -> str:
    import os

    return os.environ["CUDA_VISIBLE_DEVICES"]

@light_env.task
def preprocess(data: str) -> str:
    # Light processing
    return data.lower()

@heavy_env.task
def train_model(data: str) -> dict:
    # Resource-intensive training
    return {"trained on": preprocess(data)}
"""

IMAGE = """
import flyte

image = flyte.Image.from_debian_base().with_pip_packages("pandas", "scikit-learn")

env = flyte.TaskEnvironment(
    name="ml_env",
    image=image,
)

@env.task
def versions() -> list[str]:
    import pandas
    import sklearn

    return [pandas.__version__, sklearn.__version__]
"""

URL = re.compile(
    r"http://127\.0\.0\.1:\d+/v2/runs/project/(?P<project>[^/]+)/domain/(?P<domain>[^/]+)/(?P<run>[^/]+)"
)


def test_hello_of_the_minimal_environment(workspace):
    """An environment with only a name gives its task the default image and resources."""
    workspace.write("hello.py", HELLO)
    assert workspace.flyte("run", "hello.py", "hello").lines[-1] == "Hello from Flyte!"


def test_greet_called_directly_run_from_python_and_printed(workspace):
    """A direct call is a plain call; printing what flyte.run returns waits for the run and shows its output."""
    workspace.write("my_script.py", GREET)
    workspace.write(
        "direct.py",
        """
        from my_script import greet

        # Direct call - runs locally, not in a container
        result = greet("World")
        print(result)  # "Hello, World!"
    """,
    )
    workspace.write(
        "remote.py",
        """
        from my_script import greet

        import flyte

        flyte.init_from_config()
        result = flyte.run(greet, name="World")
        print(result)  # "Hello, World!"
    """,
    )
    assert workspace.python("direct.py").out == "Hello, World!\n"
    assert workspace.python("remote.py").out == "Hello, World!\n"


def test_greet_in_one_file_with_its_calls(workspace):
    """Task, direct call and run may stand in one script: the worker that imports it does not start a run again."""
    workspace.write(
        "my_script.py",
        GREET
        + """
if __name__ == "__main__":
    result = greet("World")
    print(result)

    flyte.init_from_config()
    result = flyte.run(greet, name="World")
    print(result)
""",
    )
    assert workspace.python("my_script.py").lines == ["Hello, World!", "Hello, World!"]


def test_greet_from_the_command_line(workspace):
    """`flyte run my_script.py greet --name World` sends the code, runs it, and returns the result."""
    workspace.write("my_script.py", GREET)
    assert workspace.flyte("run", "my_script.py", "greet", "--name", "World").lines[-1] == "Hello, World!"


def test_process_numbers(workspace):
    """Type hints tell how a list travels."""
    workspace.write("my_script.py", PROCESS_NUMBERS)
    done = workspace.flyte("run", "my_script.py", "process_numbers", "--values", "[1, 2, 3]")
    assert done.lines[-1] == "6"


def test_pipeline_is_one_run_of_three_actions(backend, workspace):
    """pipeline(5) is one run of three actions with output 20, the right parents, inputs, outputs and lineage."""
    workspace.write("my_script.py", PIPELINE)
    before = set(backend.api.run_names())
    done = workspace.flyte("run", "my_script.py", "pipeline", "--x", "5")
    name = done.lines[0]
    assert set(backend.api.run_names()) - before == {name}
    run, actions = backend.api.run(name), backend.api.actions(name)
    assert (phase_of(run), run.action_count, run.task_name) == ("succeeded", 3, "my_env.pipeline")
    assert [action.short_name for action in actions] == ["pipeline", "step_one", "step_two"]
    root, one, two = actions
    assert [root.id.name, root.parent, one.parent, two.parent] == ["a0", "", "a0", "a0"]
    assert {phase_of(action) for action in actions} == {"succeeded"}
    documents = [
        (backend.api.inputs(name, each.id.name), backend.api.outputs(name, each.id.name)) for each in actions
    ]
    assert documents == [({"x": 5}, {"o0": 20}), ({"x": 5}, {"o0": 10}), ({"x": 10}, {"o0": 20})]
    assert [(edge.input, edge.source) for edge in two.lineage] == [("x", one.id.name)]


def test_the_three_lines_of_flyte_run(workspace):
    """`flyte run` prints the run's name, its URL and how it ended; both shapes of the URL answer."""
    workspace.write("my_script.py", PIPELINE)
    name, url, ending, output = workspace.flyte("run", "my_script.py", "pipeline", "--x", "5").lines
    found = URL.fullmatch(url)
    assert found, url
    assert found.groupdict() == {"project": PROJECT, "domain": DOMAIN, "run": name}
    assert (ending, output) == ("Run 'a0' completed successfully.", "20")
    base = url.partition("/v2/")[0]
    for each in (url, f"{base}/v2/domain/{DOMAIN}/project/{PROJECT}/runs/{name}"):
        with urllib.request.urlopen(each, timeout=20) as page:
            assert page.status == 200
            assert page.headers.get_content_type() == "text/html"


def test_status_of_a_run(workspace):
    """`flyte get run` and `run.status` say where a run stands."""
    workspace.write("my_script.py", PIPELINE)
    workspace.write(
        "status.py",
        """
        from my_script import pipeline

        import flyte

        flyte.init_from_config()
        run = flyte.run(pipeline, x=5)

        # The run object has status information
        print(run.status)
        run.wait()
        print(run.status, run.name)
    """,
    )
    first, _, last = workspace.python("status.py").lines
    phase, name = last.split()
    assert phase.rpartition(".")[2].lower() == "succeeded"
    assert first.rpartition(".")[2].lower() in {
        "queued",
        "waiting_for_resources",
        "initializing",
        "running",
        "succeeded",
    }
    shown = json.loads(workspace.flyte("-of", "json", "get", "run", name).out)
    assert (shown["phase"], shown["actions"], shown["task"]) == ("succeeded", 3, "my_env.pipeline")
    assert name in workspace.flyte("get", "run").out


@pytest.fixture
def large_host(make_backend, place):
    """A host that declares eight cores, 40 GiB and an A10G."""
    description = place / "gpus.json"
    device = {"uuid": "GPU-described-1", "model": "A10G", "memory_bytes": 24 * 1024**3}
    description.write_text(json.dumps({"devices": [device]}))
    return make_backend(
        HANGAR_EXECUTOR_CPU="8", HANGAR_EXECUTOR_MEMORY="40Gi", HANGAR_EXECUTOR_GPUS=str(description)
    )


def test_environments_of_a_large_host(large_host, make_workspace):
    """Both spellings of resources, an accelerator and several environments run where the host declares enough."""
    workspace = make_workspace(large_host)
    workspace.write("environments.py", ENVIRONMENTS)
    runs = [
        workspace.launch("environments.py", "crunch", "--values", "[1, 2, 3]"),
        workspace.launch("environments.py", "devices"),
        workspace.launch("environments.py", "train_model", "--data", "ABC"),
    ]
    assert [large_host.api.succeeded(run) for run in runs] == [6, "GPU-described-1", {"trained on": "abc"}]


@pytest.mark.timeout(600)  # the packages may have to be fetched
def test_image_with_packages(backend, workspace):
    """A task finds the packages that its image names, none of which this environment has."""
    workspace.write("ml.py", IMAGE)
    run = workspace.launch("ml.py", "versions")
    assert all(re.match(r"\d+\.\d+", version) for version in backend.api.succeeded(run, 500))


FILES = """
import flyte

image = (
    flyte.Image.from_debian_base()
    .with_source_file("settings.toml")
    .with_source_folder("models", dst="data")
    .with_code_bundle()
)
env = flyte.TaskEnvironment("files", image=image)

@env.task
def place() -> list[str]:
    return [open("settings.toml").read(), open("data/models/one.txt").read(), __file__]
"""


@pytest.mark.timeout(300)
def test_files_and_code_in_the_image(backend, workspace):
    """A task finds the files of its image in its working directory; with --copy-style none the code is there too."""
    workspace.write("files.py", FILES)
    workspace.write("settings.toml", "colour = 1")
    workspace.write("models/one.txt", "one")
    first = workspace.flyte("run", "files.py", "place", seconds=200)
    assert "image of files: built in" in str(first)
    again = workspace.flyte("run", "files.py", "place", seconds=60)
    assert "image of files: cached" in str(again)
    run = ["run", "--copy-style", "none", "--version", "1"]
    baked = workspace.flyte(*run, "files.py", "place", seconds=200)
    for done in (first, again, baked):
        assert "colour = 1" in str(done)
        assert '"one"' in str(done)
    assert "/code/" in str(again)
    assert "/code/" not in str(baked)
    images = json.loads(workspace.flyte("-of", "json", "get", "image").out)
    [sbom] = {workspace.flyte("get", "image", images[0]["name"], "--sbom").out}
    assert "pkg:pypi/pydantic@" in sbom
