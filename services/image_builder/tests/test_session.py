"""Sessions: a client of gRPC on a connection that is taken over gets what BuildKit asks for, and nothing else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from hangar.buildkit.v1.buildkit_pb2 import CredentialsRequest, CredentialsResponse
from services.common.errors import FailedPrecondition
from services.image_builder.session import Session
from services.image_builder.tests.buildkit_client import receive, secret, told, transfer
from services.image_builder.tests.fakes import FakeDocker, FakeEngine
from services.image_builder.trees import Tree


async def no_credentials(host: str) -> tuple[str, str]:
    """Registries want none."""
    return "", ""


@asynccontextmanager
async def asking(session: Session, tmp_path: Path, place: Path) -> AsyncIterator[grpc.aio.Channel]:
    """What BuildKit has of a session."""
    engine = FakeEngine(FakeDocker(tmp_path / "docker"))
    place.mkdir(parents=True, exist_ok=True)
    async with session.open(engine, place):
        assert list(place.iterdir()) == []  # nobody else can connect
        async with engine._sessions.pop(session.identity) as channel:
            yield channel


async def test_files_are_sent(tmp_path: Path) -> None:
    """Small ones from memory and large ones from disk, whole; any number of paths may be asked for."""
    large = bytes(range(256)) * 4000
    (tmp_path / "large").write_bytes(large)
    tree = Tree({"d/a b": b"1", "d/empty": b"", "large": tmp_path / "large"})
    session = Session({"context": tree}, {}, no_credentials, "")
    async with asking(session, tmp_path, tmp_path / "place") as channel:
        assert await receive(channel, "context") == {"d/a b": b"1", "d/empty": b"", "large": large}
        many = [("followpaths", f"none-{number:0100}") for number in range(1000)]
        some = transfer(channel, "context", ("followpaths", "d%2Fa+b"), ("followpaths-encoded", "1"), *many)
        assert [stat.path for stat in await told(some)] == ["d", "d/a b"]
        some.cancel()
        with pytest.raises(grpc.aio.AioRpcError, match="no directory 'other'"):
            await receive(channel, "other")


async def test_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    """A file whose name is no UTF-8 cannot be sent; the author hears which one it is, and what to do."""
    (tmp_path / "files").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "files") + b"/a\xff")).write_text("")
    session = Session({"context": Tree({}, {"": tmp_path / "files"})}, {}, no_credentials, "")
    async with asking(session, tmp_path, tmp_path / "place") as channel:
        with pytest.raises(grpc.aio.AioRpcError, match=r"the name of 'a.udcff' is no UTF-8: rename it"):
            await receive(channel, "context")


async def test_secrets_and_credentials_are_given(tmp_path: Path) -> None:
    """A secret that there is not is NOT_FOUND, which BuildKit takes for none; the place may have any name."""
    asked = []

    async def credentials(host: str) -> tuple[str, str]:
        if host == "broken.example":
            raise FailedPrecondition("the helper fails")
        asked.append(host)
        return "me", "password"

    session = Session({}, {"key": b"content"}, credentials, "")
    async with asking(session, tmp_path, tmp_path / ("long-%41" * 20)) as channel:
        assert await secret(channel, "key") == b"content"
        assert await secret(channel, "none") is None
        login = channel.unary_unary(
            "/moby.filesync.v1.Auth/Credentials",
            CredentialsRequest.SerializeToString,
            CredentialsResponse.FromString,
        )
        answer = await login(CredentialsRequest(host="registry.example"))
        assert (answer.username, answer.secret, asked) == ("me", "password", ["registry.example"])
        with pytest.raises(grpc.aio.AioRpcError, match="the helper fails"):
            await login(CredentialsRequest(host="broken.example"))
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
