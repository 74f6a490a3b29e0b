"""Reports of local actions: a file per attempt, beside the record of the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flyte import errors
from flyte._logging import logger

if TYPE_CHECKING:
    from flyte._local._action import LocalAction
    from flyte._local._stored import StoredAction
    from flyte.report import Report

_NAME = "report.html"


class _File:
    """A report in a file, which is replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def store(self, pieces: Iterable[bytes]) -> None:
        """Replaces the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                file.writelines(pieces)
            part.replace(self._path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise


def attempt_report(action: LocalAction) -> Report | None:
    """A new report for the newest attempt of an action, None when its task writes none."""
    if not action.task.report:
        return None
    from flyte.report import Report

    return Report(f"{action.short_name} · {action.name}", _File(action.attempt_list[-1].output_path / _NAME))


def keep_report(report: Report | None, *, failed: bool) -> None:
    """Stores a report at the end of its attempt.

    Raises:
        OSError: It cannot be written, and nothing else has failed.
    """
    if report is None:
        return
    try:
        report.flush()
    except OSError as error:
        if not failed:
            raise
        logger.warning("the report cannot be written: %s", error)


def report_file(output_paths: Sequence[Path], attempt: int | None) -> Path | None:
    """The file of a report, None when there is none: of an attempt, or of the newest that has one.

    Args:
        output_paths: Directories of the attempts.
        attempt: Number of the attempt.
    """
    chosen = reversed(output_paths) if attempt is None else output_paths[attempt : attempt + 1]
    return next((path for each in chosen if (path := each / _NAME).is_file()), None)


def read_report(action: LocalAction | StoredAction, attempt: int | None) -> str:
    """The document of a report.

    Raises:
        RuntimeUserError: There is none.
    """
    path = action.report_path(attempt)
    if path is None:
        which = "" if attempt is None else f" in attempt {attempt}"
        raise errors.RuntimeUserError(
            "ReportNotFoundError",
            f"action {action.name} of run {action.run_name} has written no report{which}: its task has to be declared "
            "with @env.task(report=True), and to write something",
        )
    return path.read_text(encoding="utf-8")
