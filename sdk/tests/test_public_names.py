"""What `import flyte` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import flyte
from flyte._availability import NAMES

HEAVY = (
    "asyncio",
    "click",
    "google.protobuf",
    "grpc",
    "hangar",
    "pydantic",
    "rich",
    "typing_extensions",
    "yaml",
)

USE_OF_EVERYTHING_THAT_AUTHORS_USE = """
env = flyte.TaskEnvironment("a", image=flyte.Image.from_debian_base().with_pip_packages("numpy"),
    resources=flyte.Resources(cpu=1, gpu=flyte.GPU("T4", 1)), reusable=flyte.ReusePolicy())
@env.task(retries=flyte.RetryStrategy(1), timeout=flyte.Timeout(5))
def double(x: int) -> int:
    return 2 * x
assert double(2) == 4 and flyte.ctx() is None
with flyte.group("g"):
    pass
"""


def _loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return set(output.split())


@pytest.mark.parametrize("code", ["import flyte", f"import flyte\n{USE_OF_EVERYTHING_THAT_AUTHORS_USE}"])
def test_import_and_authoring_load_nothing_heavy(code):
    """Neither importing the SDK nor declaring and directly calling tasks imports a big library."""
    assert not _loaded_after(code).intersection(HEAVY)


def test_import_loads_no_module_of_the_sdk():
    """`import flyte` alone imports nothing but the package."""
    assert {name for name in _loaded_after("import flyte") if name.startswith("flyte.")} == set()


@pytest.mark.parametrize("name", flyte.__all__)
def test_every_public_name_exists_and_is_documented(name):
    """Each name of `__all__` can be had and says what it is for."""
    value = getattr(flyte, name)
    assert name in dir(flyte)
    assert name in {"__version__", "logger"} or (value.__doc__ or "").strip()


def test_star_import_gives_the_public_names():
    """`from flyte import *` gives what `__all__` says."""
    namespace: dict[str, object] = {}
    exec("from flyte import *", namespace)
    assert set(flyte.__all__) <= set(namespace)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_names_of_later_versions_are_refused_with_an_alternative(name):
    """A documented name whose feature is not built yet says so and what to do instead."""
    with pytest.raises(AttributeError, match=f"flyte.{name} is not available in this version: .+"):
        getattr(flyte, name)


def test_no_refused_name_is_public():
    """What is refused is not offered."""
    assert not set(NAMES) & set(flyte.__all__)


def test_unknown_names_are_plain_attribute_errors():
    """A name that nobody documents gets Python's usual message."""
    with pytest.raises(AttributeError, match="module 'flyte' has no attribute 'nonsense'"):
        _ = flyte.nonsense  # type: ignore[attr-defined]


def test_the_version_is_that_of_the_distribution():
    """The number in the code and in the package agree."""
    assert flyte.__version__ == metadata.version("hangar-sdk")


def test_functions_are_not_hidden_by_modules():
    """`flyte.run` stays a function after the module that defines it was imported."""
    import flyte._run

    assert callable(flyte.run)
    assert callable(flyte.group)
