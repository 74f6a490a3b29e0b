"""Who calls the SDK: the file that an environment or image is declared in."""

from __future__ import annotations

import sys


def caller() -> tuple[str, str]:
    """File and module of the code outside this package that is running."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _inside(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))


def _inside(module: str) -> bool:
    return module == "flyte" or module.startswith("flyte.")
