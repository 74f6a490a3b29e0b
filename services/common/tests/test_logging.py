import io
import json
import logging

import pytest
import structlog
from opentelemetry import trace

from services.common.logging import configure_logging


@pytest.fixture(autouse=True)
def _restore():
    root, services = logging.getLogger(), logging.getLogger("services")
    before = (root.handlers[:], root.level, services.level)
    yield
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    services.setLevel(before[2])
    structlog.reset_defaults()


def test_json_lines_carry_the_span():
    """In JSON every line is an object with time, level, logger and the ids of the current span."""
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    span = trace.NonRecordingSpan(trace.SpanContext(0xABC, 0xDEF, is_remote=False))
    log = structlog.get_logger("services.test")
    with trace.use_span(span):
        log.info("hello", count=3)
    log.debug("not shown")
    logging.getLogger("library").warning("from %s", "elsewhere")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["count"], first["level"]) == ("hello", 3, "info")
    assert (first["trace_id"], first["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert (second["event"], second["logger"]) == ("from elsewhere", "library")
    assert "trace_id" not in second
    assert second["timestamp"].endswith("Z")


def test_a_file_gets_all_and_the_stream_errors(tmp_path):
    """With a file, people see errors only, and the file has everything."""
    stream = io.StringIO()
    configure_logging("console", "info", stream, tmp_path / "backend.log")
    structlog.get_logger("services.test").info("quiet")
    structlog.get_logger("services.test").error("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()
    text = (tmp_path / "backend.log").read_text()
    assert "quiet" in text
    assert "loud" in text


def test_console_lines_show_exceptions_plainly():
    """On the console an exception is shown with its traceback, without colours when it is no terminal."""
    stream = io.StringIO()
    configure_logging("console", "debug", stream)
    try:
        raise ValueError("broken")
    except ValueError as error:
        structlog.get_logger("services.test").error("it failed", exc_info=error)
    text = stream.getvalue()
    assert "it failed" in text
    assert "Traceback (most recent call last)" in text
    assert "ValueError: broken" in text
    assert "\x1b[" not in text
