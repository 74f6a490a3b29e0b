"""The report of one attempt: tabs of HTML, in memory until they are stored."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

from flyte import errors
from flyte._pairs import Pair, immediate, paired
from flyte.report._document import document

MAX_REPORT_BYTES = 64 * 1024 * 1024
"""Most bytes of HTML in all tabs of a report together."""

MAIN = "main"


class ReportPlace(Protocol):
    """Where a report is stored."""

    def store(self, pieces: Iterable[bytes]) -> None:
        """Replaces what was stored before, wholly or not at all, and blocks until that is durable."""


class Report:
    """The report of one attempt. May be used from any thread.

    Attributes:
        name: What it is of, for its title.
        tabs: Its tabs by name, in the order in which they were made.
    """

    def __init__(self, name: str = "report", place: ReportPlace | None = None) -> None:
        self.name = name
        self.tabs: dict[str, Tab] = {}
        self._place = place
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._size = 0
        self._version = 0
        self._stored = 0

    def get_tab(self, name: str, create_if_missing: bool = True) -> Tab:
        """A tab by its name.

        Raises:
            ValueError: There is none, and `create_if_missing` is False.
            TypeError: The name is no text.
        """
        if not isinstance(name, str):
            raise TypeError(f"the name of a tab must be text, not {name!r}")
        with self._lock:
            tab = self.tabs.get(name)
            if tab is None:
                if not create_if_missing:
                    known = ", ".join(map(repr, self.tabs)) or "none"
                    raise ValueError(f"the report has no tab {name!r}; its tabs: {known}")
                tab = self.tabs[name] = Tab(name, self)
            return tab

    def get_html(self) -> str:
        """The whole report as one HTML document."""
        return b"".join(self._pieces()).decode()

    @property
    def flush(self) -> Pair[[], None]:
        """Stores the report as it is now. Nothing happens when that is stored already, or nothing was written.

        Raises:
            RuntimeUserError: The task's disk limit is exceeded (code "DiskLimitExceeded").
            RuntimeSystemError: It cannot be stored.
        """
        return paired(self._flush_in_thread)(self._flush)

    def _flush(self) -> None:
        wanted = self._version
        # One at a time: an older state must not replace a newer one. Those who waited often find theirs stored.
        with self._storing:
            if self._place is None or self._stored >= wanted:
                return
            now = self._version
            self._place.store(self._pieces())
            self._stored = now

    async def _flush_in_thread(self) -> None:
        import asyncio

        if self._place is not None and self._stored < self._version:
            await asyncio.to_thread(self._flush)

    def _pieces(self) -> Iterable[bytes]:
        with self._lock:
            tabs = [(tab.name, list(tab._pieces)) for tab in self.tabs.values()]
        return document(self.name, tabs)

    def _write(self, tab: Tab, html: str, *, replaces: bool) -> None:
        if not isinstance(html, str):
            raise TypeError(
                f"a report is made of HTML text, not of {type(html).__name__}: "
                "use what turns it into HTML, such as figure.to_html() or DataFrame.to_html()"
            )
        piece = html.encode("utf-8", "replace")
        with self._lock:
            size = self._size + len(piece) - (tab._size if replaces else 0)
            if size > MAX_REPORT_BYTES:
                raise errors.RuntimeUserError(
                    "ReportTooLarge",
                    f"the report would have {size:,} bytes with this, more than the {MAX_REPORT_BYTES:,} that are "
                    "allowed: write less, replace instead of log, or return the data as a flyte.io.File",
                )
            if replaces:
                tab._pieces.clear()
                tab._size = 0
            tab._pieces.append(piece)
            tab._size += len(piece)
            self._size = size
            self._version += 1


class Tab:
    """A tab of a report: HTML that grows or is replaced.

    Attributes:
        name: What its button says.
    """

    def __init__(self, name: str, report: Report) -> None:
        self.name = name
        self._report = report
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def log(self) -> Pair[[str], None]:
        """Appends HTML.

        Raises:
            RuntimeUserError: The report would be too large (code "ReportTooLarge").
        """
        return immediate(self._log)

    @property
    def replace(self) -> Pair[[str], None]:
        """Puts HTML in place of all that the tab has.

        Raises:
            RuntimeUserError: The report would be too large (code "ReportTooLarge").
        """
        return immediate(self._replace)

    @property
    def get_html(self) -> Pair[[], str]:
        """The tab's HTML."""
        return immediate(self._get_html)

    def _log(self, content: str) -> None:
        self._report._write(self, content, replaces=False)

    def _replace(self, content: str) -> None:
        self._report._write(self, content, replaces=True)

    def _get_html(self) -> str:
        with self._report._lock:
            return b"".join(self._pieces).decode()

    def __repr__(self) -> str:
        return f"Tab(name={self.name!r}, size={self._size})"
