"""`flyte.run` and `flyte.with_runcontext`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flyte import errors
from flyte._bundle._select import CopyStyle, checked_copy_style
from flyte._client._twins import twin, twin_method
from flyte._initialize import current_session, refuse
from flyte._logging import FORMATS, check_level, configure, log_variables, logger
from flyte._placement import check_interruptible, check_queue
from flyte._texts import check_env_vars, check_version, texts
from flyte.notify._notification import Notification, check_notifications
from flyte.remote._call import DeployedCall

if TYPE_CHECKING:
    from flyte._local import LocalRun
    from flyte._task import TaskTemplate
    from flyte.remote import Run

Mode = Literal["local", "remote", "hybrid"]

CacheScope = Literal["project-domain", "project/domain", "global"]


@dataclass(frozen=True)
class RunContext:
    """How to run a task: see `with_runcontext`.

    Example:
        ```python
        flyte.with_runcontext(name="nightly-1", labels={"team": "data"}).run(pipeline, x=5)
        ```
    """

    mode: Mode | None = None
    name: str | None = None
    project: str | None = None
    domain: str | None = None
    version: str | None = None
    copy_style: CopyStyle = "loaded_modules"
    env_vars: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    custom_context: Mapping[str, str] = field(default_factory=dict)
    interruptible: bool | None = None
    queue: str | None = None
    raw_data_path: str | None = None
    notifications: tuple[Notification, ...] = ()
    dry_run: bool = False
    copy_bundle_to: Path | None = None
    overwrite_cache: bool = False
    disable_run_cache: bool = False
    cache_lookup_scope: CacheScope = "project-domain"
    interactive_mode: bool | None = None

    @twin_method
    async def run(self, task: TaskTemplate[..., Any] | DeployedCall, *args: Any, **kwargs: Any) -> Any:
        """Runs a task and returns at once: a `Run` on a backend, a `LocalRun` here, a `DryRun` with `dry_run`.

        Args:
            task: The task, or a deployed one (`flyte.remote.Task.get`), whose inputs are given by name.
            *args: Its inputs, by position.
            **kwargs: Its inputs, by name.

        Raises:
            TypeError: When an input is missing or unknown.
            flyte.errors.RuntimeDataValidationError: When an input has the wrong type.
            flyte.errors.RuntimeUserError: When the name is taken (code "RunAlreadyExistsError"), or the
                backend refuses the run.
            flyte.errors.CodeBundleError: When the code cannot be packed.
            flyte.errors.RemoteTaskUsageError: When a deployed task gets inputs by position, or is run locally.
            flyte.errors.RemoteTaskNotFoundError: When there is no such deployed task.
            ValueError: When notifications are asked for of a local run.
        """
        _check_task(task)
        mode = self.mode or ("local" if current_session() is None else "remote")
        if isinstance(task, DeployedCall):
            self._check_deployed(task, args, mode)
            from flyte._client._submit import submit_deployed

            return await submit_deployed(self, task, kwargs)
        if self.dry_run:
            from flyte._client._submit import describe

            return await describe(self, task, args, kwargs)
        if mode == "local":
            self._check_local()
            configure(self.env_vars)
            from flyte._local import start_local_run
            from flyte._local._persistence import configured_store

            return await start_local_run(
                task,
                args,
                kwargs,
                name=self.name,
                version=self.version,
                env_vars=self.env_vars,
                overwrite_cache=self.overwrite_cache,
                disable_cache=self.disable_run_cache,
                labels=self.labels,
                annotations=self.annotations,
                custom_context=self.custom_context,
                raw_data_path=self.raw_data_path,
                store=configured_store(),
            )
        if self.raw_data_path is not None:
            raise refused_path(self.raw_data_path)
        from flyte._client._submit import submit

        return await submit(self, task, args, kwargs)

    def _check_local(self) -> None:
        if self.notifications:
            raise ValueError(
                "notifications= has no effect on a local run: leave it out, run.wait() returns at the end"
            )
        names = ("project", "domain", "queue", "interruptible")
        if given := [name for name in names if getattr(self, name) is not None]:
            logger.warning("no effect on a local run: %s", ", ".join(given))

    def _check_deployed(self, task: DeployedCall, args: tuple[Any, ...], mode: str) -> None:
        task.check_arguments(args)
        if mode == "local":
            raise errors.RemoteTaskUsageError(
                f"the deployed task {task.name} cannot run locally: say where the backend is with flyte.init or "
                "flyte.init_from_config"
            )
        if self.raw_data_path is not None:
            raise refused_path(self.raw_data_path)
        for name, value in {"version": self.version, "dry_run": self.dry_run or None}.items():
            if value is not None:
                raise ValueError(
                    f"{name}={value!r} has no effect on the deployed task {task.name}: the version is given to "
                    "Task.get, and no code is packed"
                )


def with_runcontext(
    mode: Mode | None = None,
    name: str | None = None,
    service_account: str | None = None,
    version: str | None = None,
    copy_style: CopyStyle = "loaded_modules",
    dry_run: bool = False,
    copy_bundle_to: Path | None = None,
    interactive_mode: bool | None = None,
    raw_data_path: str | None = None,
    run_base_dir: str | None = None,
    overwrite_cache: bool = False,
    project: str | None = None,
    domain: str | None = None,
    env_vars: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    interruptible: bool | None = None,
    log_level: int | str | None = None,
    log_format: Literal["console", "json"] = "console",
    reset_root_logger: bool = False,
    disable_run_cache: bool = False,
    queue: str | None = None,
    notifications: Notification | Sequence[Notification] | None = None,
    custom_context: Mapping[str, str] | None = None,
    cache_lookup_scope: CacheScope | None = None,
    preserve_original_types: bool | None = None,
    debug: bool = False,
    raw_data_storage: str | None = None,
    dryrun: bool = False,
) -> RunContext:
    """Says how to run a task: ``with_runcontext(name="x").run(task, …)``.

    Args:
        mode: "remote" on the backend, "local" in this process. Unless given: remote after `flyte.init` or
            `flyte.init_from_config`, else local.
        name: Name of the run; generated unless given.
        version: Version of the code; derived from its content unless given.
        copy_style: "loaded_modules" bundles the imported modules, "all" everything below the root; "none" nothing:
            the code is in the image (`Image.with_code_bundle`). That needs `version`.
        project: Project, the configured one unless given.
        domain: Domain, the configured one unless given.
        env_vars: Environment variables of every action, over those of its environment.
        labels: Labels of the run.
        service_account: Refused.
        dry_run: Only say what the run would be made of: `run` gives a `flyte.DryRun` and sends nothing.
        copy_bundle_to: With `dry_run`, directory that the code bundle is written to.
        interactive_mode: True to send the code pickled, as from a notebook; False to have workers import it. Unless
            given, what was defined interactively is pickled.
        raw_data_path: Directory for bulk data, with mode="local" only: tasks on a backend write to its own store,
            whose credentials they do not have.
        run_base_dir: Refused, as `raw_data_path`.
        overwrite_cache: Compute every cached result anew and replace those that are kept.
        annotations: Notes on the run; unlike labels no filter looks at them.
        interruptible: Whether its actions may run on hosts whose capacity can be taken away, over what tasks say.
        log_level: Level of `flyte.logger` in the run's tasks, such as logging.DEBUG or "DEBUG".
        log_format: "console" for lines of text, "json" for an object per line.
        reset_root_logger: Let all loggers of the run's tasks write as `flyte.logger` does, in place of what they were
            configured for.
        disable_run_cache: Neither use nor keep results.
        queue: Queue of actions whose tasks name none.
        notifications: Whom to tell of the run's phases: `flyte.notify.Webhook`, one or several.
        custom_context: Texts for all its actions: `flyte.get_custom_context()`.
        cache_lookup_scope: Whose results count: "project-domain" (the default), or "global" for those of all
            projects and domains that were run with "global". "project/domain" is "project-domain", too.
        preserve_original_types: Values have the types of the task's signature in any case; False is refused.
        debug: Refused, unless False.
        raw_data_storage: Another spelling of `raw_data_path`.
        dryrun: Another spelling of `dry_run`.

    Local runs belong to no project and wait in no queue: `project`, `domain`, `queue` and `interruptible` have
    no effect on them, and a warning names them.

    Raises:
        flyte.errors.FeatureNotAvailableError: When a refused parameter is given.
        ValueError: When a value is not one of those above.
        TypeError: When an environment variable or a label is no text.
    """
    refuse(
        service_account=(service_account, "tasks run as the backend's executor; leave it out"),
        run_base_dir=(run_base_dir, "the backend's own storage is used; leave it out"),
        preserve_original_types=(
            None if preserve_original_types else preserve_original_types,
            "values have the types of the task's signature: annotate flyte.io.DataFrame for a lazy frame",
        ),
        debug=(debug or None, 'use mode="local" and a debugger'),
    )
    if mode == "hybrid":
        raise errors.FeatureNotAvailableError(
            'mode="hybrid" is not available: use mode="local" or mode="remote"'
        )
    if mode not in {None, "local", "remote"}:
        raise ValueError(f'mode={mode!r} must be "local" or "remote"')
    if log_format not in FORMATS:
        raise ValueError(f'log_format={log_format!r} must be "console" or "json"')
    for what, text in {"name": name, "project": project, "domain": domain}.items():
        if text is not None and (not isinstance(text, str) or not text):
            raise TypeError(f"{what} must be text, not {text!r}: leave it out for the usual one")
    check_version(version)
    dry_run = dry_run or dryrun
    if copy_bundle_to is not None and not dry_run:
        raise ValueError("copy_bundle_to has an effect with dry_run=True only: add that, or leave it out")
    if raw_data_path is not None and raw_data_storage is not None and raw_data_path != raw_data_storage:
        raise ValueError("raw_data_path= and raw_data_storage= are the same setting: give one of them")
    raw_data = raw_data_path if raw_data_path is not None else raw_data_storage
    if raw_data is not None and mode == "remote":
        raise refused_path(raw_data)
    logs = log_variables(check_level(log_level), log_format, reset_root=bool(reset_root_logger))
    if cache_lookup_scope == "project/domain":
        cache_lookup_scope = "project-domain"
    if cache_lookup_scope not in {None, "global", "project-domain"}:
        raise ValueError(f'cache_lookup_scope={cache_lookup_scope!r} must be "project-domain" or "global"')
    if overwrite_cache and disable_run_cache:
        raise ValueError("overwrite_cache and disable_run_cache exclude each other: leave one out")
    return RunContext(
        mode=mode,
        name=name,
        project=project,
        domain=domain,
        version=version,
        copy_style=checked_copy_style(copy_style, version),
        env_vars={**logs, **check_env_vars(env_vars or {})},
        labels=texts("labels", labels),
        annotations=texts("annotations", annotations),
        custom_context=texts("custom_context", custom_context),
        interruptible=check_interruptible(interruptible),
        queue=check_queue(queue),
        raw_data_path=None if raw_data is None else str(raw_data),
        notifications=check_notifications(notifications),
        dry_run=bool(dry_run),
        copy_bundle_to=None if copy_bundle_to is None else Path(copy_bundle_to),
        overwrite_cache=bool(overwrite_cache),
        disable_run_cache=bool(disable_run_cache),
        cache_lookup_scope=cache_lookup_scope or "project-domain",
        interactive_mode=interactive_mode,
    )


@twin
async def run(task: TaskTemplate[..., Any] | DeployedCall, *args: Any, **kwargs: Any) -> Run | LocalRun:
    """Runs a task and returns at once; see `RunContext.run` for what can go wrong.

    On the backend after `flyte.init` or `flyte.init_from_config`, else in this process.

    Example:
        ```python
        flyte.init_from_config()
        run = flyte.run(greet, name="World")
        print(run.url)
        print(run)  # waits: Hello, World!
        ```
    """
    started: Run | LocalRun = await RunContext().run.aio(task, *args, **kwargs)
    return started


def refused_path(path: str) -> errors.FeatureNotAvailableError:
    """The error that says that a backend does not write to a place of the caller's choice."""
    return errors.FeatureNotAvailableError(
        f"raw_data_path={path!r} is not available on a backend: tasks have no credentials of their own and write to "
        'the backend\'s store, below flyte.ctx().raw_data_path. Leave it out, or use mode="local"'
    )


def _check_task(task: object) -> None:
    from flyte._task import TaskTemplate

    if not isinstance(task, (TaskTemplate, DeployedCall)):
        raise TypeError(f"flyte.run takes a task, a function decorated with @env.task, not {task!r}")
