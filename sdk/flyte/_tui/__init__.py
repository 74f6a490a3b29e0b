"""The text interface: `flyte start tui` and `flyte run --tui`. Needs the extra `hangar-sdk[tui]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flyte.errors import FeatureNotAvailableError

if TYPE_CHECKING:
    from flyte._tui._source import Source


def check_installed() -> None:
    """Does nothing when the text interface can be used.

    Raises:
        FeatureNotAvailableError: The extra is not installed.
    """
    try:
        import textual  # noqa: F401 - whether it is there
    except ModuleNotFoundError as error:
        if error.name != "textual":
            raise
        raise FeatureNotAvailableError(
            "the text interface needs the package textual: install the extra tui, "
            "pip install 'hangar-sdk[tui]' or uv add 'hangar-sdk[tui]'"
        ) from None


def show(source: Source | None = None, begin: Callable[[], Source] | None = None) -> None:
    """Shows runs until the user leaves.

    Args:
        source: What is shown.
        begin: Called when the screen is there, in place of a source: starts the run that is shown. What it raises is
            raised again when the screen is gone.

    Raises:
        FeatureNotAvailableError: The extra is not installed.
    """
    check_installed()
    from flyte._tui._app import RunsApp

    app = RunsApp(source, begin)
    app.run()
    if app.failure is not None:
        raise app.failure
