"""What user code calls."""

from __future__ import annotations

from functools import lru_cache

from flyte._context import ctx, current_controller
from flyte._pairs import immediate, paired
from flyte.report._report import MAIN, Report, Tab


def _current() -> Report:
    controller = current_controller()
    report = controller.report if controller is not None else None
    if report is not None:
        return report
    context = ctx()
    _warn("" if context is None else f"{context.action.run_name} {context.action.name}")
    return Report()


@lru_cache(maxsize=64)
def _warn(action: str) -> None:
    """Says once per action that nothing is kept."""
    from flyte._logging import logger

    if action:
        logger.warning("flyte.report: this task writes no report; declare it with @env.task(report=True)")
    else:
        logger.warning("flyte.report: no task is running here, so the report is kept nowhere")


@immediate
def current_report() -> Report:
    """The report of the running task.

    Outside a task, and in one that was declared without `report=True`, a warning is logged and what is written to the
    report that is returned is kept nowhere.
    """
    return _current()


@immediate
def get_tab(name: str, create_if_missing: bool = True) -> Tab:
    """A tab of the running task's report.

    Args:
        name: Its name; the first one that `log` and `replace` write to is "main".
        create_if_missing: Make it when there is none.

    Raises:
        ValueError: There is none, and `create_if_missing` is False.
    """
    return _current().get_tab(name, create_if_missing)


async def _log(html: str, do_flush: bool = False) -> None:
    report = _current()
    report.get_tab(MAIN).log(html)
    if do_flush:
        await report.flush.aio()


@paired(_log)
def log(html: str, do_flush: bool = False) -> None:
    """Appends HTML to the main tab of the running task's report.

    Args:
        html: HTML, which may contain scripts and styles.
        do_flush: Store the report at once, so that it can be looked at while the task runs.

    Raises:
        RuntimeUserError: The report would be too large (code "ReportTooLarge").
        RuntimeSystemError: It cannot be stored.
    """
    report = _current()
    report.get_tab(MAIN).log(html)
    if do_flush:
        report.flush()


async def _replace(html: str, do_flush: bool = False) -> None:
    report = _current()
    report.get_tab(MAIN).replace(html)
    if do_flush:
        await report.flush.aio()


@paired(_replace)
def replace(html: str, do_flush: bool = False) -> None:
    """Puts HTML in place of all that the main tab has. Otherwise as `log`."""
    report = _current()
    report.get_tab(MAIN).replace(html)
    if do_flush:
        report.flush()


async def _flush() -> None:
    await _current().flush.aio()


@paired(_flush)
def flush() -> None:
    """Stores the running task's report as it is now: from then on it can be looked at, and outlives the task.

    Raises:
        RuntimeSystemError: It cannot be stored.
    """
    _current().flush()
