"""The SDK's logger."""

import logging

logger = logging.getLogger("flyte")
"""The logger `flyte.logger`: for messages of tasks that belong to the platform's own log stream.

Example:
    ```python
    flyte.logger.info("loaded %d rows", len(rows))
    ```
"""
logger.addHandler(logging.NullHandler())
