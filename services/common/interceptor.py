"""What wraps the calls of a gRPC server, whatever their arity."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import grpc
import grpc.aio

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_BUILDERS: dict[tuple[bool, bool], tuple[str, Callable[..., Any]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every call of a server in a context manager. Subclasses say in which one."""

    def around(self, details: grpc.HandlerCallDetails, context: Context) -> AbstractAsyncContextManager[None]:
        """Returns what to enter before a call and to leave after it."""
        raise NotImplementedError

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None:  # the method does not exist
            return None
        streams = bool(handler.response_streaming)
        attribute, build = _BUILDERS[(bool(handler.request_streaming), streams)]
        behaviour = getattr(handler, attribute)

        async def unary(request: Any, context: Context) -> Any:
            async with self.around(handler_call_details, context):
                return await behaviour(request, context)

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self.around(handler_call_details, context):
                produced = behaviour(request, context)
                if inspect.isawaitable(produced):  # a coroutine that writes to the context itself
                    await produced
                    return
                try:
                    async for response in produced:
                        yield response
                finally:
                    if inspect.isasyncgen(produced):
                        await produced.aclose()

        return build(
            stream if streams else unary,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def code_name(context: Context) -> str:
    """Returns the name of the status that a call ended with, such as ``"OK"``."""
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((each.name for each in grpc.StatusCode if each.value[0] == (code or 0)), str(code))
