"""Where the text interface has its runs from: the store of local runs, or one run of a backend."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from flyte._local._store import LocalStore
    from flyte._local._stored import StoredAction, StoredRun
    from flyte.remote import Action as RemoteAction
    from flyte.remote import Run as RemoteRun

    Run: TypeAlias = StoredRun | RemoteRun
    Action: TypeAlias = StoredAction | RemoteAction

_MOST_RUNS = 500
_STALE_POLLS = 10


class Source(Protocol):
    """What can be shown. All methods may block, and are called on threads.

    Attributes:
        only_run: Name of the one run that there is, None for a list.
    """

    only_run: str | None

    def runs(self) -> Sequence[Run]:
        """Runs, newest first."""

    def actions(self, run: str) -> Sequence[Action] | None:
        """Actions of a run in the order of their calls; None when nothing has changed since the last call."""


class LocalSource:
    """Recorded local runs.

    Args:
        store: The store.
        only_run: Name of a run, to show no other one.
    """

    def __init__(self, store: LocalStore, only_run: str | None = None) -> None:
        self._store = store
        self.only_run = only_run
        self._seen: tuple[object, ...] = ()
        self._polls = 0

    def runs(self) -> Sequence[Run]:
        """Runs, newest first."""
        from flyte._local._stored import StoredRun

        return list(StoredRun.listall(limit=_MOST_RUNS, store=self._store))

    def actions(self, run: str) -> Sequence[Action] | None:
        """Actions of a run; read when the file has changed, and now and then, since processes may be killed."""
        from flyte._local._stored import StoredAction

        seen = (run, *self._store.stamp())
        self._polls = 0 if seen != self._seen else (self._polls + 1) % _STALE_POLLS
        if self._polls:
            return None
        self._seen = seen
        return list(StoredAction.listall(for_run_name=run, store=self._store))


class RemoteSource:
    """One run of a backend, which is watched on a thread until it has ended.

    Args:
        run: The run.
    """

    def __init__(self, run: RemoteRun) -> None:
        self.only_run: str | None = run.name
        self._run = run
        self._actions: dict[str, RemoteAction] = {}
        self._changed = True
        self._failure: Exception | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, name="flyte-tui", daemon=True).start()

    def runs(self) -> Sequence[Run]:
        """The run."""
        return [self._run]

    def actions(self, run: str) -> Sequence[Action] | None:
        """Its actions.

        Raises:
            flyte.errors.BaseRuntimeError: It cannot be watched any more.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            changed, self._changed = self._changed, False
            return list(self._actions.values()) if changed else None

    def _watch(self) -> None:
        try:
            for update in self._run.updates():
                with self._lock:
                    self._actions.update((action.name, action) for action in update.actions)
                    self._changed = True
        except Exception as error:  # noqa: BLE001 - raised on the thread that asks
            with self._lock:
                self._failure = error
