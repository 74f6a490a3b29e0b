"""Reports: what is written, what is stored and when, and what happens where there is none."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from html.parser import HTMLParser

import pytest

import flyte
from flyte import errors, report
from flyte._local import run_local
from flyte.report import Report, _functions, _report

env = flyte.TaskEnvironment("report_tests")


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """Records of runs go to a directory of the test's own; every test can be warned."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _functions._warn.cache_clear()


class Place:
    """Keeps every document that is stored."""

    def __init__(self) -> None:
        self.stored: list[str] = []

    def store(self, pieces: Iterable[bytes]) -> None:
        """Keeps one."""
        self.stored.append(b"".join(pieces).decode())


class Texts(HTMLParser):
    """The text of each element that has an identity or is a button."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        """Remembers where text belongs."""
        self._open = dict(attrs).get("id") or ("" if tag == "script" else self._open)

    def handle_data(self, data):
        """Adds text."""
        self.texts[self._open] = self.texts.get(self._open, "") + data.strip()


@env.task(report=True, retries=1)
async def twice() -> int:
    """Fails once, with something in its report."""
    attempt = flyte.ctx().attempt_number
    await report.log.aio(f"<p>attempt {attempt}</p>")
    report.get_tab("R & D").log("<b>more</b>")
    if attempt == 0:
        raise ValueError("once")
    return attempt


@env.task(report=True)
def live(path: str) -> None:
    """Shows what is stored at each moment."""
    file = flyte.ctx().output_path + "/report.html"
    seen = []
    for step in range(3):
        report.replace(f"<p>step {step}</p>", do_flush=True)
        with open(file) as stored:
            seen.append(f"step {step}" in stored.read())
    report.log("<p>never flushed</p>")
    assert seen == [True] * 3
    with open(path, "w") as mark:
        mark.write("done")


@env.task
def plain(x: int) -> int:
    """Has no report."""
    report.log("<p>lost</p>", do_flush=True)
    report.log("<p>lost</p>", do_flush=True)
    return x


def test_each_attempt_has_a_report_however_it_ends():
    """A failed attempt's report has what was logged before, and the next attempt does not touch it."""
    run = run_local(twice)
    assert run.result() == 1
    documents = [run.action.get_report(attempt) for attempt in (0, 1)]
    for attempt, document in enumerate(documents):
        texts = Texts(document).texts
        assert texts["flyte-tab-0"] == f"attempt {attempt}"
        assert texts["flyte-button-1"] == "R & D"
        assert texts["flyte-tab-1"] == "more"
    assert run.get_report() == documents[1]
    assert run.action.report_path().read_text() == documents[1]


def test_a_flush_can_be_read_while_the_task_runs(tmp_path):
    """What is flushed is in the file at once, and the end of the task stores the rest."""
    run = run_local(live, str(tmp_path / "mark"))
    run.result()
    assert (tmp_path / "mark").read_text() == "done"
    assert "never flushed" in run.get_report()


def test_without_a_report_a_warning_says_so_once(caplog):
    """In a task without report=True, and outside of tasks, calls work, keep nothing, and warn once."""
    caplog.set_level(logging.WARNING, "flyte")
    flyte.logger.propagate = True
    run = run_local(plain, 3)
    assert run.result() == 3
    plain(3)
    report.get_tab("a").log("x")
    messages = [record.message for record in caplog.records]
    assert [("report=True" in each, "no task" in each) for each in messages] == [(True, False), (False, True)]
    with pytest.raises(errors.RuntimeUserError, match="has written no report"):
        run.get_report()


def test_tabs():
    """A tab grows or is replaced; one that is missing is an error when it is not to be made."""
    made = Report()
    with pytest.raises(ValueError, match="no tab 'a'; its tabs: none"):
        made.get_tab("a", create_if_missing=False)
    tab = made.get_tab("a")
    tab.log("1")
    asyncio.run(tab.log.aio("2"))
    assert tab.get_html() == "12"
    tab.replace("é\ud800")
    assert tab.get_html() == "é?", "what cannot be encoded does not lose the rest"
    assert made.get_tab("a", create_if_missing=False) is tab
    with pytest.raises(TypeError, match=r"figure.to_html"):
        tab.log(object())
    with pytest.raises(TypeError, match="report must be True or False"):
        env.task(report="yes")


def test_the_largest_report(monkeypatch):
    """What would make a report too large is refused and not written; to replace what is there is no growth."""
    monkeypatch.setattr(_report, "MAX_REPORT_BYTES", 10)
    made = Report()
    made.get_tab("a").log("12345")
    made.get_tab("b").log("12345")
    with pytest.raises(errors.RuntimeUserError, match="11 bytes with this, more than the 10") as caught:
        made.get_tab("a").log("x")
    assert caught.value.code == "ReportTooLarge"
    made.get_tab("a").replace("54321")
    assert made.get_tab("a").get_html() == "54321"


def test_flushes_are_stored_in_order_and_only_when_something_is_new():
    """Of many threads that write and flush at once the last stored state has everything; no state is stored twice."""
    place = Place()
    made = Report("r", place)
    made.flush()
    assert place.stored == [], "an empty report is none"

    def work(number: int) -> None:
        made.get_tab("main").log(f"<i>{number}</i>")
        made.flush() if number % 2 else asyncio.run(made.flush.aio())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"<i>{number}</i>" in place.stored[-1] for number in range(16))
    assert len(set(place.stored)) == len(place.stored)
    made.flush()
    assert len(set(place.stored)) == len(place.stored)
