import grpc
import grpc.aio
import pytest
import structlog

from services.common import errors
from services.common.grpc_errors import code_of, from_rpc_error
from services.common.tests.echo import start_echo


def test_reason_defaults_to_the_name_of_the_class():
    """An error without a reason of its own has its class's name as reason."""
    assert errors.AlreadyExists("taken").reason == "ALREADY_EXISTS"
    assert str(errors.NotFound("no run x", reason="RUN_NOT_FOUND", run="x", count=3)) == "no run x"
    assert errors.NotFound("no run x", count=3).metadata == {"count": "3"}


def test_every_error_has_a_code_of_its_own():
    """No two kinds of errors share a status code, and subclasses have their parent's."""
    kinds = errors.HangarError.__subclasses__()
    assert len({code_of(kind("x")) for kind in kinds}) == len(kinds) == 10

    class RunNotFound(errors.NotFound):
        pass

    assert code_of(RunNotFound("x")) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("method", ["Unary", "Stream"])
@pytest.mark.parametrize("kind", errors.HangarError.__subclasses__())
async def test_errors_cross_the_wire_whole(kind, method):
    """Kind, message, reason and metadata arrive as they were raised, from unary and streaming calls."""

    def fail(_request: bytes) -> bytes:
        raise kind("it is söö", reason="BECAUSE", run="abc")

    server, channel = await start_echo(fail)

    async def call() -> None:
        if method == "Unary":
            await channel.unary_unary("/test.Echo/Unary")(b"x")
        else:
            assert [each async for each in channel.unary_stream("/test.Echo/Stream")(b"x")]

    try:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call()
        found = from_rpc_error(caught.value)
        assert type(found) is kind
        assert (found.message, found.reason, found.metadata) == ("it is söö", "BECAUSE", {"run": "abc"})
    finally:
        await channel.close()
        await server.stop(0)


async def test_a_defect_is_logged_and_told_without_internals():
    """An unexpected exception is logged with its traceback; the caller reads nothing of it."""

    def fail(_request: bytes) -> bytes:
        raise KeyError("secret detail")

    server, channel = await start_echo(fail)
    try:
        with structlog.testing.capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Echo/Unary")(b"x")
    finally:
        await channel.close()
        await server.stop(0)
    found = from_rpc_error(caught.value)
    assert isinstance(found, errors.Internal)
    assert found.reason == "UNEXPECTED"
    assert "secret" not in found.message
    assert [isinstance(each["exc_info"], KeyError) for each in logs if each["log_level"] == "error"] == [True]


async def test_an_unreachable_service_is_unavailable():
    """A connection that cannot be made is `Unavailable`, with gRPC's words."""
    server, channel = await start_echo(lambda request: request)
    await server.stop(0)
    try:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Echo/Unary")(b"x")
        assert isinstance(from_rpc_error(caught.value), errors.Unavailable)
    finally:
        await channel.close()
