"""Packages of environments are those that locks, settings, dates and hashes ask for."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uv

from services.common.sdk_layer import SdkLayer
from services.executor.engines.base import ImageFailedError
from services.executor.environments import Environment
from services.executor.tests.wheels import write_quarry, write_wheel
from services.executor.tests.workshop import Workshop, run
from services.image_builder.tests.package_index import serve_index


def without_login(address: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The address of an index, whose user and password this process has for the name IX, and the password."""
    parts = urlsplit(address)
    monkeypatch.setenv("UV_INDEX_IX_USERNAME", str(parts.username))
    monkeypatch.setenv("UV_INDEX_IX_PASSWORD", str(parts.password))
    return f"http://{parts.hostname}:{parts.port}{parts.path}", str(parts.password)


async def test_a_locked_project_is_installed(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The versions of the lock file count, `flyte` is left out, and the project itself comes when it is asked for."""
    for name, version in (("stone", "1.0"), ("flyte", "9.0")):
        write_wheel(workshop.wheels, name, version)
    monkeypatch.setenv("UV_FIND_LINKS", str(workshop.wheels))
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "pebbles"\nversion = "1"\nrequires-python = ">=3.10"\n'
        'dependencies = ["stone", "flyte"]\n[dependency-groups]\ndev = ["pebble"]\n'
    )
    command = [uv.find_uv_bin(), "lock", "--quiet", "--no-index"]
    await asyncio.to_thread(subprocess.run, command, cwd=project, check=True)
    write_wheel(workshop.wheels, "stone", "2.0")
    layer = {
        "kind": "uv_project",
        "pyproject": {"text": (project / "pyproject.toml").read_text()},
        "lock": {"text": (project / "uv.lock").read_text()},
    }
    environment = await workshop.make(layers=[layer])
    assert run(environment, "import stone, flyte; print(stone.VERSION, flyte.ORIGIN)") == "1.0 host"
    broken = {**layer, "lock": {"text": "version = 1\n"}}
    with pytest.raises(
        ImageFailedError, match=r"what uv.lock locks cannot be installed \(uv sync, exit code \d"
    ):
        await workshop.make(layers=[broken])
    assert workshop.leftovers() == [environment.key]


async def test_a_project_comes_from_where_its_lock_says(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index for one package only, folders below the project, and hashes; an old lock file is refused."""
    project, wheels = tmp_path / "project", tmp_path / "private"
    write_wheel(wheels, "stone_priv", "1.5")
    with serve_index(wheels) as address:
        url, _ = without_login(address, monkeypatch)
        text = write_quarry(project, url)
        command = [uv.find_uv_bin(), "lock", "--quiet"]
        await asyncio.to_thread(subprocess.run, command, cwd=project, check=True)
        monkeypatch.setenv("UV_EXCLUDE_NEWER", "2001-01-01")  # of the host, which a lock file does not ask
        config = tmp_path / "uv.toml"
        config.write_text("")
        monkeypatch.setenv("UV_CONFIG_FILE", str(config))
        lock = (project / "uv.lock").read_text()
        files = {
            str(path.relative_to(project)).replace("/", "__"): path.read_text()
            for path in project.glob("libs/**/*")
            if path.is_file()
        }
        layer = {
            "kind": "uv_project",
            "pyproject": {"text": text},
            "lock": {"text": lock},
            "local": workshop.archive(**files),
        }
        shown = "import stone_priv, gravel; print(stone_priv.VERSION, gravel.X)"
        assert run(await workshop.make(layers=[layer]), shown) == "1.5 1"
        digest = hashlib.sha256((wheels / "stone_priv-1.5-py3-none-any.whl").read_bytes()).hexdigest()
        for changed, what in (
            ({"lock": {"text": lock.replace(digest, "0" * 64)}}, "Hash mismatch"),
            ({"pyproject": {"text": text.replace('"gravel"', '"gravel", "pebble"')}}, "needs to be updated"),
        ):
            with pytest.raises(ImageFailedError, match=what):
                await workshop.make(layers=[{**layer, **changed}])


async def test_settings_of_uv_count_for_their_layer(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source and an index of a script's header are where its packages come from, and those of no other layer."""
    write_wheel(tmp_path / "private", "stone", "7.0")
    write_wheel(workshop.wheels, "stone", "9.0")
    monkeypatch.setenv("UV_FIND_LINKS", str(workshop.wheels))
    with serve_index(tmp_path / "private") as address:
        url, _ = without_login(address, monkeypatch)
        settings = {
            "index": [{"name": "ix", "url": url, "explicit": True}],
            "sources": {"stone": {"index": "ix"}},
        }
        layer = {"kind": "pip", "packages": ["stone"], "uv": settings, "extra_args": "--refresh"}
        assert run(await workshop.make(layers=[layer]), "import stone; print(stone.VERSION)") == "7.0"
        plain = {"kind": "pip", "packages": ["stone"], "extra_args": "--no-index"}
        assert run(await workshop.make(layers=[plain]), "import stone; print(stone.VERSION)") == "9.0"


async def test_a_date_makes_the_same_again(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is published after it does not count; it is a part of the identity, also that of the host."""
    for version, changed in (("1.0", "2025-01-01"), ("2.0", "2026-01-01")):
        wheel = write_wheel(tmp_path / "private", "stone", version)
        os.utime(wheel, (datetime.fromisoformat(changed).timestamp(),) * 2)
    with serve_index(tmp_path / "private") as address:
        url, _ = without_login(address, monkeypatch)
        layer = {"kind": "pip", "packages": ["stone"], "index_url": f"ix={url}", "extra_index_urls": []}
        layer["extra_args"] = f"--find-links {workshop.wheels}"  # which has what the SDK needs
        found = {}
        for date in ("", "2025-06-01"):
            found[date] = await workshop.make(layers=[{**layer, "exclude_newer": date}])
        monkeypatch.setenv("UV_EXCLUDE_NEWER", "2025-06-01")
        found["host"] = await workshop.make(layers=[layer])
        found["author"] = await workshop.make(layers=[{**layer, "exclude_newer": "2026-06-01"}])
    versions = {name: run(each, "import stone; print(stone.VERSION)") for name, each in found.items()}
    assert versions == {"": "2.0", "2025-06-01": "1.0", "host": "1.0", "author": "2.0"}
    assert len({each.key for each in found.values()}) == 4


async def test_hashes_can_be_required(workshop: Workshop) -> None:
    """Requirements need them then, and what the SDK needs comes beside them or fails, but replaces nothing."""
    wheel = write_wheel(workshop.wheels, "stone", "2.0")
    write_wheel(workshop.wheels, "pebble", "0.5")
    right, old = (
        f"--hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in (wheel, workshop.wheels / "pebble-0.5-py3-none-any.whl")
    )
    options = {"kind": "requirements", "extra_args": f"--no-index --find-links {workshop.wheels}"}

    async def made(*lines: str) -> Environment:
        return await workshop.make(layers=[{**options, "lines": ["--require-hashes", *lines]}])

    workshop.sdk = SdkLayer(workshop.sdk.package, requirements=("pebble>=1",))
    workshop.environments = workshop.another()
    environment = await made(f"stone==2.0 {right}")
    assert run(environment, "import stone, pebble; print(stone.VERSION, pebble.VERSION)") == "2.0 1.0"
    for line, what in (
        ("stone==2.0 --hash=sha256:" + "0" * 64, "Hash mismatch"),
        ("stone==2.0", "with `==`|hash"),
        (f"pebble==0.5 {old}", r"(?s)leave no room for what the SDK needs.*pebble"),
    ):
        with pytest.raises(ImageFailedError, match=what):
            await made(line)
