"""Local files, locked projects and secrets in images that are really built."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import uv

import flyte
from hangar.image.v1 import image_service_pb2 as messages
from services.executor.tests.wheels import write_quarry, write_wheel
from services.image_builder.tests.package_index import PASSWORD, USER, serve_index
from services.image_builder.tests.real_builder import (
    BASE,
    FAILED,
    SUCCEEDED,
    Builder,
)

pytestmark = pytest.mark.timeout(300)


PROJECT = """[project]
name = "pebbles"
version = "1"
requires-python = ">=3.10"
dependencies = ["iniconfig==2.0.0"]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.hatch.build.targets.wheel]
only-include = ["pebbles.py"]
"""
POETRY_LOCK = """[[package]]
name = "iniconfig"
version = "2.0.0"
description = ""
optional = false
python-versions = ">=3.7"
groups = ["main"]
files = []

[metadata]
lock-version = "2.1"
python-versions = ">=3.10"
content-hash = "HASH"
"""
LOGIN = {"ix-user": "UV_INDEX_IX_USERNAME", "ix-password": "UV_INDEX_IX_PASSWORD"}
"""Variables of secrets that open an index of the name IX."""
SCRIPT = """# /// script
# dependencies = ["granite"]
# [tool.uv]
# link-mode = "symlink"
# [[tool.uv.index]]
# name = "ix"
# url = "{url}"
# explicit = true
# [tool.uv.sources]
# granite = {{ index = "ix" }}
# ///
"""
COMMANDS = [
    "false; true",
    "cat > /said <<'EOF'\none 'two'\n  $three\nEOF\n",
    "test \"$UNSET\" = ''; exit 0; false",
]
_HASH = "from poetry.factory import Factory; print(Factory().create_poetry('.').locker._get_content_hash())"


async def test_secrets_of_the_host_are_in_no_layer(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private index works through the host's settings; its address is in no layer, history or log."""
    write_wheel(tmp_path / "wheels", "pebble", "1.5")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine nowhere.example login me password netrc-secret-4712\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    write_wheel(tmp_path / "more", "granite", "2.5")
    with (
        serve_index(tmp_path / "wheels") as url,
        serve_index(tmp_path / "more", "definition-secret-4713") as more,
    ):
        monkeypatch.setenv("UV_INDEX", url)
        host = url.rpartition("@")[2].partition("/")[0]
        build, lines = await builder.build(
            {"kind": "pip", "packages": ["pebble"]},
            {"kind": "commands", "commands": ["echo index $UV_INDEX", "cat $NETRC"]},
            {
                "kind": "pip",
                "packages": ["granite"],
                "index_url": f"ix=http://{more.rpartition('@')[2]}",
                "secret_mounts": [{"key": key, "env": variable} for key, variable in LOGIN.items()],
            },
            secrets={"ix-user": USER.encode(), "ix-password": b"definition-secret-4713"},
        )
    assert build.state == SUCCEEDED, lines
    assert (
        await builder.run(build.reference, "python3", "-c", "import pebble; print(pebble.VERSION)") == "1.5\n"
    )
    secrets = [PASSWORD, host, "netrc-secret-4712", "definition-secret-4713"]
    text = "\n".join(lines)
    assert [word for word in secrets if word in text and word != host] == []
    image = builder.engine.images.get(build.reference)
    described = json.dumps([image.attrs, image.history()])
    assert [word for word in secrets if word in described] == []
    saved = await asyncio.to_thread(lambda: b"".join(image.save()))
    base = await asyncio.to_thread(lambda: len(builder.engine.images.get(BASE).attrs["RootFS"]["Layers"]))
    assert leaks(saved, base, [word.encode() for word in secrets]) == []


async def test_files_projects_and_secrets(builder: Builder, tmp_path: Path) -> None:
    """Files and locked packages are where the definition says; a secret is seen while layers are made, and in none."""
    files = tmp_path / "files"
    (files / "proj").mkdir(parents=True)
    (files / "proj" / "a b.txt").write_text("deep")
    (files / "top.py").write_text("NAME = 'top'\n")
    (files / "pyproject.toml").write_text(PROJECT)
    (files / "pebbles.py").write_text("NAME = 'pebbles'\n")
    command = [uv.find_uv_bin(), "lock", "--quiet", "--python", "3.11"]
    await asyncio.to_thread(subprocess.run, command, cwd=files, check=True)
    image = (
        flyte.Image.from_debian_base("3.11")
        .with_source_folder(files / "proj", dst="data")
        .with_source_file(files / "top.py")
        .with_uv_project(files / "pyproject.toml", project_install_mode="install_project")
        .with_commands(
            [
                'test "$(printf %s "$BUILD_TOKEN" | rev)" = 4174-terces-rellac',
                "test $(rev /etc/flyte/secrets/pem) = 5174-tsoh",
            ],
            secret_mounts=["build-token", SimpleNamespace(key="pem", mount="/etc/flyte/secrets")],
        )
    )
    secrets = {"build-token": b"caller-secret-4714", "pem": b"host-4715"}
    missing, _ = await builder.build_image(image)
    assert (missing.state, missing.failure.code) == (FAILED, "SecretMissing")
    build, lines = await builder.build_image(image, secrets=secrets, force=True)
    assert build.state == SUCCEEDED, lines
    program = (
        "import os, iniconfig, pebbles, top, importlib.metadata as m\n"
        "print(os.getcwd(), open('data/proj/a b.txt').read(), pebbles.NAME, top.NAME, m.version('iniconfig'))\n"
    )
    printed = await builder.run(build.reference, "python3", "-c", program)
    assert printed == "/app deep pebbles top 2.0.0\n"
    words = list(secrets.values())
    saved = await asyncio.to_thread(lambda: b"".join(builder.engine.images.get(build.reference).save()))
    base = await asyncio.to_thread(lambda: len(builder.engine.images.get(BASE).attrs["RootFS"]["Layers"]))
    assert leaks(saved, base, words) == []
    described = json.dumps([builder.engine.images.get(build.reference).attrs, lines])
    assert builder.data is not None
    record = (builder.data / "image-builder.db").read_bytes()
    record += (builder.data / "image-builder.db-wal").read_bytes()
    assert [word for word in words if word in described.encode() or word in record] == []
    request = messages.GetImageAttestationRequest(name=build.name)
    attestation = await builder.stub.GetImageAttestation(request)
    found = {component["purl"] for component in json.loads(attestation.sbom_json)["components"]}
    assert {"pkg:pypi/iniconfig@2.0.0", "pkg:pypi/pebbles@1"} <= found
    assert any(purl.startswith("pkg:deb/debian/libc6@") for purl in found)
    materials = json.loads(attestation.provenance_json)["predicate"]["buildDefinition"][
        "resolvedDependencies"
    ]
    assert sum("digest" in material for material in materials) == 4


async def test_packages_come_from_where_their_files_say(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indexes and sources of a script and of a locked project, folders, and hashes count; commands are the shell's."""
    wheels = tmp_path / "wheels"
    for name in ("granite", "stone_priv", "nvidia_pebble", "flint", "slate"):
        slate = write_wheel(wheels, name, "1.5")
    digest = hashlib.sha256(slate.read_bytes()).hexdigest()
    mounts = [SimpleNamespace(key=key, as_env_var=variable) for key, variable in LOGIN.items()]
    secrets = {"ix-user": USER.encode(), "ix-password": PASSWORD.encode()}
    for key, variable in LOGIN.items():
        monkeypatch.setenv(variable, secrets[key].decode())
    with serve_index(wheels) as address:
        url = f"http://{address.rpartition('@')[2]}"
        project, script = tmp_path / "quarry", tmp_path / "script.py"
        text = write_quarry(project, url)
        script.write_text(SCRIPT.format(url=url))
        command = [uv.find_uv_bin(), "lock", "--quiet", "--python", "3.11"]
        await asyncio.to_thread(subprocess.run, command, cwd=project, check=True)
        login = url.replace("://", "://${UV_INDEX_IX_USERNAME}:${UV_INDEX_IX_PASSWORD}@")
        index = [f"--extra-index-url {login}"]
        mounted = [{"key": key, "env": variable} for key, variable in LOGIN.items()]
        mounted = [{"key": key, "env": variable} for key, variable in LOGIN.items()]
        listed = {"kind": "requirements", "secret_mounts": mounted}
        build, lines = await builder.build(
            {**listed, "lines": [*index, "nvidia-pebble", "flint"]},
            {**listed, "lines": [*index, "--require-hashes", f"slate==1.5 --hash=sha256:{digest}"]},
            secrets=secrets,
        )
        assert build.state == SUCCEEDED, lines
        assert await builder.run(build.reference, "python3", "-c", "import flint, nvidia_pebble, slate") == ""
        image = (
            flyte.Image.from_uv_script(script, python_version="3.11", secret_mounts=mounts)
            .with_uv_project(project / "pyproject.toml", secret_mounts=mounts)
            .with_commands(COMMANDS)
        )
        build, lines = await builder.build_image(image, secrets=secrets)
        assert build.state == SUCCEEDED, lines
        program = (
            "import granite, gravel, stone_priv\n"
            "print(granite.VERSION, stone_priv.VERSION, gravel.X, repr(open('/said').read()))\n"
        )
        printed = await builder.run(build.reference, "python3", "-c", program)
        assert printed == "1.5 1.5 1 \"one 'two'\\n  $three\\n\"\n"
        (project / "pyproject.toml").write_text(text.replace('"gravel"', '"gravel", "iniconfig"'))
        old, _ = await builder.build_image(image, secrets=secrets)
        assert (old.state, old.failed_layer) == (FAILED, 1)
        assert "needs to be updated" in old.failure.message


async def test_a_poetry_project(builder: Builder, tmp_path: Path) -> None:
    """Poetry itself reads its lock file; one that does not fit is refused in its words."""
    (tmp_path / "pyproject.toml").write_text(PROJECT.partition("[build")[0])
    command = [uv.find_uv_bin(), "tool", "run", "--quiet", "--from", "poetry>=2,<3", "python", "-c", _HASH]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    image = flyte.Image.from_debian_base("3.11").with_poetry_project(tmp_path / "pyproject.toml")
    (tmp_path / "poetry.lock").write_text(POETRY_LOCK)
    wrong, _ = await builder.build_image(image)
    assert (wrong.state, wrong.failed_layer, wrong.exit_code) == (FAILED, 0, 1)
    assert "pyproject.toml changed significantly since poetry.lock" in wrong.failure.message
    (tmp_path / "poetry.lock").write_text(POETRY_LOCK.replace("HASH", done.stdout.strip()))
    build, lines = await builder.build_image(image)
    assert build.state == SUCCEEDED, lines
    program = "import importlib.metadata as m; print(m.version('iniconfig'))"
    assert await builder.run(build.reference, "python3", "-c", program) == "2.0.0\n"


def leaks(saved: bytes, base_layers: int, words: list[bytes]) -> list[str]:
    """Files of an image's own layers that hold one of some words, or that a mount left behind."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(saved)) as image:
        manifest = json.load(image.extractfile("manifest.json"))  # type: ignore[arg-type]
        own = manifest[0]["Layers"][base_layers:]
        assert own
        for name in own:
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                for member in layer:
                    content = layer.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
                    left = member.name.startswith("run/") and not member.isdir()
                    if left or any(word in content or word in member.name.encode() for word in words):
                        found.append(member.name)
    return found
