from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from hangar.app.v1 import app_service_pb2
from services.app_serving.app import AppServingApp
from services.app_serving.settings import Settings
from services.common.channel import connect
from services.common.errors import Unimplemented
from services.common.grpc_errors import from_rpc_error
from services.common.serve import build_server

METHODS = list(app_service_pb2.DESCRIPTOR.services_by_name["AppService"].methods)


@pytest.fixture
async def channel(tmp_path) -> AsyncIterator[Any]:
    """A connection to app-serving that runs."""
    app = AppServingApp(Settings.load(data_dir=tmp_path))
    server = build_server(app.registrations)
    port = server.bind("127.0.0.1", 0)
    await app.start()
    await server.start()
    async with connect(f"127.0.0.1:{port}") as connected:
        yield connected
    await server.stop(0)
    await app.stop()


async def test_it_is_healthy(channel):
    """Health says that AppService serves."""
    answer = await health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(service="hangar.app.v1.AppService")
    )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_every_method_says_that_apps_are_not_available(channel, method):
    """UNIMPLEMENTED with a reason for programs, and a message that names the method and what there is instead."""
    request: Any = getattr(app_service_pb2, method.input_type.name)()
    call = channel.unary_stream if method.server_streaming else channel.unary_unary
    made = call(
        f"/hangar.app.v1.AppService/{method.name}", request_serializer=lambda each: each.SerializeToString()
    )

    async def answer() -> None:
        if method.server_streaming:
            assert [each async for each in made(request)]
        else:
            await made(request)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    found = from_rpc_error(caught.value)
    assert isinstance(found, Unimplemented)
    assert (found.reason, found.metadata) == ("APPS_NOT_AVAILABLE", {"method": method.name})
    assert found.message.startswith(f"apps are not available yet in this version: {method.name} ")
