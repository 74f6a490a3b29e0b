"""Logs: structured, one line each, with the ids of the span they belong to."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import IO, Any, Literal

import structlog
from opentelemetry import trace

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure_logging(
    log_format: Literal["console", "json"] = "console", level: str = "info", stream: IO[str] | None = None
) -> None:
    """Sets up logging for the process. Loggers of libraries go the same way.

    Args:
        log_format: ``"console"`` for people, ``"json"`` for programs.
        level: Least level, such as ``"info"``. Libraries log from ``"warning"`` on, unless it is ``"debug"``.
        stream: Where lines go. The default is the standard error.
    """
    target = stream or sys.stderr
    renderer: Any
    tail: list[Any] = []
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
        tail = [structlog.processors.dict_tracebacks]
    else:
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=plain)
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, add_span],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    logging.getLogger("services").setLevel(level.upper())
    for noisy in ("asyncio", "grpc", "alembic.runtime.plugins"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            add_span,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def add_span(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds the ids of the current span, 32 and 16 hex digits, to a log event. Without a span, nothing."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event
