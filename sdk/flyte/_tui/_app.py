"""The application: a list of runs, and a screen for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from flyte._marks import shown_duration
from flyte._tui._run_screen import RunScreen
from flyte._tui._text import mark

if TYPE_CHECKING:
    from flyte._tui._source import Run, Source

_REFRESH_SECONDS = 1.0
_COLUMNS = ("", "run", "task", "phase", "start", "duration")


class RunsApp(App[None]):
    """Shows runs until the user leaves.

    Args:
        source: What is shown.
        begin: Gives the source when the screen is there.

    Attributes:
        failure: Why it ended by itself.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "quit", "Quit")]
    ENABLE_COMMAND_PALETTE = False
    TITLE = "flyte"

    def __init__(self, source: Source | None, begin: Callable[[], Source] | None = None) -> None:
        super().__init__()
        self._source = source
        self._begin = begin
        self.failure: Exception | None = None

    def on_mount(self) -> None:
        """Begins, when something is to be begun, and shows the one run that there is, or the list."""
        try:
            source = self._begin() if self._begin is not None else self._source
        except Exception as error:  # noqa: BLE001 - raised again when the screen is gone
            self.fail(error)
            return
        assert source is not None  # one of the two is given
        if source.only_run is None:
            self.push_screen(RunsScreen(source))
        else:
            self.push_screen(RunScreen(source, source.only_run))

    def fail(self, error: Exception) -> None:
        """Ends with an error."""
        self.failure = self.failure or error
        self.exit()


class RunsScreen(Screen[None]):
    """The list of runs, newest first."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open", show=True)]
    CSS = "#empty { padding: 1 2; } DataTable { height: 1fr; }"

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def compose(self) -> ComposeResult:
        """A table."""
        yield Static("", id="empty")
        yield DataTable(cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        """Reads the runs, again and again."""
        table = self.query_one(DataTable)
        table.add_columns(*((name, name) for name in _COLUMNS))
        table.focus()
        self.read()

    @work
    async def read(self) -> None:
        """Asks for the runs. One answer comes after the other: what is shown never gets older."""
        while True:
            try:
                runs = await asyncio.to_thread(self._source.runs)
            except Exception as error:  # noqa: BLE001 - the application ends with it
                self.app.fail(error)  # type: ignore[attr-defined]  # it is a RunsApp
                return
            if not self.app.is_running:
                return  # it is being taken down
            self.take(runs)
            await asyncio.sleep(_REFRESH_SECONDS)

    def take(self, runs: Sequence[Run]) -> None:
        """Shows runs; the cursor stays on the run that it was on."""
        table: DataTable[object] = self.query_one(DataTable)
        rows = {run.name: _row(run) for run in runs}
        if list(rows) != [key.value for key in table.rows]:
            chosen = self._chosen()
            table.clear()
            for name, row in rows.items():
                table.add_row(*row, key=name)
            if chosen in rows:
                table.move_cursor(row=list(rows).index(chosen))
        else:
            for name, row in rows.items():
                for column, cell in zip(_COLUMNS, row, strict=True):
                    table.update_cell(name, column, cell)
        empty = self.query_one("#empty", Static)
        empty.display = not rows
        empty.update("No local run is recorded yet. Switch it on: flyte create config --local-persistence")

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Opens a run."""
        self.app.push_screen(RunScreen(self._source, str(event.row_key.value)))

    def _chosen(self) -> str | None:
        table: DataTable[object] = self.query_one(DataTable)
        if not table.row_count:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value


def _row(run: Run) -> tuple[object, ...]:
    start = run.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if run.created_at else ""
    duration = shown_duration(run.duration) if run.duration is not None else ""
    return mark(run), run.name, run.task_name, run.known_phase.value, start, duration
