"""Progress that user code reports."""

from __future__ import annotations

import math

from flyte._context import current_controller
from flyte.models import Progress

_LONGEST_MESSAGE = 200


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Says how far the running task is: shown in `flyte run`, `flyte get action` and on the run's page.

    It may be called as often as wanted, from any thread: what is shown is updated about once a second with the latest
    call, and the last one before the end is always shown. Outside a task nothing happens.

    Args:
        done: How much is done, in whatever is counted; 0 or more.
        total: How much there is to do; None when that is not known.
        message: What is being done, up to 200 characters; the rest is cut off.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A number is negative or not finite, or `total` is 0.

    Example:
        ```python
        for done, row in enumerate(range(1000)):
            flyte.progress(done, 1000, "reading rows")
        ```
    """
    _check("done", done)
    if total is not None:
        _check("total", total)
        if not total:
            raise ValueError("total must be more than 0: leave it out when it is not known")
    if not isinstance(message, str):
        raise TypeError(f"message must be text, not {message!r}")
    controller = current_controller()
    if controller is not None:
        controller.report_progress(Progress(done, total, message[:_LONGEST_MESSAGE]))


def _check(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if value < 0 or not math.isfinite(value):
        raise ValueError(f"{name} must be 0 or more and finite, not {value!r}")
