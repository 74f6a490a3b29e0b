"""Keeps a run in the local store while it goes on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flyte import errors
from flyte._local import _logs
from flyte._logging import logger

if TYPE_CHECKING:
    from flyte._local._action import LocalAction
    from flyte._local._state import RunState
    from flyte._local._store import LocalStore


class Recorder:
    """Writes the actions of one run to the store on a thread of its own: what changes meanwhile is one transaction.

    A run goes on when the store cannot be written any more, which is said once.

    Args:
        store: The store.
        state: The run.
    """

    def __init__(self, store: LocalStore, state: RunState) -> None:
        self._store = store
        self._state = state
        self._changed: dict[LocalAction, int] = {}
        self._positions: dict[LocalAction, int] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._write, name=f"flyte-record-{state.name}", daemon=True)

    def start(self) -> None:
        """Follows the run from now on."""
        _logs.install()
        self._state.listeners.append(self._note)
        self._thread.start()

    def close(self) -> None:
        """The run has ended: returns when all of it is kept."""
        _logs.uninstall()
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _note(self, action: LocalAction) -> None:
        with self._lock:
            position = self._positions.setdefault(action, len(self._positions))
            self._changed[action] = position
        self._wake.set()

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            last = self._closing
            with self._lock:
                changed, self._changed = self._changed, {}
            try:
                self._store.write((position, action) for action, position in changed.items())
            except errors.RuntimeSystemError as error:
                logger.warning("run %s is not recorded any more: %s", self._state.name, error)
                return
            if last:
                return
