"""`flyte.run` and `flyte.with_runcontext`."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import string
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flyte import errors
from flyte._bundle._select import CopyStyle, checked_copy_style
from flyte._client._twins import twin, twin_method
from flyte._initialize import current_session, refuse, require_session

if TYPE_CHECKING:
    from flyte._bundle._bundle import Bundle
    from flyte._client._client import Client
    from flyte._initialize import Session
    from flyte._local import LocalRun
    from flyte._task import TaskTemplate
    from flyte.remote import Run
    from hangar.core.v1 import payload_pb2, task_spec_pb2

Mode = Literal["local", "remote", "hybrid"]

INLINE_BYTES = 64 * 1024
"""Largest inputs document that travels inside the request; larger ones are uploaded first."""

_NAME_LENGTH = 20
_NO_CACHE = "results are not cached yet; leave it out"


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

            return await start_local_run(task, args, kwargs, name=self.name, env_vars=self.env_vars)
        return await _run_remotely(self, task, args, kwargs)


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
    cache_lookup_scope: str | None = None,
    preserve_original_types: bool | None = None,
    debug: bool = False,
) -> RunContext:
    """Says how to run a task: ``with_runcontext(name="x").run(task, …)``.

    Args:
        mode: "remote" on the backend, "local" in this process. Unless given: remote after `flyte.init` or
            `flyte.init_from_config`, else local.
        name: Name of the run; generated unless given.
        version: Version of the code; derived from its content unless given.
        copy_style: "loaded_modules" bundles the imported modules, "all" everything below the root.
        project: Project, the configured one unless given.
        domain: Domain, the configured one unless given.
        env_vars: Environment variables of every action, over those of its environment.
        labels: Labels of the run.
        service_account: Refused.
        dry_run: Refused, unless False.
        copy_bundle_to: Refused.
        interactive_mode: Refused, unless False.
        raw_data_path: Refused: the backend's storage is used.
        run_base_dir: Refused, as `raw_data_path`.
        overwrite_cache: Refused, unless False.
        annotations: Refused: use `labels`.
        interruptible: Refused.
        log_level: Refused: use `env_vars`.
        log_format: Only "console".
        reset_root_logger: Refused, unless False.
        disable_run_cache: Refused, unless False.
        queue: Refused: all runs share one queue.
        notifications: Refused.
        custom_context: Refused.
        cache_lookup_scope: Refused.
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
        raw_data_path=(raw_data_path, "the backend's own storage is used; leave it out"),
        run_base_dir=(run_base_dir, "the backend's own storage is used; leave it out"),
        overwrite_cache=(overwrite_cache or None, _NO_CACHE),
        annotations=(annotations, "use labels="),
        interruptible=(interruptible, "every worker runs on regular capacity; leave it out"),
        log_level=(log_level, 'use env_vars={"LOG_LEVEL": …} and read it in the task'),
        log_format=(None if log_format == "console" else log_format, 'only "console" is'),
        reset_root_logger=(reset_root_logger or None, "the root logger is not changed; leave it out"),
        disable_run_cache=(disable_run_cache or None, _NO_CACHE),
        queue=(queue, "all runs share one queue; leave it out"),
        notifications=(notifications, "wait for the run with run.wait()"),
        custom_context=(custom_context, "pass the values as inputs or with env_vars="),
        cache_lookup_scope=(cache_lookup_scope, _NO_CACHE),
        preserve_original_types=(preserve_original_types, "values have the types of the task's signature"),
        debug=(debug or None, 'use mode="local" and a debugger'),
    )
    if mode == "hybrid":
        raise errors.FeatureNotAvailableError(
            'mode="hybrid" is not available: use mode="local" or mode="remote"'
        )
    if mode not in {None, "local", "remote"}:
        raise ValueError(f'mode={mode!r} must be "local" or "remote"')
    if mode == "local" and labels:
        raise ValueError('labels= has no effect with mode="local": leave it out')
    return RunContext(
        mode=mode,
        name=name,
        project=project,
        domain=domain,
        version=version,
        copy_style=checked_copy_style(copy_style),
        env_vars=_texts("env_vars", env_vars),
        labels=_texts("labels", labels),
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


async def _run_remotely(
    context: RunContext, task: TaskTemplate[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Run:
    from flyte.remote import Run

    session = require_session()
    document = _inputs_document(task, args, kwargs)
    bundle, spec = await asyncio.to_thread(_packed, context, session, task)
    client = await session.client()
    project, domain = context.project or session.project, context.domain or session.domain
    await _upload_bundle(client, project, domain, bundle)
    inputs = await _payload(client, project, domain, document)
    message = await _create(client, context, (project, domain), spec, inputs)
    return Run(session, message, task.interface)


def _check_task(task: object) -> None:
    from flyte._task import TaskTemplate

    if not isinstance(task, TaskTemplate):
        raise TypeError(f"flyte.run takes a task, a function decorated with @env.task, not {task!r}")


def _inputs_document(task: TaskTemplate[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    interface = task.interface
    document = interface.dump_inputs(interface.bind(args, kwargs))
    if len(document) > task.max_inline_io_bytes:
        raise errors.InlineIOMaxBytesBreached(
            f"The inputs of {task.name} are {len(document):,} bytes, more than its max_inline_io_bytes of "
            f"{task.max_inline_io_bytes:,}. Pass a pathlib.Path on shared storage, or raise the limit."
        )
    return document


def _packed(
    context: RunContext, session: Session, task: TaskTemplate[..., Any]
) -> tuple[Bundle, task_spec_pb2.TaskSpec]:
    """The code of a task, and what the backend has to know of it."""
    from google.protobuf import json_format

    from flyte import _code
    from flyte._bundle._bundle import make_bundle
    from flyte._bundle._environments import included_paths, root_of
    from flyte._bundle._modules import main_module, python_path
    from hangar.core.v1 import task_spec_pb2

    root = session.root_dir or root_of(task)
    directories = python_path(root, mirrored=session.sync_local_sys_paths)
    bundle = make_bundle(root, context.copy_style, included_paths(task))
    identity = _code.CodeIdentity(
        bundle_digest=bundle.digest,
        python_path=directories,
        version=context.version or _version(bundle.digest, directories, task),
        main_module=main_module(root, directories),
    )
    with _code.using(identity):
        spec = json_format.ParseDict(task.to_spec(), task_spec_pb2.TaskSpec())
    _check_bundled(spec, root, bundle)
    return bundle, spec


def _check_bundled(spec: task_spec_pb2.TaskSpec, root: Path, bundle: Bundle) -> None:
    """Refuses a task whose module a worker could not import, before anything is created."""
    path = spec.code.module.replace(".", "/")
    endings = (f"{path}.py", f"{path}/__init__.py")
    if not any(name == ending or name.endswith(f"/{ending}") for name in bundle.names for ending in endings):
        raise errors.CodeBundleError(
            f"Module {spec.code.module} of task {spec.name} is not in the code bundle, whose root directory "
            f"is {root}. Name the directory that holds all of the code with --root-dir "
            "(flyte.init(root_dir=…))."
        )


def _version(digest: str, directories: tuple[str, ...], task: TaskTemplate[..., Any]) -> str:
    """A version that is the same as long as code and image are."""
    image = task.image.to_spec()
    identity = "\n".join([digest, *directories, str(image.get("digest", image))])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


async def _upload_bundle(client: Client, project: str, domain: str, bundle: Bundle) -> None:
    from flyte._client._transfer import upload
    from hangar.admin.v1 import data_service_pb2

    await upload(client, project, domain, data_service_pb2.UPLOAD_KIND_CODE_BUNDLE, bundle.archive)


async def _payload(client: Client, project: str, domain: str, document: bytes) -> payload_pb2.Payload:
    from flyte._client._transfer import upload
    from flyte._types import digest
    from hangar.admin.v1 import data_service_pb2
    from hangar.core.v1 import payload_pb2

    identity = digest(document)
    if len(document) <= INLINE_BYTES:
        return payload_pb2.Payload(inline=document, digest=identity)
    key = await upload(client, project, domain, data_service_pb2.UPLOAD_KIND_INPUTS, document)
    reference = payload_pb2.BlobReference(key=key, size=len(document))
    return payload_pb2.Payload(reference=reference, digest=identity)


async def _create(
    client: Client,
    context: RunContext,
    scope: tuple[str, str],
    spec: task_spec_pb2.TaskSpec,
    inputs: payload_pb2.Payload,
) -> Any:
    """Creates the run, once, however often the request has to be sent."""
    from flyte.remote._convert import run_identifier
    from hangar.admin.v1 import run_service_pb2
    from hangar.core.v1 import task_spec_pb2

    retried = False

    def note_retry() -> None:
        nonlocal retried
        retried = True

    name = context.name or random_name()
    settings = task_spec_pb2.RunContext(
        env_vars=context.env_vars, labels=context.labels, traceparent=current_traceparent()
    )
    request = run_service_pb2.CreateRunRequest(
        id=run_identifier(*scope, name), task=spec, inputs=inputs, context=settings
    )
    answer = await client.call(client.runs.CreateRun, request, on_retry=note_retry)
    if context.name is not None and not answer.created and not retried:
        raise errors.RuntimeUserError(
            "RunAlreadyExistsError",
            f"Run {name!r} exists already in project {scope[0]!r}, domain {scope[1]!r}. Choose another "
            f"name, or leave it out to have one generated. It is at {answer.run.url}",
        )
    return answer.run


def random_name() -> str:
    """A new name of a run."""
    rest = string.ascii_lowercase + string.digits
    return secrets.choice(string.ascii_lowercase) + "".join(
        secrets.choice(rest) for _ in range(_NAME_LENGTH - 1)
    )


def current_traceparent() -> str:
    """W3C traceparent of the caller's OpenTelemetry span, empty without one. Imports nothing."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return ""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"


def _texts(what: str, values: Mapping[str, str] | None) -> dict[str, str]:
    """Names and values that are texts.

    Raises:
        TypeError: When one is not.
    """
    for name, value in (values or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"{what}: {name!r}={value!r} must be text; write {str(value)!r}")
    return dict(values or {})
