"""Secrets of builds: who gives them, who gives them again after a restart, and that nobody sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.image_builder.builds import Build
from services.image_builder.tests.fakes import FakeDocker
from services.image_builder.tests.world import World, until


async def test_a_failure_is_of_the_secrets_that_were_given(world: World) -> None:
    """Other ones are tried at once; the same, or none, get the old answer while it counts."""
    world.docker.fails = True
    world.docker.go()

    async def started(**secrets: bytes) -> int:
        name = (await world.ask(secrets=secrets)).name
        await world.watch(name)
        return len(world.docker.started)

    assert [await started(), await started(key=b"wrong"), await started(key=b"wrong")] == [1, 2, 2]
    assert [await started(), await started(key=b"right"), await started(other=b"right")] == [2, 3, 4]


async def test_a_build_waits_for_the_secrets_that_a_restart_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says which; one who asks without them waits with it, one who brings them lets it go on; else it fails so."""
    layer = {"kind": "commands", "commands": ["true"], "secret_mounts": [{"key": "token", "env": "TOKEN"}]}
    text = json.dumps(
        {"base": {"kind": "debian", "python": "3.11", "registry_secret": "login"}, "layers": [layer]}
    )
    given = {"token": b"1", "login": b'{"auths": {"a.example": {"username": "me", "password": "2"}}}'}
    name = (await world.builds.build(text, secrets=given)).image.name
    await until(lambda: world.docker.started != [])
    await world.builds.stop()
    world.docker.go()
    second = world.another()
    await second.start()
    waiting = await second.build(text)
    await until(lambda: waiting.missing_secrets == ("login", "token"))
    assert (await second.build(text, secrets={"token": b"1"})).missing_secrets == ("login", "token")
    assert (await second.build(text, secrets=given)) is waiting
    async for _ in second.watch(name, 0):
        pass
    assert (waiting.state.value, waiting.missing_secrets) == ("succeeded", ())
    assert world.docker.started == [name, name]
    await second.stop()

    world.docker.hold()
    third = world.another()
    await third.build(text, secrets=given, force=True)
    await until(lambda: len(world.docker.started) == 3)
    await third.stop()
    monkeypatch.setattr("services.image_builder.awaited_secrets._SECONDS", 0.1)
    fourth = world.another()
    await fourth.start()
    async for _ in fourth.watch(name, 0):
        pass
    build = await fourth.get(name)
    assert build.error is not None
    assert (build.error.code, build.error.is_system) == ("SecretMissing", False)
    for part in ("'login' and 'token'", "was restarted", "`flyte run` again", "HANGAR_IMAGE_BUILDER_SECRETS"):
        assert part in build.error.message
    await fourth.stop()


async def test_secrets_come_from_the_caller_or_from_the_host(tmp_path: Path) -> None:
    """A secret that neither has fails the build with its name and what to set."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "host").write_text("1\n")
    docker = FakeDocker(tmp_path / "docker")
    docker.go()
    world = World(tmp_path, docker, secrets=str(tmp_path / "secrets"))

    async def outcome(key: str, **given: bytes) -> Build:
        layer = {"kind": "commands", "commands": ["true"], "secret_mounts": [{"key": key, "env": "KEY"}]}
        text = json.dumps({"base": {"kind": "debian", "python": "3.11"}, "layers": [layer]})
        build = await world.builds.build(text, secrets=given)
        async for _ in world.builds.watch(build.image.name, 0):
            pass
        return build

    missing = await outcome("nowhere")
    assert missing.error is not None
    assert "'nowhere'" in missing.error.message
    assert (await outcome("nowhere", nowhere=b"3")).error is None, (
        "who brings it does not get the old failure"
    )
    missing = await outcome("neither")
    assert missing.error is not None
    assert missing.error.code == "SecretMissing"
    assert str(tmp_path / "secrets" / "neither") in missing.error.message
    assert "set the environment variable KEY" in missing.error.message
    assert (await outcome("host")).error is None
    assert (await outcome("caller", caller=b"2")).error is None


async def test_no_line_of_a_secret_is_shown_or_kept(world: World) -> None:
    """What a step prints of a secret with several lines is in no line of the log, no message and not on record."""
    world.docker.tells = True
    world.docker.fails = True
    world.docker.go()
    layer = {"kind": "commands", "commands": ["true"], "secret_mounts": [{"key": "key", "env": "KEY"}]}
    text = json.dumps({"base": {"kind": "debian", "python": "3.11"}, "layers": [layer]})
    secret = b"-----BEGIN KEY-----\nMIISECRETLINE1\n  MIISECRETLINE2\n-----END KEY-----\n"
    name = (await world.builds.build(text, secrets={"key": secret})).image.name
    _, lines, build = await world.watch(name)
    assert "****" in lines
    assert "****" in build.failure.message
    kept = b"".join(path.read_bytes() for path in world.settings.data_dir.glob("builds.db*"))
    assert name.encode() in kept
    for shown in ("\n".join(lines), build.failure.message, kept.decode(errors="replace")):
        assert "SECRETLINE" not in shown
