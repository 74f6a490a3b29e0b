"""Sends a task to the backend: its code, its inputs, the request for a run."""

from __future__ import annotations

import secrets
import string
import sys
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from flyte import errors
from flyte._cache import cache_key
from flyte._client._client import Client
from flyte._client._data import ClientPlace
from flyte._client._images import prepare_images
from flyte._client._packing import Packed, pack
from flyte._client._transfer import upload
from flyte._dry_run import DryRun
from flyte._initialize import Session, require_session
from flyte._types import digest
from flyte._types._moves import off_loop
from flyte.io._places import at_home
from flyte.remote import Run
from flyte.remote._call import DeployedCall
from flyte.remote._convert import run_identifier
from hangar.admin.v1 import data_service_pb2, run_pb2, run_service_pb2
from hangar.core.v1 import payload_pb2, task_spec_pb2

if TYPE_CHECKING:
    from flyte._definition import Definition
    from flyte._run import RunContext
    from flyte._task import TaskTemplate

INLINE_BYTES = 64 * 1024
"""Largest inputs document that travels inside the request; larger ones are uploaded first."""

_NAME_LENGTH = 20
_CACHE_SCOPES = {
    "project-domain": task_spec_pb2.CACHE_SCOPE_PROJECT_DOMAIN,
    "global": task_spec_pb2.CACHE_SCOPE_GLOBAL,
}


async def submit(
    context: RunContext, task: TaskTemplate[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Run:
    """Packs a task's code, uploads what the backend does not have, and creates a run.

    Raises:
        flyte.errors.BaseRuntimeError: As `RunContext.run`.
    """
    session = require_session()
    document = await _inputs_document(context, session, task, args, kwargs)
    packed = await _packed(context, session, task)
    wanted = packed.specs[task.name]
    key = cache_key(wanted, document, digest(document))
    spec = json_format.ParseDict(wanted, task_spec_pb2.TaskSpec())
    client = await session.client()
    project, domain = context.project or session.project, context.domain or session.domain
    await send_code(client, project, domain, packed)
    inputs = await _payload(client, project, domain, document)
    message = await _create(client, context, (project, domain), spec, inputs, key)
    return Run(session, message, task.interface)


async def describe(
    context: RunContext, task: TaskTemplate[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> DryRun:
    """What a run would be made of.

    Raises:
        flyte.errors.BaseRuntimeError: As `RunContext.run`, as far as the backend is not asked.
        OSError: The bundle cannot be written.
    """
    interface = task.interface
    document = await off_loop(interface.dump_inputs, interface.bind(args, kwargs))
    packed = await _packed(context, require_session(), task, dry_run=True)
    bundle = packed.bundle
    path = None
    if context.copy_bundle_to is not None:
        context.copy_bundle_to.mkdir(parents=True, exist_ok=True)
        path = context.copy_bundle_to / f"{bundle.digest}.tar.gz"
        path.write_bytes(bundle.archive)
    settings = json_format.MessageToDict(_settings(context), preserving_proto_field_name=True)
    return DryRun(
        packed.specs[task.name], document.decode(), settings, tuple(bundle.names), bundle.digest, path
    )


def _settings(context: RunContext) -> task_spec_pb2.RunContext:
    """What all actions of the run inherit."""
    settings = task_spec_pb2.RunContext(
        env_vars=context.env_vars,
        labels=context.labels,
        traceparent=current_traceparent(),
        overwrite_cache=context.overwrite_cache,
        disable_cache=context.disable_run_cache,
        cache_scope=_CACHE_SCOPES[context.cache_lookup_scope],
        annotations=context.annotations,
        custom_context=context.custom_context,
        queue=context.queue or "",
        interruptible=context.interruptible,
    )
    for notification in context.notifications:
        json_format.ParseDict(notification.to_spec(), settings.notifications.add())
    return settings


async def _packed(
    context: RunContext, session: Session, task: TaskTemplate[..., Any], *, dry_run: bool = False
) -> Packed:
    return await pack(
        [task],
        session,
        copy_style=context.copy_style,
        version=context.version,
        interactive=context.interactive_mode,
        dry_run=dry_run,
    )


async def submit_deployed(context: RunContext, task: DeployedCall, kwargs: dict[str, Any]) -> Run:
    """Creates a run of a deployed task.

    Raises:
        flyte.errors.BaseRuntimeError: As `RunContext.run`.
    """
    session = require_session()
    found = await task.definition(session)
    document = await _inputs_document(context, session, found, (), kwargs)
    spec = found.to_spec()
    client = await session.client()
    project, domain = context.project or session.project, context.domain or session.domain
    inputs = await _payload(client, project, domain, document)
    key = cache_key(spec, document, digest(document))
    message = json_format.ParseDict(spec, task_spec_pb2.TaskSpec())
    run = await _create(client, context, (project, domain), message, inputs, key)
    return Run(session, run, found.interface)


async def _inputs_document(
    context: RunContext,
    session: Session,
    task: TaskTemplate[..., Any] | Definition,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> bytes:
    """The inputs of a run. Files of this machine that they refer to are uploaded."""
    interface = task.interface
    with at_home(ClientPlace(session, context.project, context.domain)):
        document = await off_loop(interface.dump_inputs, interface.bind(args, kwargs))
    if len(document) > task.max_inline_io_bytes:
        raise errors.InlineIOMaxBytesBreached(
            f"The inputs of {task.name} are {len(document):,} bytes, more than its max_inline_io_bytes of "
            f"{task.max_inline_io_bytes:,}. Pass a flyte.io.File, or raise the limit."
        )
    return document


async def send_code(client: Client, project: str, domain: str, packed: Packed) -> None:
    """Stores code, unless the backend has it, and begins to build images."""
    archive = packed.bundle.archive
    await upload(client, project, domain, data_service_pb2.UPLOAD_KIND_CODE_BUNDLE, archive)
    await prepare_images(client, project, domain, packed.images, packed.environments)


async def _payload(client: Client, project: str, domain: str, document: bytes) -> payload_pb2.Payload:
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
    key: str,
) -> run_pb2.Run:
    """Creates the run, once, however often the request has to be sent."""
    retried = False

    def note_retry() -> None:
        nonlocal retried
        retried = True

    name = context.name or random_name()
    settings = _settings(context)
    request = run_service_pb2.CreateRunRequest(
        id=run_identifier(*scope, name), task=spec, inputs=inputs, context=settings, cache_key=key
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
