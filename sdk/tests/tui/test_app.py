"""The text interface, driven by keys, over runs that really ran."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading

import pytest
from textual.widgets import DataTable, Static, Tree

import flyte
from flyte._client._loop import LOOP
from flyte._local import LocalRun, start_local_run
from flyte._tui import show
from flyte._tui._app import RunsApp
from flyte._tui._run_screen import RunScreen
from flyte._tui._source import LocalSource

env = flyte.TaskEnvironment("shown")
gate = threading.Event()


@env.task(cache="auto")
async def cached(x: int) -> int:
    """Is computed once."""
    return x


@env.task
def held(x: int) -> int:
    """Ends when it may."""
    flyte.progress(1, 4, "held up")
    print("I wait")
    assert gate.wait(60)
    print("I go on")
    return x


@env.task
def fails(x: int) -> int:
    """Raises."""
    raise ValueError(f"{x} is too small [not markup]")


@env.task
async def everything(x: int) -> int:
    """An action of each kind."""
    await cached(x)
    await cached(x)
    with flyte.group("outer"), flyte.group("inner"):
        await cached(x + 1)
    with contextlib.suppress(flyte.errors.RuntimeUserError):
        await fails.aio(x)
    return x


def shown(app: RunsApp, of: str) -> str:
    """Text of a widget."""
    return str(app.screen.query_one(of, Static).render())


def labels(app: RunsApp) -> list[str]:
    """Lines of the tree, indented by depth."""
    found: list[str] = []

    def walk(node, depth):
        for child in node.children:
            found.append("  " * depth + str(child.label).split("  ")[0])
            walk(child, depth + 1)

    if isinstance(app.screen, RunScreen):
        walk(app.screen.query_one(Tree).root, 0)
    return found


def everything_shown(app: RunsApp) -> str:
    """The tree and all texts of the screen, for the message of a failure."""
    texts = [str(widget.render()) for widget in app.screen.query(Static)]
    return (
        f"failure: {app.failure!r}, screen: {type(app.screen).__name__}, tree: {labels(app)}, texts: {texts}"
    )


async def until(pilot, condition):
    """Waits for the screen to show something; says what it shows when that does not come."""
    try:
        async with asyncio.timeout(30):
            while not condition():
                if pilot.app.failure is not None:
                    pytest.fail(everything_shown(pilot.app))
                await pilot.pause(0.02)
    except TimeoutError:
        pytest.fail(f"not within 30 s; {everything_shown(pilot.app)}")


async def test_runs_are_listed_and_opened(store):
    """The newest first; enter opens a run, d and l show details and log of an action, escape goes back, q ends."""
    old: LocalRun = await start_local_run(everything, (1,), {}, store=store)
    new: LocalRun = await start_local_run(fails, (2,), {}, store=store)
    app = RunsApp(LocalSource(store))
    async with app.run_test(size=(140, 40)) as pilot:
        await until(
            pilot, lambda: app.screen.query(DataTable) and app.screen.query_one(DataTable).row_count == 2
        )
        table = app.screen.query_one(DataTable)
        assert [str(cell) for row in (0, 1) for cell in table.get_row_at(row)[:4]] == [
            *("✗", new.name, "shown.fails", "failed"),
            *("✓", old.name, "shown.everything", "succeeded"),
        ]
        await pilot.press("down", "enter")
        await until(pilot, lambda: len(labels(app)) == 7)
        assert labels(app) == [
            "✓ everything",
            "  ✓ ~ cached",
            "  ✓ $ cached",
            "  ▸ outer",
            "    ▸ inner",
            "      ✓ ~ cached",
            "  ✗ fails",
        ]
        await until(pilot, lambda: "Details of everything" in shown(app, "#panel"))
        assert "x: 1" in shown(app, "#panel")
        await pilot.press("end")
        await until(pilot, lambda: "Details of fails" in shown(app, "#panel"))
        assert "ValueError: 1 is too small [not markup]" in shown(app, "#panel")
        assert "in fails" in shown(app, "#panel")
        await pilot.press("l")
        await until(pilot, lambda: "It has not written anything." in shown(app, "#panel"))
        await pilot.press("d")
        await until(pilot, lambda: "Details of fails" in shown(app, "#panel"))
        await pilot.press("escape")
        assert app.screen.query(DataTable)
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_run_is_shown_while_it_goes_on(store, capsys):
    """Its phase, its progress and what it prints appear without a key, and nowhere else; q leaves it alone."""
    gate.clear()
    runs: list[LocalRun] = []

    def begin() -> LocalSource:
        runs.append(LOOP.run(start_local_run(held, (1,), {}, store=store, echo=False, wait=False)))
        return LocalSource(store, runs[0].name)

    app = RunsApp(None, begin)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: labels(app) == ["● held"])
        await until(
            pilot, lambda: "25%  1 of 4: held up" in str(app.screen.query_one(Tree).root.children[0].label)
        )
        await pilot.press("l")
        await until(pilot, lambda: "I wait" in shown(app, "#panel"))
        assert "I go on" not in shown(app, "#panel")
        gate.set()
        await until(pilot, lambda: labels(app) == ["✓ held"])
        await until(pilot, lambda: "I go on" in shown(app, "#panel"))
        assert "succeeded" in shown(app, "#title")
        await pilot.press("q")
    assert await runs[0].result.aio() == 1
    assert "I wait" not in capsys.readouterr().out


class SlowSource(LocalSource):
    """Is asked for long, and notes when somebody asks meanwhile."""

    def __init__(self, store, run: str) -> None:
        super().__init__(store, run)
        self.answered = 0
        self.overtaken = threading.Event()
        self._asked = threading.Lock()

    def actions(self, run):
        """The actions, after a moment in which nobody else may ask."""
        if not self._asked.acquire(blocking=False):
            self.overtaken.set()
            return None
        try:
            self.overtaken.wait(0.2)
            self.answered += 1
            return super().actions(run)
        finally:
            self._asked.release()


async def test_an_answer_is_not_overtaken(store, monkeypatch):
    """Where answers take longer than the time between questions, the next question waits: the newest is shown."""
    monkeypatch.setattr("flyte._tui._run_screen._REFRESH_SECONDS", 0.01)
    run = await start_local_run(fails, (2,), {}, store=store)
    source = SlowSource(store, run.name)
    app = RunsApp(source)
    async with app.run_test() as pilot:
        await until(pilot, lambda: labels(app) == ["✗ fails"] and source.answered > 2)
    assert not source.overtaken.is_set()


async def test_an_empty_store_says_what_to_do(store):
    """How to record runs."""
    app = RunsApp(LocalSource(store))
    async with app.run_test() as pilot:
        await until(
            pilot, lambda: app.screen.query("#empty") and "--local-persistence" in shown(app, "#empty")
        )


async def test_what_cannot_be_read_ends_it_with_the_error(store):
    """A store that is broken meanwhile."""
    await start_local_run(fails, (2,), {}, store=store)
    app = RunsApp(LocalSource(store))
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.screen.query(DataTable) and app.screen.query_one(DataTable).row_count)
        store.path.write_bytes(b"no database" * 1000)
        await until(pilot, lambda: app.failure is not None)
    assert "cannot be used" in str(app.failure)


def test_a_missing_extra_is_named(monkeypatch):
    """What to install."""
    monkeypatch.setitem(sys.modules, "textual", None)
    with pytest.raises(flyte.errors.FeatureNotAvailableError, match=r"hangar-sdk\[tui\]"):
        show()
