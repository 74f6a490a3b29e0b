"""Environments are made once, whole or not at all, with the SDK and what their definition names."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from services.common.sdk_layer import SdkLayer
from services.common.tests.small_disk import small_disk
from services.executor.engines.base import ImageFailedError
from services.executor.environments import Environment, Environments
from services.executor.tests.wheels import write_wheel


class Workshop:
    """Makes environments of wheels in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wheels = root / "wheels"
        self.lines: list[str] = []
        package = root / "sdk" / "flyte"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("ORIGIN = 'host'\n")
        write_wheel(self.wheels, "pebble")
        self.sdk = SdkLayer(package, requirements=("pebble",))
        self.environments = self.another()

    def another(self) -> Environments:
        """What another process would use."""
        return Environments(self.root / "environments", SdkLayer(self.sdk.package, self.sdk.requirements))

    def definition(self, *packages: str, **more: Any) -> str:
        layer = {
            "kind": "pip",
            "packages": list(packages),
            "extra_args": f"--no-index --find-links {self.wheels}",
        }
        return json.dumps({"base": {"kind": "debian"}, "layers": [layer, *more.get("layers", [])]})

    async def make(self, *packages: str, **more: Any) -> Environment:
        return await self.environments.ensure(self.definition(*packages, **more), self.lines.append)

    def leftovers(self) -> list[str]:
        return [path.name for path in (self.root / "environments").iterdir() if path.name != "locks"]


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Nothing but one wheel."""
    (tmp_path / "environments").mkdir()
    return Workshop(tmp_path)


def run(environment: Environment, code: str) -> str:
    """What a program prints in an environment."""
    done = subprocess.run([environment.python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


async def test_packages_are_installed(workshop: Workshop) -> None:
    """A package that the definition names can be imported, and the installer's lines are passed on."""
    write_wheel(workshop.wheels, "stone", "2.5")
    environment = await workshop.make("stone>=2")
    assert run(environment, "import stone; print(stone.VERSION)") == "2.5"
    assert any("stone==2.5" in line for line in workshop.lines)


async def test_the_sdk_of_the_host_is_in_every_environment(workshop: Workshop) -> None:
    """The SDK is the host's copy, and nothing else of the host can be imported."""
    environment = await workshop.make()
    assert run(environment, "import flyte; print(flyte.ORIGIN)") == "host"
    assert run(environment, "import importlib.util as u; print(u.find_spec('sqlmodel'))") == "None"


async def test_a_requirement_named_flyte_never_shadows_the_sdk(workshop: Workshop) -> None:
    """Neither an author's requirement on `flyte` nor a package's own replaces the SDK."""
    write_wheel(workshop.wheels, "flyte", "9.0")
    write_wheel(workshop.wheels, "stone", requires=("flyte>=2",))
    environment = await workshop.make("flyte==9.0", "Flyte[extra]>=1", "stone")
    assert run(environment, "import flyte; print(flyte.ORIGIN)") == "host"
    assert (
        run(
            environment,
            "import importlib.metadata as m; print([d.name for d in m.distributions()].count('flyte'))",
        )
        == "0"
    )


async def test_an_environment_is_made_once(workshop: Workshop) -> None:
    """Callers at the same time, in one process and in several, share one build; later ones find it."""
    other = workshop.another()
    definition = workshop.definition("pebble")
    made = await asyncio.gather(
        *(workshop.environments.ensure(definition, workshop.lines.append) for _ in range(3)),
        *(other.ensure(definition, workshop.lines.append) for _ in range(3)),
    )
    assert len({environment.path for environment in made}) == 1
    assert workshop.leftovers() == [made[0].key]
    before = made[0].python.lstat().st_ctime_ns
    workshop.lines.clear()
    await workshop.make("pebble")
    assert made[0].python.lstat().st_ctime_ns == before
    assert workshop.lines == []


async def test_an_impossible_package_is_named(workshop: Workshop) -> None:
    """A package that cannot be installed fails with its name, leaves nothing, and is tried again later."""
    with pytest.raises(ImageFailedError, match="granite") as caught:
        await workshop.make("granite")
    assert caught.value.code == "ImageBuildError"
    assert workshop.leftovers() == []
    write_wheel(workshop.wheels, "granite")
    assert run(await workshop.make("granite"), "import granite; print(granite.VERSION)") == "1.0"


async def test_a_changed_sdk_makes_a_new_environment(workshop: Workshop) -> None:
    """Environments are named by the content of the SDK as well."""
    first = await workshop.make()
    (workshop.sdk.package / "new.py").write_text("x = 1\n")
    workshop.environments = workshop.another()
    second = await workshop.make()
    assert first.key != second.key
    assert run(second, "import flyte.new; print(flyte.new.x)") == "1"


async def test_layers_are_installed_in_their_order(workshop: Workshop) -> None:
    """A later layer wins over an earlier one, and variables are those of the definition."""
    write_wheel(workshop.wheels, "stone", "1.0")
    write_wheel(workshop.wheels, "stone", "2.0")
    later = {
        "kind": "requirements",
        "lines": ["stone==1.0"],
        "extra_args": f"--no-index --find-links {workshop.wheels}",
    }
    environment = await workshop.make("stone==2.0", layers=[later, {"kind": "env", "vars": {"A": "1"}}])
    assert run(environment, "import stone; print(stone.VERSION)") == "1.0"
    assert environment.env_vars == {"A": "1"}


async def test_a_python_that_is_not_there_is_named(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python version that is not found fails with the versions that are."""
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    definition = json.dumps({"base": {"kind": "debian", "python": "3.99"}, "layers": []})
    with pytest.raises(ImageFailedError, match=r"Python 3\.99 is not available .*found here: 3\.") as caught:
        await workshop.environments.ensure(definition, workshop.lines.append)
    assert caught.value.code == "PythonNotFound"
    assert workshop.leftovers() == []


@pytest.mark.parametrize("kind", ["apt", "commands", "workdir"])
async def test_layers_that_need_containers_are_refused_by_name(workshop: Workshop, kind: str) -> None:
    """A layer that no Python environment can give is refused by its name."""
    with pytest.raises(ImageFailedError, match=f"layer '{kind}' needs the Docker engine") as caught:
        await workshop.make(layers=[{"kind": kind}])
    assert caught.value.code == "UnsupportedLayer"


@pytest.mark.parametrize("kind", ["image", "dockerfile", "uv_script"])
async def test_bases_that_need_containers_are_refused_by_name(workshop: Workshop, kind: str) -> None:
    """A base that no Python environment can give is refused by its name."""
    with pytest.raises(ImageFailedError, match=f"image base '{kind}' needs the Docker engine"):
        await workshop.environments.ensure(json.dumps({"base": {"kind": kind}, "layers": []}), print)


@pytest.mark.parametrize(
    "text", ["not JSON", '{"layers": [{}]}', '{"base": {"kind": "debian", "python": "two"}}']
)
async def test_a_definition_that_cannot_be_read_is_refused(workshop: Workshop, text: str) -> None:
    """What is no definition gives one clear error."""
    with pytest.raises(ImageFailedError, match="cannot be read"):
        await workshop.environments.ensure(text, print)


async def test_a_cancelled_build_leaves_nothing(workshop: Workshop) -> None:
    """Closing while an environment is made stops the installer and removes what it had done."""
    building = asyncio.create_task(workshop.make("pebble"))
    while not workshop.lines:  # noqa: ASYNC110 - a list has no event
        await asyncio.sleep(0.001)
    await workshop.environments.close()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert workshop.leftovers() == []


async def test_leftovers_of_a_crash_are_removed(workshop: Workshop) -> None:
    """What a process that died has left behind is removed at the next start; what is being made is not."""
    draft = workshop.root / "environments" / ".building-abc-123"
    draft.mkdir()
    await workshop.environments.clear_leftovers()
    assert not draft.exists()


async def test_a_full_disk_is_named_and_leaves_nothing(workshop: Workshop, tmp_path: Path) -> None:
    """The message has the directory and what is free; when there is room the environment is made."""
    with small_disk(tmp_path / "disk", 64) as disk:
        place = disk.path / "environments"
        (place / "locks").mkdir(parents=True)
        workshop.environments = Environments(place, workshop.sdk)
        disk.fill(leave=4096)
        with pytest.raises(ImageFailedError) as caught:
            await workshop.make("pebble")
        assert caught.value.code == "DiskFull"
        assert f"the disk of {place} is full: " in caught.value.message
        assert [path.name for path in place.iterdir()] == ["locks"]
        disk.make_room()
        assert run(await workshop.make("pebble"), "import pebble") == ""
