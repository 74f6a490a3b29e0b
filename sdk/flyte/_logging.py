"""The SDK's logger."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import datetime, timezone

LEVEL, FORMAT, RESET_ROOT = "FLYTE_LOG_LEVEL", "FLYTE_LOG_FORMAT", "FLYTE_RESET_ROOT_LOGGER"
"""Environment variables that carry the settings of a run to its workers."""

FORMATS = ("console", "json")


class Console(logging.Handler):
    """Writes to the standard error of the moment, unless the program has configured logging itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        if logging.getLogger().handlers:
            return
        self.write(record)

    def write(self, record: logging.LogRecord) -> None:
        """Write one line, whatever else is configured."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)


class RootConsole(Console):
    """Writes what every logger of the process says."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self.write(record)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and the action that it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        from flyte._context import ctx

        moment = datetime.fromtimestamp(record.created, timezone.utc).isoformat()
        line = {
            "time": moment,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        context = ctx()
        if context is not None:
            line.update(run=context.action.run_name, action=context.action.name)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


_console = Console()
_changed = False


def _configured() -> logging.Logger:
    found = logging.getLogger("flyte")
    _console.setFormatter(_formatter("console"))
    found.addHandler(_console)
    if found.level == logging.NOTSET:
        found.setLevel(logging.INFO)
    return found


def _formatter(name: str) -> logging.Formatter:
    if name == "json":
        return JsonFormatter()
    return logging.Formatter("%(asctime)s %(levelname)s %(message)s")


logger = _configured()
"""The logger `flyte.logger`. What tasks log with it is in the logs of their action.

Example:
    ```python
    flyte.logger.info("loaded %d rows", rows)
    ```
"""


def check_level(level: object) -> int | None:
    """A level of the standard library, by number or name, or None.

    Raises:
        TypeError: It is neither.
        ValueError: There is no level of this name.
    """
    if level is None:
        return None
    if isinstance(level, str):
        number = logging.getLevelName(level.upper())
        if isinstance(number, int):
            return number
        raise ValueError(f'log_level={level!r} must be a level such as logging.DEBUG or "DEBUG"')
    if isinstance(level, bool) or not isinstance(level, int):
        raise TypeError(f'log_level must be a level such as logging.DEBUG or "DEBUG", not {level!r}')
    return level


def log_variables(level: int | None, log_format: str, *, reset_root: bool) -> dict[str, str]:
    """The environment variables that carry settings to workers; none for the usual ones."""
    variables = {LEVEL: str(level)} if level is not None else {}
    if log_format != "console":
        variables[FORMAT] = log_format
    if reset_root:
        variables[RESET_ROOT] = "1"
    return variables


def use_format(name: str) -> None:
    """Let the SDK's own logger write lines of text ("console") or JSON objects ("json").

    Raises:
        ValueError: It is neither.
    """
    if name not in FORMATS:
        raise ValueError(f'log_format={name!r} must be "console" or "json"')
    _console.setFormatter(_formatter(name))


def configure(variables: Mapping[str, str]) -> None:
    """Log as the environment variables of a run say; as usual where they say nothing.

    Args:
        variables: Environment variables of an action.
    """
    global _changed  # noqa: PLW0603 - a process has one logging
    asked = any(name in variables for name in (LEVEL, FORMAT, RESET_ROOT))
    if not asked and not _changed:
        return  # whatever the program has set itself stays
    _changed = asked
    level = variables.get(LEVEL, "")
    logger.setLevel(int(level) if level.isdigit() else logging.INFO)
    _console.setFormatter(_formatter(variables.get(FORMAT, "console")))
    root = logging.getLogger()
    if variables.get(RESET_ROOT) == "1":
        console = RootConsole()
        console.setFormatter(_console.formatter)
        root.handlers[:] = [console]
        root.setLevel(logger.level)
