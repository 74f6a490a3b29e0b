"""`flyte.run` and `flyte.with_runcontext`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flyte import errors
from flyte._bundle._select import CopyStyle, checked_copy_style
from flyte._client._twins import twin, twin_method
from flyte._initialize import current_session, refuse

if TYPE_CHECKING:
    from flyte._local import LocalRun
    from flyte._task import TaskTemplate
    from flyte.remote import Run

Mode = Literal["local", "remote", "hybrid"]

CacheScope = Literal["project-domain", "global"]


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
    raw_data_path: str | None = None
    env_vars: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    overwrite_cache: bool = False
    disable_run_cache: bool = False
    cache_lookup_scope: CacheScope = "project-domain"

    @twin_method
    async def run(self, task: TaskTemplate[..., Any], *args: Any, **kwargs: Any) -> Run | LocalRun:
        """Runs a task and returns at once.

        Args:
            task: The task.
            *args: Its inputs, by position.
            **kwargs: Its inputs, by name.

        Raises:
            TypeError: When an input is missing or unknown.
            flyte.errors.RuntimeDataValidationError: When an input has the wrong type.
            flyte.errors.RuntimeUserError: When the name is taken (code "RunAlreadyExistsError"), or the
                backend refuses the run.
            flyte.errors.CodeBundleError: When the code cannot be packed.
        """
        _check_task(task)
        mode = self.mode or ("local" if current_session() is None else "remote")
        if mode == "local":
            from flyte._local import start_local_run
            from flyte._local._persistence import configured_store

            return await start_local_run(
                task,
                args,
                kwargs,
                name=self.name,
                env_vars=self.env_vars,
                overwrite_cache=self.overwrite_cache,
                disable_cache=self.disable_run_cache,
                labels=self.labels,
                raw_data_path=self.raw_data_path,
                store=configured_store(),
            )
        from flyte._client._submit import submit

        refuse(raw_data_path=(self.raw_data_path, "the backend's own storage is used; leave it out"))
        return await submit(self, task, args, kwargs)


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
    log_level: int | None = None,
    log_format: str = "console",
    reset_root_logger: bool = False,
    disable_run_cache: bool = False,
    queue: str | None = None,
    notifications: Any | None = None,
    custom_context: Mapping[str, str] | None = None,
    cache_lookup_scope: CacheScope | None = None,
    preserve_original_types: bool | None = None,
    debug: bool = False,
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
        dry_run: Refused, unless False.
        copy_bundle_to: Refused.
        interactive_mode: Refused, unless False.
        raw_data_path: In local mode the directory that tasks may write bulk data to. Refused on a backend, which has
            storage of its own.
        run_base_dir: Refused: the backend's storage is used.
        overwrite_cache: Compute every cached result anew and replace those that are kept.
        annotations: Refused: use `labels`.
        interruptible: Refused.
        log_level: Refused: use `env_vars`.
        log_format: Only "console".
        reset_root_logger: Refused, unless False.
        disable_run_cache: Neither use nor keep results.
        queue: Refused: all runs share one queue.
        notifications: Refused.
        custom_context: Refused.
        cache_lookup_scope: Whose results count: "project-domain" (the default), or "global" for those of all
            projects and domains that were run with "global".
        preserve_original_types: Refused.
        debug: Refused, unless False.

    Raises:
        flyte.errors.FeatureNotAvailableError: When a refused parameter is given.
        ValueError: When a value is not one of those above.
        TypeError: When an environment variable or a label is no text.
    """
    refuse(
        service_account=(service_account, "tasks run as the backend's executor; leave it out"),
        dry_run=(dry_run or None, 'use mode="local" to try the code'),
        copy_bundle_to=(copy_bundle_to, "the bundle is uploaded; leave it out"),
        interactive_mode=(interactive_mode or None, "put the task into a file that workers can import"),
        run_base_dir=(run_base_dir, "the backend's own storage is used; leave it out"),
        annotations=(annotations, "use labels="),
        interruptible=(interruptible, "every worker runs on regular capacity; leave it out"),
        log_level=(log_level, 'use env_vars={"LOG_LEVEL": …} and read it in the task'),
        log_format=(None if log_format == "console" else log_format, 'only "console" is'),
        reset_root_logger=(reset_root_logger or None, "the root logger is not changed; leave it out"),
        queue=(queue, "all runs share one queue; leave it out"),
        notifications=(notifications, "wait for the run with run.wait()"),
        custom_context=(custom_context, "pass the values as inputs or with env_vars="),
        preserve_original_types=(preserve_original_types, "values have the types of the task's signature"),
        debug=(debug or None, 'use mode="local" and a debugger'),
    )
    if mode == "hybrid":
        raise errors.FeatureNotAvailableError(
            'mode="hybrid" is not available: use mode="local" or mode="remote"'
        )
    if mode not in {None, "local", "remote"}:
        raise ValueError(f'mode={mode!r} must be "local" or "remote"')
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
        raw_data_path=raw_data_path,
        copy_style=checked_copy_style(copy_style, version),
        env_vars=_texts("env_vars", env_vars),
        labels=_texts("labels", labels),
        overwrite_cache=bool(overwrite_cache),
        disable_run_cache=bool(disable_run_cache),
        cache_lookup_scope=cache_lookup_scope or "project-domain",
    )


@twin
async def run(task: TaskTemplate[..., Any], *args: Any, **kwargs: Any) -> Run | LocalRun:
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
    return await RunContext().run.aio(task, *args, **kwargs)


def _check_task(task: object) -> None:
    from flyte._task import TaskTemplate

    if not isinstance(task, TaskTemplate):
        raise TypeError(f"flyte.run takes a task, a function decorated with @env.task, not {task!r}")


def _texts(what: str, values: Mapping[str, str] | None) -> dict[str, str]:
    """Names and values that are texts.

    Raises:
        TypeError: When one is not.
    """
    for name, value in (values or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"{what}: {name!r}={value!r} must be text; write {str(value)!r}")
    return dict(values or {})
