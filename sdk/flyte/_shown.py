"""What runs and actions show of themselves alike: on a backend, in this process, and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flyte._availability import refuse
from flyte._client._twins import twin_method
from flyte._details import duration_of

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from flyte.models import ActionPhase


class Shown:
    """A run, or an action."""

    if TYPE_CHECKING:

        @property
        def phase(self) -> ActionPhase:
            """Where it stands."""

        @property
        def start_time(self) -> datetime | None:
            """When user code first ran, None before."""

        @property
        def end_time(self) -> datetime | None:
            """When it ended, None while it runs."""

        get_logs: Any

    @property
    def status(self) -> ActionPhase:
        """The phase."""
        return self.phase

    @property
    def duration(self) -> timedelta | None:
        """Time from its start to its end, or until now; None before it started."""
        return duration_of(self.start_time, self.end_time)

    def done(self) -> bool:
        """True when it has ended."""
        return self.phase.is_terminal

    @twin_method
    async def show_logs(
        self,
        attempt: int | None = None,
        max_lines: int = 30,
        show_ts: bool = False,
        raw: bool = True,
        filter_system: bool = True,
    ) -> None:
        """Prints the last lines that it wrote; of a run, that its root action wrote.

        Args:
            attempt: Attempt, from 0; the newest unless given.
            max_lines: Most lines.
            show_ts: True to print the date and time of each line.
            raw: False to set the time of each line apart from what the task wrote.
            filter_system: Must be True: these logs have what the action's own process wrote, and no other lines.

        Raises:
            flyte.errors.FeatureNotAvailableError: `filter_system=False`.
            flyte.errors.LogsNotYetAvailableError: A local run is not recorded, or has no such attempt.
        """
        if not filter_system:
            raise refuse(
                f"show_logs(filter_system={filter_system!r})",
                "leave it out: logs have what the action's own process wrote, and nothing of the system",
            )
        async for line in self.get_logs.aio(attempt=attempt, max_lines=max_lines):
            print(line.render(show_ts=show_ts, apart=not raw), flush=True)  # noqa: T201 - documented
