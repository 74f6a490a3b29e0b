"""Logs: structured, one line each, with the ids of the span they belong to."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
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
    log_format: Literal["console", "json"] = "console",
    level: str = "info",
    stream: IO[str] | None = None,
    file: Path | None = None,
) -> None:
    """Sets up logging for the process. Loggers of libraries go the same way.

    Args:
        log_format: ``"console"`` for people, ``"json"`` for programs.
        level: Least level, such as ``"info"``. Libraries log from ``"warning"`` on, unless it is ``"debug"``.
        stream: Where lines go. The default is the standard error.
        file: File that gets all lines; the stream then gets errors only. Kept below 20 MiB, three times.
    """
    target = stream or sys.stderr
    handlers: list[logging.Handler] = [logging.StreamHandler(target)]
    handlers[0].setFormatter(_formatter(log_format, colours=target.isatty()))
    if file is not None:
        handlers[0].setLevel(logging.ERROR)
        handlers.append(RotatingFileHandler(file, maxBytes=20 * 1024 * 1024, backupCount=2, encoding="utf-8"))
        handlers[1].setFormatter(_formatter(log_format, colours=False))
    root = logging.getLogger()
    root.handlers[:] = handlers
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


def _formatter(log_format: str, *, colours: bool) -> logging.Formatter:
    renderer: Any = structlog.processors.JSONRenderer()
    tail: list[Any] = [structlog.processors.dict_tracebacks]
    if log_format != "json":
        plain = structlog.dev.plain_traceback
        renderer, tail = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain), []
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, add_span],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail, renderer],
    )


def add_span(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds the ids of the current span, 32 and 16 hex digits, to a log event. Without a span, nothing."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event
