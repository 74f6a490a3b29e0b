"""`hangar health`: what a container or a service manager asks again and again, so it imports little."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from services.common.errors import Unavailable


def check_health(address: str, seconds: float = 5.0) -> None:
    """Asks a service whether it serves. Health needs no token.

    Args:
        address: Host and port.
        seconds: Longest time to wait for its answer.

    Raises:
        Unavailable: It does not answer (reason ``SERVICE_UNREACHABLE``), or says that it does not serve, as a
            standby does (reason ``SERVICE_NOT_SERVING``).
    """
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.RpcError as error:
            message = f"{address} does not answer: {error.code().name.lower()}, {error.details()}"
            raise Unavailable(message, reason="SERVICE_UNREACHABLE") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise Unavailable(f"{address} is {status}", reason="SERVICE_NOT_SERVING")
