"""The SDK's logger."""

from __future__ import annotations

import logging
import sys


class Console(logging.Handler):
    """Writes to the standard error of the moment, unless the program has configured logging itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        if logging.getLogger().handlers:
            return
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)


def _configured() -> logging.Logger:
    found = logging.getLogger("flyte")
    console = Console()
    console.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    found.addHandler(console)
    if found.level == logging.NOTSET:
        found.setLevel(logging.INFO)
    return found


logger = _configured()
"""The logger `flyte.logger`. What tasks log with it is in the logs of their action.

Example:
    ```python
    flyte.logger.info("loaded %d rows", rows)
    ```
"""
