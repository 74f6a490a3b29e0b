"""Connections to other services."""

from __future__ import annotations

import json
from typing import Any

import grpc
import grpc.aio
from opentelemetry import propagate

from services.common.auth import Token
from services.common.errors import InvalidArgument
from services.common.standby import Choice, ChosenMethod

MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest gRPC message in bytes, in both directions."""

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # a server that is paused answers no ping, and breaks nothing else
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # gRPC's name for how long a connection may take to be made
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),
)
# gRPC watches the health of what it is connected to, and counts it as ready while that says SERVING. Only the
# policy round_robin does so; it has one name to choose from, with all addresses of that name.
_HEALTHY = json.dumps(
    {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
)


def connect(address: str, token: Token | None = None) -> grpc.aio.Channel:
    """Returns a channel to a service. It connects when it is first used, and again after it broke.

    Args:
        address: Host and port, such as ``"127.0.0.1:8090"``. Several, separated by commas, are of one service
            and its standbys: calls go to one that says in its health that it serves.
        token: What is shown with every call.

    Raises:
        InvalidArgument: There is no address.
    """
    addresses = [each.strip() for each in address.split(",") if each.strip()]
    if not addresses:
        raise InvalidArgument(f"address {address!r} is empty: use HOST:PORT", reason="ADDRESS_INVALID")
    if len(addresses) == 1:
        return ServiceChannel([grpc.aio.insecure_channel(addresses[0], options=_OPTIONS)], token)
    options = (*_OPTIONS, ("grpc.service_config", _HEALTHY))
    return ServiceChannel([grpc.aio.insecure_channel(each, options=options) for each in addresses], token)


class ServiceChannel(grpc.aio.Channel):
    """A channel whose calls carry the caller's trace and token, to whichever of some addresses serves.

    Args:
        channels: A channel to each address.
        token: What is shown with every call.
    """

    def __init__(self, channels: list[grpc.aio.Channel], token: Token | None) -> None:
        self._channels = channels
        self._choice = Choice(channels)
        self._token = token

    def _metadata(self) -> list[tuple[str, str]]:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        if self._token is not None:
            carrier["authorization"] = self._token.authorization
        return list(carrier.items())

    def _method(self, kind: str, *args: Any, **kwargs: Any) -> Any:
        methods = [getattr(channel, kind)(*args, **kwargs) for channel in self._channels]
        return ChosenMethod(methods, self._choice, self._metadata)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Returns a method with one request and one response."""
        return self._method("unary_unary", *args, **kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Returns a method with one request and many responses."""
        return self._method("unary_stream", *args, **kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Returns a method with many requests and one response."""
        return self._method("stream_unary", *args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Returns a method with many requests and many responses."""
        return self._method("stream_stream", *args, **kwargs)

    async def close(self, grace: float | None = None) -> None:
        """Closes all connections, after up to `grace` seconds for calls that run."""
        for channel in self._channels:
            await channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Returns the state of the address that calls go to."""
        return self._channels[self._choice.current].get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Waits until the address that calls go to has another state."""
        await self._channels[self._choice.current].wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Waits until an address serves."""
        await self._choice.ready()

    async def __aenter__(self) -> ServiceChannel:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()
