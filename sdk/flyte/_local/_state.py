"""What the actions of one local run share."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flyte._local._action import LocalAction
from flyte._local._threads import TaskThread

Listener = Callable[[LocalAction], None]


@dataclass(eq=False)
class RunState:
    """State of one local run. Touched by the threads of its tasks.

    Attributes:
        name: Name of the run.
        env_vars: Environment variables of every action, over those of its environment.
        metadata_path: Directory that the record of the run goes to.
        raw_data_path: Directory that tasks may write bulk data to.
        actions: The run's actions in the order of their calls.
        overwrite_cache: Results that are kept do not count and are replaced.
        disable_cache: Results are neither used nor kept.
        abort_reason: Why it is being aborted, None unless it is.
        labels: Labels of the run.
        annotations: Notes on the run.
        version: Version of the code, empty when nobody named one.
        custom_context: Texts that all its actions have unless a caller changed them.
        recovered: Outputs of the actions that succeeded in the run that it recovers, and their names, by key.
        log_directory: Where its actions' logs go, None when it is not recorded.
        echo: What tasks print goes to the usual output, too.
    """

    name: str
    env_vars: Mapping[str, str]
    metadata_path: Path
    raw_data_path: Path
    actions: list[LocalAction] = field(default_factory=list)
    overwrite_cache: bool = False
    disable_cache: bool = False
    abort_reason: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    log_directory: Path | None = None
    echo: bool = True
    threads: set[TaskThread[bytes]] = field(default_factory=set)
    custom_context: Mapping[str, str] = field(default_factory=dict)
    recovered: Mapping[str, tuple[bytes, str]] = field(default_factory=dict)
    aborting: threading.Event = field(default_factory=threading.Event)
    listeners: list[Listener] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def create(cls, name: str, env_vars: Mapping[str, str], raw_data_path: str | None = None) -> RunState:
        """Make the run's directories below the system's temporary directory.

        Raises:
            ValueError: `raw_data_path` is no directory of this machine, or cannot be made.
        """
        given = _raw_data_directory(raw_data_path, name) if raw_data_path is not None else None
        base = Path(tempfile.gettempdir()) / "flyte"
        try:
            base.mkdir(exist_ok=True)
            metadata, raw_data = _directories(base, name)
        except OSError:  # the directory belongs to somebody else
            metadata, raw_data = _directories(Path(tempfile.mkdtemp(prefix="flyte-")), name)
        return cls(name, dict(env_vars), metadata, given or raw_data)

    def add(self, action: LocalAction) -> LocalAction:
        """Take note of a new action."""
        with self.lock:
            self.actions.append(action)
        self.changed(action)
        return action

    def changed(self, action: LocalAction) -> None:
        """Tell those who watch."""
        for listener in list(self.listeners):
            listener(action)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when a condition holds that changes of actions make true."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def note(_: LocalAction) -> None:
            with suppress(RuntimeError):  # the waiter's loop is closed
                loop.call_soon_threadsafe(changed.set)

        self.listeners.append(note)
        try:
            while not condition():
                await changed.wait()
                changed.clear()
        finally:
            self.listeners.remove(note)

    def abort(self, reason: str) -> None:
        """Nothing starts any more, and running threads are interrupted."""
        self.abort_reason = self.abort_reason or reason
        self.aborting.set()
        with self.lock:
            threads = list(self.threads)
        for thread in threads:
            thread.stop()


def _raw_data_directory(path: str, name: str) -> Path:
    local = path.removeprefix("file://")
    if "://" in local:
        raise ValueError(f"raw_data_path={path!r} must be a directory of this machine in local mode")
    directory = Path(local).expanduser().absolute() / name
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"raw_data_path={path!r} cannot be used: {error.strerror}") from None
    return directory


def _directories(base: Path, name: str) -> tuple[Path, Path]:
    metadata, raw_data = base / "metadata" / name, base / "raw_data" / name
    metadata.mkdir(parents=True, exist_ok=True)
    raw_data.mkdir(parents=True, exist_ok=True)
    return metadata, raw_data
