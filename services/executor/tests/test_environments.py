"""Environments are made once, whole or not at all, with the SDK and what their definition names."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import psutil
import pytest

from services.common.tests.small_disk import small_disk
from services.executor.engines.base import ImageFailedError
from services.executor.environments import Environments
from services.executor.tests.wheels import write_source, write_wheel
from services.executor.tests.workshop import Workshop, run

PEBBLE = {"kind": "requirements", "lines": ["pebble>=0"]}


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
    assert caught.value.code == "InvalidPackage"
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


async def test_an_image_of_its_author_is_refused(workshop: Workshop) -> None:
    """What an author built needs containers: the message says so, and what to choose instead."""
    definition = json.dumps({"base": {"kind": "built", "uri": "x", "name": "y"}, "layers": []})
    with pytest.raises(ImageFailedError, match="runs tasks as processes: that needs Docker") as caught:
        await workshop.environments.ensure(definition, workshop.lines.append)
    assert caught.value.code == "UnsupportedLayer"


async def test_files_of_the_author_are_there(workshop: Workshop) -> None:
    """They are below one directory, by the paths that they have in the image, and workers are told where."""
    files = {"kind": "source_folder", "archive": workshop.archive(proj__a="one"), "dst": "data"}
    code = {"kind": "code_bundle", "archive": workshop.archive(main="x = 1"), "dst": "."}
    environment = await workshop.make(layers=[files, code])
    assert (environment.files / "data" / "proj" / "a").read_text() == "one"
    assert (environment.files / "main").read_text() == "x = 1"
    assert environment.env_vars == {"HANGAR_IMAGE_DIRECTORY": str(environment.files)}
    other = {**files, "archive": workshop.archive(proj__a="two")}
    assert (await workshop.make(layers=[other, code])).key != environment.key
    gone = {**files, "archive": {"sha256": "0" * 64, "size": 1}}
    with pytest.raises(ImageFailedError, match="were not uploaded") as caught:
        await workshop.make(layers=[gone])
    assert caught.value.code == "FilesMissing"
    with pytest.raises(ImageFailedError, match="copies the code to '/data', needs the Docker engine"):
        await workshop.make(layers=[{**files, "dst": "/data"}])


async def test_secrets_are_variables_of_the_host(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that needs a secret fails with its name until the host has it."""
    layer = {
        "kind": "requirements",
        "lines": ["pebble"],
        "secret_mounts": [{"key": "token", "env": "INDEX_TOKEN"}],
    }
    with pytest.raises(ImageFailedError, match="set the environment variable INDEX_TOKEN") as caught:
        await workshop.make(layers=[layer])
    assert caught.value.code == "SecretMissing"


async def test_environments_that_nothing_uses_are_removed(workshop: Workshop) -> None:
    """Only those that nothing was started in for so long, and never one that a process runs in."""
    old, used = await workshop.make(), await workshop.make(layers=[{"kind": "env", "vars": {}}, {**PEBBLE}])
    for environment in (old, used):
        os.utime(environment.path, (1, 1))
    process = await asyncio.create_subprocess_exec(
        used.python, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    unused = workshop.environments.unused(3600)
    assert set(unused) == {old.key, used.key}
    removed = {key: await workshop.environments.remove(key) for key in unused}
    assert removed == {old.key: True, used.key: False}
    await process.communicate(b"\n")
    assert workshop.leftovers() == [used.key]
    await workshop.environments.ensure(workshop.definition(layers=[PEBBLE]), print)
    assert workshop.environments.unused(3600) == []


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


async def test_the_last_who_waits_ends_the_making(workshop: Workshop, tmp_path: Path) -> None:
    """One of two who is cancelled ends nothing; with the other one the installer ends, and what it has started."""
    note = tmp_path / "note"
    script = f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)"
    write_source(workshop.wheels, "boulder", script)
    first, last = (asyncio.create_task(workshop.make("boulder")) for _ in range(2))
    async with asyncio.timeout(30):
        while not (note.exists() and note.read_text()):  # noqa: ASYNC110 - written by another process
            await asyncio.sleep(0.01)
    builds = psutil.Process(int(note.read_text()))
    first.cancel()
    await asyncio.wait([first])
    assert builds.is_running()
    last.cancel()
    with pytest.raises(asyncio.CancelledError):
        await last
    assert not builds.is_running() or builds.status() == psutil.STATUS_ZOMBIE
    assert workshop.leftovers() == []
    write_wheel(workshop.wheels, "boulder", "2.0")
    assert run(await workshop.make("boulder"), "import boulder; print(boulder.VERSION)") == "2.0"


async def test_a_failure_has_layer_and_exit_code_and_no_secret(workshop: Workshop) -> None:
    """Of a tool that prints a line of any length, and a secret of several lines that the caller gives."""
    script = "import os\nprint('x' * 200000, flush=True)\nprint(os.environ['KEY'], flush=True)\nraise SystemExit(3)"
    write_source(workshop.wheels, "boulder", script)
    secret = {"secret_mounts": [{"key": "key", "env": "KEY"}]}
    layer = {**json.loads(workshop.definition("boulder"))["layers"][0], **secret}
    given = {"key": b"-----BEGIN-----\nMIISECRETLINE\n"}
    definition = workshop.definition("pebble", layers=[layer])
    with pytest.raises(ImageFailedError, match="cannot be installed") as caught:
        await workshop.environments.ensure(definition, workshop.lines.append, given)
    failed = caught.value
    assert (failed.code, failed.is_system, failed.layer, failed.exit_code) == ("ImageBuildError", False, 1, 1)
    said = "\n".join([failed.message, *workshop.lines])
    assert "****" in said
    assert "SECRETLINE" not in said
    assert workshop.leftovers() == []


async def test_a_fresh_environment_takes_the_place_of_the_old_one(workshop: Workshop) -> None:
    """When it is complete, and unless something runs in the old one: whatever fails leaves that as it was."""
    old = await workshop.make("pebble")
    write_wheel(workshop.wheels, "pebble", "2.0")
    definition = workshop.definition("pebble")

    async def fresh() -> str:
        made = await workshop.environments.ensure(definition, workshop.lines.append, fresh=True)
        return run(made, "import pebble; print(pebble.VERSION)")

    process = await asyncio.create_subprocess_exec(old.python, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    assert await workshop.environments.users(old.key) == [process.pid]
    with pytest.raises(ImageFailedError, match=rf"is in use: .*processes {process.pid}\)") as caught:
        await fresh()
    assert (caught.value.code, caught.value.is_system) == ("ImageInUse", True)
    await process.communicate(b"\n")
    away = workshop.wheels.rename(workshop.root / "away")
    with pytest.raises(ImageFailedError, match="pebble"):
        await fresh()
    assert run(old, "import pebble; print(pebble.VERSION)") == "1.0"
    away.rename(workshop.wheels)
    assert await fresh() == "2.0"
    assert workshop.leftovers() == [old.key]


async def test_nothing_of_the_backends_directory_counts(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither settings of a project in which it runs nor files; the settings of its user do."""
    project = tmp_path / "somewhere"
    project.mkdir()
    (project / "pyproject.toml").write_text('[tool.uv]\nrequired-version = "==0.0.1"\n')
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\nrequired-version = "==0.0.1"\n')
    monkeypatch.chdir(project)
    await workshop.make("pebble")
    settings = tmp_path / "config" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"no-index = true\nfind-links = [{json.dumps(str(workshop.wheels))}]\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write_wheel(workshop.wheels, "stone")
    base = {"base": {"kind": "debian"}}
    stone = json.dumps({**base, "layers": [{"kind": "pip", "packages": ["stone"]}]})
    environment = await workshop.environments.ensure(stone, workshop.lines.append)
    assert run(environment, "import stone; print(stone.VERSION)") == "1.0"
    for layer, words in (
        (
            {"kind": "pip", "packages": ["./pkg"]},
            r"layers\[0\].packages\[0\] is './pkg': .*a place on a disk",
        ),
        (
            {"kind": "requirements", "lines": ["-r base.txt"]},
            r"layers\[0\].lines\[0\].*'base.txt' is a place",
        ),
        (
            {"kind": "pip", "packages": ["stone"], "extra_args": "-r /etc/hostname"},
            "extra_args names '/etc/hostname'",
        ),
    ):
        with pytest.raises(ImageFailedError, match=words) as caught:
            await workshop.environments.ensure(json.dumps({**base, "layers": [layer]}), print)
        assert caught.value.code == "InvalidImageDefinition"


async def test_an_outage_is_the_platforms_fault(workshop: Workshop) -> None:
    """An index that does not answer may soon: the definition is not to blame."""
    layer = {"kind": "pip", "packages": ["stone"], "index_url": "http://127.0.0.1:9/simple"}
    definition = json.dumps({"base": {"kind": "debian"}, "layers": [layer]})
    with pytest.raises(ImageFailedError) as caught:
        await workshop.environments.ensure(definition, print)
    assert (caught.value.code, caught.value.is_system) == ("PackagesUnavailable", True)


@pytest.mark.parametrize("given", [{"registry": "ghcr.io/x"}, {"registry_secret": "login"}])
async def test_registries_are_refused_by_name(workshop: Workshop, given: dict[str, str]) -> None:
    """An environment goes nowhere."""
    definition = json.dumps({"base": {"kind": "debian", **given}})
    with pytest.raises(ImageFailedError, match=f"{next(iter(given))}=.* needs the Docker engine") as caught:
        await workshop.environments.ensure(definition, print)
    assert caught.value.code == "UnsupportedLayer"


async def test_leftovers_of_a_crash_are_removed(workshop: Workshop) -> None:
    """What a process that died has left behind is removed at the next start; what is being made is not."""
    draft = workshop.root / "environments" / ".building-abc-123"
    draft.mkdir()
    await workshop.environments.clear_leftovers()
    assert not draft.exists()


async def test_leftovers_of_a_crash_are_removed_by_who_builds_again(workshop: Workshop) -> None:
    """A build that began before the start's look for leftovers removes those of its own environment."""
    made = await workshop.make("pebble")
    await workshop.environments.remove(made.key)
    draft = workshop.root / "environments" / f".building-{made.key}-123"
    draft.mkdir()
    await workshop.make("pebble")
    assert workshop.leftovers() == [made.key]


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
        assert sorted(path.name for path in place.iterdir()) == [".empty", "locks"]
        disk.make_room()
        assert run(await workshop.make("pebble"), "import pebble") == ""
