import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection_pb2,
    reflection_pb2_grpc,
)
from grpc_status import rpc_status  # type: ignore[import-untyped]

from services.common.auth import Token, check_exposure, ensure_token, read_token
from services.common.channel import connect
from services.common.errors import FailedPrecondition, InvalidArgument
from services.common.serve import Registration, build_server
from services.common.settings import ServiceSettings
from services.common.tests.echo import Echo, add_echo

SECRET = "hgr_0123456789abcdefghij"


@pytest.fixture
async def guarded():
    """A server that demands a token, and its address."""
    server = build_server(
        [Registration(add_echo, Echo(lambda request: request), "test.Echo")], token=Token(SECRET)
    )
    port = server.bind("127.0.0.1", 0)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


def reason(error: grpc.aio.AioRpcError) -> str:
    """Returns the reason in the details of an error."""
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(_Details(error)).details[0].Unpack(info)
    return str(info.reason)


class _Details:
    """An error in the form that grpc_status reads."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self._error = error

    def trailing_metadata(self):
        return tuple(self._error.trailing_metadata())

    def code(self):
        return self._error.code()

    def details(self):
        return self._error.details()


async def test_calls_without_the_token_are_refused_of_every_kind(guarded):
    """Without a token, with another one or in another scheme nothing is answered but health."""
    wrong = [
        ((), "TOKEN_MISSING"),
        ((("authorization", f"Bearer {SECRET[:-1]}"),), "TOKEN_WRONG"),
        ((("authorization", f"Bearer {SECRET}x"),), "TOKEN_WRONG"),
        ((("authorization", f"Basic {SECRET}"),), "TOKEN_MISSING"),
        ((("authorization", SECRET),), "TOKEN_MISSING"),
    ]
    channel: Any
    async with grpc.aio.insecure_channel(guarded) as channel:
        for metadata, expected in wrong:
            with pytest.raises(grpc.aio.AioRpcError) as unary:
                await channel.unary_unary("/test.Echo/Unary")(b"x", metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as stream:
                _ = [
                    each async for each in channel.unary_stream("/test.Echo/Stream")(b"x", metadata=metadata)
                ]
            for caught in (unary.value, stream.value):
                assert (caught.code(), reason(caught)) == (grpc.StatusCode.UNAUTHENTICATED, expected)
                assert "hangar token" in str(caught.details())
                assert SECRET[4:-1] not in str(caught.details())
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert (await health.Watch(health_pb2.HealthCheckRequest()).read()).status == answer.status


async def test_reflection_needs_the_token(guarded):
    """What the API looks like is for those who have the token."""
    channel: Any
    async with grpc.aio.insecure_channel(guarded) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="*")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [each async for each in stub.ServerReflectionInfo(iter([request]))]
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        shown = [("authorization", f"bearer {SECRET}")]
        answers = [each async for each in stub.ServerReflectionInfo(iter([request]), metadata=shown)]
        assert "test.Echo" in [each.name for each in answers[0].list_services_response.service]


async def test_channels_show_the_token(guarded):
    """A channel with the token reaches every kind of method."""
    channel: Any
    async with connect(guarded, Token(SECRET)) as channel:
        assert await channel.unary_unary("/test.Echo/Unary")(b"x") == b"x"
        assert [each async for each in channel.unary_stream("/test.Echo/Stream")(b"y")] == [b"first", b"y"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
async def test_nothing_listens_beyond_loopback_without_a_token(host):
    """Addresses that others could reach need a token; the message names the setting and the command."""
    with pytest.raises(
        InvalidArgument, match=r"HANGAR_X_HOST is .*`hangar token`.*HANGAR_TOKEN_FILE"
    ) as caught:
        check_exposure(host, None, "HANGAR_X_HOST")
    assert caught.value.reason == "TOKEN_REQUIRED"
    check_exposure(host, Token(SECRET))
    with pytest.raises(InvalidArgument, match="HANGAR_TOKEN_FILE"):
        build_server([]).bind(host, 0)
    for own in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        check_exposure(own, None)


def test_a_token_is_made_once_for_its_owner_only(tmp_path):
    """Whoever asks at the same time gets the same token; the file is mode 0600, and no other file is left."""
    path = tmp_path / "new" / "token"
    with ThreadPoolExecutor(8) as threads:
        made = {token.reveal() for token in threads.map(lambda _: ensure_token(path), range(8))}
    assert len(made) == 1
    [text] = made
    assert text.startswith("hgr_")
    assert len(text) >= 4 + 43  # 32 bytes in base64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert read_token(path).reveal() == text
    other = ensure_token(tmp_path / "other")
    assert other.reveal() != text


def test_wrong_tokens_are_refused_without_showing_them(tmp_path):
    """Files that do not exist or hold no token are named; the content is not."""
    with pytest.raises(FailedPrecondition, match=r"token file .*none cannot be read.*hangar token --file"):
        read_token(tmp_path / "none")
    for text in ("", "short", "two words of twenty letters", "ümläute" * 5, "line\nline" * 5):
        (tmp_path / "file").write_text(text)
        with pytest.raises(InvalidArgument, match=r"file is not usable") as caught:
            read_token(tmp_path / "file")
        assert not text or text not in caught.value.message


def test_tokens_are_never_printed(monkeypatch):
    """Neither the token nor settings show it, nor does the message about a wrong one."""
    monkeypatch.setenv("HANGAR_TOKEN", SECRET)
    settings = ServiceSettings.load()
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.access_token())):
        assert SECRET not in shown
    token = settings.access_token()
    assert token is not None
    assert token.reveal() == SECRET
    assert token.matches(SECRET)
    assert not token.matches("")
    monkeypatch.setenv("HANGAR_TOKEN", "short-secret")
    with pytest.raises(InvalidArgument, match="12 characters") as caught:
        ServiceSettings.load().access_token()
    assert "short-secret" not in caught.value.message


def test_a_token_comes_from_its_file(tmp_path, monkeypatch):
    """HANGAR_TOKEN_FILE names it; without either name there is none, and empty names are none."""
    monkeypatch.setenv("HANGAR_TOKEN", "")
    monkeypatch.setenv("HANGAR_TOKEN_FILE", "")
    assert ServiceSettings.load().access_token() is None
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    monkeypatch.setenv("HANGAR_TOKEN_FILE", str(path))
    token = ServiceSettings.load().access_token()
    assert token is not None
    assert token.reveal() == SECRET
