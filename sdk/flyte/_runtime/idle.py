"""A selector that tells when its event loop has nothing left to run.

An event loop asks its selector once per iteration, with a timeout of 0 while callbacks are ready. So a call
with another timeout means that every task of the loop waits for something. The worker uses both facts: it
writes what has been queued once per iteration, and parks leases only when the loop is idle.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Mapping
from typing import Any


class IdleSelector(selectors.BaseSelector):
    """Wraps the platform's selector.

    Attributes:
        on_iteration: Called at the end of each iteration of the loop; its argument says whether nothing is
            ready to run. True makes the next iteration begin at once: needed after it has scheduled
            something on the loop.
    """

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        self._selector = selector or selectors.DefaultSelector()
        self.on_iteration: Callable[[bool], bool] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Waits for events, after the hook has run."""
        if self.on_iteration is not None and self.on_iteration(timeout is None or timeout > 0):
            timeout = 0
        return self._selector.select(timeout)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As in `selectors.BaseSelector`."""
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As in `selectors.BaseSelector`."""
        return self._selector.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As in `selectors.BaseSelector`."""
        return self._selector.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """As in `selectors.BaseSelector`."""
        return self._selector.get_map()

    def close(self) -> None:
        """As in `selectors.BaseSelector`."""
        self._selector.close()
