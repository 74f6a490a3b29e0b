"""The drawn state machine is the one that runs."""

from pathlib import Path

from services.scheduler.core.diagram import render


def test_the_lifecycle_page_is_generated_from_the_table() -> None:
    """`docs/run-lifecycle.md` is what `services.scheduler.core.diagram` prints."""
    page = Path(__file__).parents[4] / "docs" / "run-lifecycle.md"
    assert page.read_text(encoding="utf-8") == render()
