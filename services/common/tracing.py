"""Spans: where they go, and those of calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace

from services.common.interceptor import CallInterceptor, Context, code_name

_TRACER = "hangar"
_SILENT = ("/grpc.health.", "/grpc.reflection.")


class Tracing:
    """The process's tracer provider. Without an endpoint no spans are recorded, but traces of callers go on.

    Args:
        service: Name of the service in its spans, such as ``"scheduler"``.
        endpoint: OTLP gRPC endpoint, such as ``"http://127.0.0.1:4317"``. Empty: off.
    """

    def __init__(self, service: str, endpoint: str = "") -> None:
        self.enabled = bool(endpoint)
        self._provider: Any = None
        if not self.enabled:
            return
        # The SDK and its exporter are imported only when they are used: services have to start fast.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self._provider = TracerProvider(resource=Resource.create({"service.name": f"hangar-{service}"}))
        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))

    def tracer(self) -> trace.Tracer:
        """Returns the tracer to make spans with."""
        provider: trace.TracerProvider = self._provider or trace.NoOpTracerProvider()
        return provider.get_tracer(_TRACER)

    def stop(self) -> None:
        """Sends what is left. Blocks for up to the exporter's time limit; call it from a thread."""
        if self._provider is not None:
            self._provider.shutdown()


class SpanInterceptor(CallInterceptor):
    """One server span per call, below the caller's span when it sent a ``traceparent``."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracer = tracing.tracer()

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
        """Returns the span of one call."""
        method = str(details.method)
        if method.startswith(_SILENT):
            yield
            return
        metadata: Any = details.invocation_metadata or ()
        parent = propagate.extract({key: value for key, value in metadata if isinstance(value, str)})
        service, _, name = method.lstrip("/").rpartition("/")
        span = self._tracer.start_span(
            f"{service}/{name}",
            context=parent,
            kind=trace.SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        )
        # Every call has an asyncio task of its own, whose context ends with it: nothing to detach.
        otel_context.attach(trace.set_span_in_context(span, parent))
        try:
            yield
        finally:
            status = code_name(context)
            span.set_attribute("rpc.grpc.status", status)
            if status != "OK":
                span.set_status(trace.StatusCode.ERROR, status)
            span.end()
