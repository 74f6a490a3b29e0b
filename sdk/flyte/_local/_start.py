"""Starts runs in this process."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flyte._local._action import LocalAction
from flyte._local._recorder import Recorder
from flyte._local._run import ROOT, LocalRun
from flyte._local._state import RunState
from flyte._runtime.controller import check_size
from flyte._types._moves import off_loop

if TYPE_CHECKING:  # SQLite takes its time to import
    from flyte._local._store import LocalStore
    from flyte._task import TaskTemplate

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


async def start_local_run(
    task: TaskTemplate[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    name: str | None = None,
    version: str | None = None,
    env_vars: Mapping[str, str] | None = None,
    overwrite_cache: bool = False,
    disable_cache: bool = False,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    custom_context: Mapping[str, str] | None = None,
    raw_data_path: str | None = None,
    recovered: Mapping[str, tuple[bytes, str]] | None = None,
    store: LocalStore | None = None,
    echo: bool = True,
    wait: bool = True,
) -> LocalRun:
    """Run a task in this process.

    Args:
        task: The task.
        args: Inputs by position.
        kwargs: Inputs by name.
        name: Name of the run, generated unless given.
        version: What `flyte.ctx().version` says.
        env_vars: Environment variables of every action, over those of its environment.
        overwrite_cache: Compute every cached result anew and replace what is kept.
        disable_cache: Neither use nor keep results.
        labels: Labels of the run.
        annotations: Notes on the run.
        custom_context: Texts for all its actions.
        raw_data_path: Directory for bulk data, one below the system's temporary directory unless given.
        recovered: Outputs that are taken over and whose they are, by key of the action.
        store: Where it is recorded, None for nowhere.
        echo: What tasks of a recorded run print goes to the usual output, too.
        wait: Return when the run has ended, so that no script ends before it. False: at once.

    Raises:
        TypeError: An input is missing or unknown.
        RuntimeDataValidationError: An input has the wrong type.
        InlineIOMaxBytesBreached: The inputs are too large.
        ValueError: The name cannot be a directory's, two environments have the same name, or `raw_data_path` is no
            directory of this machine.
        RuntimeUserError: The store has a run of that name (code "RunAlreadyExistsError").
        RuntimeSystemError: The store cannot be used (code "LocalStoreError").
    """
    from flyte._environment import walk
    from flyte.io._local_place import LocalPlace
    from flyte.io._places import at_home

    walk([task.environment])
    interface = task.interface
    with at_home(LocalPlace()):
        document = await off_loop(interface.dump_inputs, interface.bind(args, kwargs))
    check_size(document, task.max_inline_io_bytes, f"the inputs of {task.name}")
    state = RunState.create(_run_name(name), env_vars or {}, raw_data_path)
    state.overwrite_cache, state.disable_cache = overwrite_cache, disable_cache
    state.recovered, state.custom_context = recovered or {}, dict(custom_context or {})
    state.version = version or ""
    state.labels, state.annotations, state.echo = dict(labels or {}), dict(annotations or {}), echo
    root = LocalAction(state, ROOT, task, document, custom_context=state.custom_context)
    recorder = _recorder(store, state, root) if store is not None else None
    run = LocalRun(state, state.add(root), recorder)
    run._start()
    if wait:
        try:
            await run._end()
        except asyncio.CancelledError:
            run._stop("interrupted")
            raise
    return run


def _recorder(store: LocalStore, state: RunState, root: LocalAction) -> Recorder:
    """What keeps a new run in a store."""
    store.create(root, state.labels, state.metadata_path)
    state.log_directory = store.log_directory(state.name)
    recorder = Recorder(store, state)
    recorder.start()
    return recorder


def run_local(
    task: TaskTemplate[..., Any],
    *args: Any,
    **kwargs: Any,
) -> LocalRun:
    """Run a task in this process and return when it has ended, for tests and notebooks.

    Example:
        ```python
        assert run_local(pipeline, x=5).result() == 20
        ```
    """
    from flyte._client._loop import LOOP

    return LOOP.run(start_local_run(task, args, kwargs))


def _run_name(name: str | None) -> str:
    if name is None:
        return "l" + secrets.token_hex(9)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"name={name!r} cannot name a run: use 1 to 63 lower-case letters, digits and hyphens, starting and ending "
            'with a letter or digit, such as "nightly-1"'
        )
    return name
