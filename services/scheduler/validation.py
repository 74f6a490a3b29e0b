"""What a request must be like to be accepted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from hangar.core.v1.identifiers_pb2 import RunIdentifier
from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.resources_pb2 import Resources
from hangar.core.v1.task_spec_pb2 import Notification, RetryPolicy, ReusePolicy, RunContext, TaskSpec
from services.common.errors import InvalidArgument
from services.common.names import check_domain, check_name
from services.scheduler.destinations import Destinations

MOST_RETRIES = 100
"""Most retries of a task."""
INLINE_BYTES = 64 * 1024
"""Most bytes of an inline document."""
LONGEST_NAME = 255
"""Most characters of a name. PostgreSQL indexes keys of up to 2700 bytes."""
_MOST_LABELS, _LONGEST_KEY, _LONGEST_VALUE = 64, 128, 256
_MOST_TEXTS, _LONGEST_TEXT = 64, 4096
_LONGEST_FACTOR = 1000.0
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,254}")
"""The same as in the SDK (`flyte._texts`)."""
_QUEUE = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_MOST_LINKS = 32
_MOST_NOTIFICATIONS = 16
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def check_run(run: RunIdentifier) -> None:
    """Checks an identifier of a run.

    Raises:
        InvalidArgument: A part of it is missing or not valid.
    """
    check_name("project", run.project)
    check_domain(run.domain)
    check_name("run name", run.name)


def check_context(context: RunContext, destinations: Destinations) -> None:
    """Checks what a run is created with besides its task and inputs.

    Args:
        context: The settings.
        destinations: Where notifications may go.

    Raises:
        InvalidArgument: It has too many labels, or one that is too long.
    """
    if len(context.labels) > _MOST_LABELS:
        raise _invalid("context.labels", f"has {len(context.labels)} labels: use up to {_MOST_LABELS}")
    for key, value in context.labels.items():
        if not 1 <= len(key) <= _LONGEST_KEY or len(value) > _LONGEST_VALUE:
            limits = f"keys have 1 to {_LONGEST_KEY} characters, values up to {_LONGEST_VALUE}"
            raise _invalid("context.labels", f"has {key[:40]!r}, which is not valid: {limits}")
        if "\0" in key + value:
            raise _invalid("context.labels", f"has the character NUL in {key[:40]!r}: leave it out")
    for name in ("annotations", "custom_context"):
        problem = texts_problem(getattr(context, name))
        if problem is not None:
            raise _invalid(f"context.{name}", problem)
    _check_variables("context.env_vars", context.env_vars)
    if context.queue:
        _check_queue("context.queue", context.queue)
    if context.recovers:
        check_name("run to recover", context.recovers)
    if context.raw_data_path:
        raise _invalid("context.raw_data_path", "is not available: tasks write to the backend's own store")
    if len(context.notifications) > _MOST_NOTIFICATIONS:
        problem = f"has {len(context.notifications)} entries: use up to {_MOST_NOTIFICATIONS}"
        raise _invalid("context.notifications", problem)
    for number, notification in enumerate(context.notifications):
        _check_notification(f"context.notifications[{number}]", notification, destinations)


def _check_notification(field: str, notification: Notification, destinations: Destinations) -> None:
    refusal = destinations.refusal(notification.url)
    if refusal is not None:
        raise _invalid(f"{field}.url", refusal)
    for name, value in notification.headers.items():
        if not _HEADER.fullmatch(name) or not value.isprintable():
            raise _invalid(f"{field}.headers", f"has {name[:40]!r}, which is no valid header")
    if notification.body_json:
        try:
            json.loads(notification.body_json)
        except ValueError as error:
            raise _invalid(f"{field}.body_json", f"is no JSON: {error}") from None


def _check_variables(field: str, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name + value:
            raise _invalid(field, f"has {name[:40]!r}, which no environment can have")


def texts_problem(texts: Mapping[str, str]) -> str | None:
    """Returns what is wrong with annotations or a custom context; None when nothing is."""
    if len(texts) > _MOST_TEXTS:
        return f"has {len(texts)} entries: use up to {_MOST_TEXTS}"
    for key, value in texts.items():
        if not 1 <= len(key) <= _LONGEST_KEY:
            return f"has the key {key[:40]!r}: keys have 1 to {_LONGEST_KEY} characters"
        if len(value) > _LONGEST_TEXT:
            return f"has {len(value)} characters in {key!r}: use up to {_LONGEST_TEXT}"
        if "\0" in key + value:
            return f"has the character NUL in {key[:40]!r}"
    return None


def check_inputs(inputs: Payload) -> None:
    """Checks the inputs of a run.

    Raises:
        InvalidArgument: They are missing, or too large to be inline.
    """
    kind = inputs.WhichOneof("data")
    if kind is None:
        raise _invalid("inputs", "is missing: give the JSON document inline ({} for none) or a reference")
    if kind == "inline" and len(inputs.inline) > INLINE_BYTES:
        raise _invalid(
            "inputs.inline",
            f"has {len(inputs.inline)} bytes, more than {INLINE_BYTES}: upload it and give a reference",
        )
    if kind == "reference" and not inputs.reference.key:
        raise _invalid("inputs.reference.key", "is empty: give the key of the uploaded document")


def check_signal(outputs: Payload) -> None:
    """Checks the outputs document that a signal brings.

    Raises:
        InvalidArgument: It is missing, no document, or too large.
    """
    if not 0 < len(outputs.inline) <= INLINE_BYTES:
        raise _invalid(
            "outputs.inline",
            f"has {len(outputs.inline)} bytes: give the outputs document, up to {INLINE_BYTES} bytes",
        )
    try:
        document = json.loads(outputs.inline)
    except ValueError as error:
        raise _invalid("outputs.inline", f"is not JSON: {error}") from error
    if not isinstance(document, dict) or document.keys() != {"o0"}:
        raise _invalid("outputs.inline", 'must be an object with the value under "o0"')


def check_spec(spec: TaskSpec) -> None:
    """Checks a task definition.

    Raises:
        InvalidArgument: Something in it is missing or not valid.
    """
    if not spec.name or len(spec.name) > LONGEST_NAME:
        raise _invalid(
            "name", f"is {spec.name[:80]!r}: give 1 to {LONGEST_NAME} characters, such as 'my_env.greet'"
        )
    for name in ("name", "short_name", "environment"):
        if "\0" in getattr(spec, name):
            raise _invalid(name, f"is {getattr(spec, name)[:80]!r}: leave the character NUL out")
    if spec.code.version and not _VERSION.fullmatch(spec.code.version):
        problem = (
            f"is {spec.code.version[:80]!r}: use up to {LONGEST_NAME} letters, digits and . _ - +, the first a letter "
            "or digit: versions are parts of addresses"
        )
        raise _invalid("code.version", problem)
    if not spec.environment:
        raise _invalid("environment", "is empty: give the name of the task environment")
    if not spec.HasField("interface"):
        raise _invalid("interface", "is missing: give inputs and outputs, empty ones for none")
    if not spec.code.module or not spec.code.attribute:
        raise _invalid("code", "needs module and attribute: they say how to import the task")
    _check_variables("env_vars", spec.env_vars)
    if not 0 <= spec.retry.count <= MOST_RETRIES:
        raise _invalid("retry.count", f"is {spec.retry.count}: give 0 to {MOST_RETRIES}")
    _check_backoff(spec.retry)
    if spec.queue:
        _check_queue("queue", spec.queue)
    if len(spec.links) > _MOST_LINKS:
        raise _invalid("links", f"has {len(spec.links)} entries: use up to {_MOST_LINKS}")
    for name in ("max_runtime_millis", "max_queued_millis", "deadline_millis"):
        if getattr(spec.timeout, name) < 0:
            raise _invalid(
                f"timeout.{name}", f"is {getattr(spec.timeout, name)}: give a positive number, or 0 for none"
            )
    _check_resources(spec)
    if spec.HasField("reuse"):
        _check_reuse(spec.reuse)
    if spec.HasField("container"):
        _check_container(spec)


def _check_backoff(policy: RetryPolicy) -> None:
    for name in ("backoff_base_millis", "backoff_cap_millis"):
        if getattr(policy, name) < 0:
            raise _invalid(f"retry.{name}", f"is {getattr(policy, name)}: give 0 or more")
    factor, jitter = policy.backoff_factor, policy.backoff_jitter
    if factor and not (math.isfinite(factor) and 1 <= factor <= _LONGEST_FACTOR):
        raise _invalid("retry.backoff_factor", f"is {factor}: give 1 to {_LONGEST_FACTOR:g}")
    if not 0 <= jitter <= 1:
        raise _invalid("retry.backoff_jitter", f"is {jitter}: give 0 to 1")


def _check_queue(field: str, queue: str) -> None:
    if len(queue) > _LONGEST_KEY or not _QUEUE.fullmatch(queue):
        problem = (
            f"is {queue[:80]!r}: write lower-case letters and digits, in words joined by single '-' or '_'"
        )
        raise _invalid(field, problem)


def _check_resources(spec: TaskSpec) -> None:
    wanted: Resources = spec.resources
    for name in ("cpu_millis", "memory_bytes", "disk_bytes"):
        if getattr(wanted, name) < 0:
            raise _invalid(
                f"resources.{name}",
                f"is {getattr(wanted, name)}: give a positive number, or 0 for the default",
            )
    if wanted.shm_bytes < -1:
        raise _invalid(
            "resources.shm_bytes", f"is {wanted.shm_bytes}: give a positive number, 0, or -1 for automatic"
        )
    if wanted.HasField("gpu"):
        if wanted.gpu.count < 1:
            raise _invalid("resources.gpu.count", f"is {wanted.gpu.count}: give at least 1, or leave gpu out")
        if wanted.gpu.partition:
            raise _invalid(
                "resources.gpu.partition",
                f"is {wanted.gpu.partition!r}, but partitions are not supported yet: ask for whole devices",
            )


def _check_container(spec: TaskSpec) -> None:
    container = spec.container
    if spec.HasField("reuse"):
        raise _invalid("reuse", "is given with container: a container runs its program once")
    for name in ("input_directory", "output_directory"):
        path = PurePosixPath(getattr(container, name))
        if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
            raise _invalid(f"container.{name}", f'is {str(path)!r}: give an absolute path below "/"')
    if len(container.output_files) != len(spec.interface.outputs):
        counts = f"{len(container.output_files)} names for {len(spec.interface.outputs)} outputs"
        raise _invalid("container.output_files", f"has {counts}: give one for each")
    for file in (*container.output_files, *(variable.name for variable in spec.interface.inputs)):
        if not file.isidentifier():
            raise _invalid(
                "container", f"has {file!r} as the name of an input or output: use letters, digits and _"
            )


def _check_reuse(reuse: ReusePolicy) -> None:
    if reuse.max_replicas < 1:
        raise _invalid("reuse.max_replicas", f"is {reuse.max_replicas}: give at least 1")
    if not 0 <= reuse.min_replicas <= reuse.max_replicas:
        raise _invalid(
            "reuse.min_replicas", f"is {reuse.min_replicas}: give 0 to {reuse.max_replicas} (max_replicas)"
        )
    if reuse.concurrency < 1:
        raise _invalid("reuse.concurrency", f"is {reuse.concurrency}: give at least 1")
    for name in ("idle_ttl_millis", "scaledown_ttl_millis"):
        if getattr(reuse, name) < 0:
            raise _invalid(f"reuse.{name}", f"is {getattr(reuse, name)}: give 0 or more")


def _invalid(field: str, problem: str) -> InvalidArgument:
    place = field if field.startswith(("inputs", "outputs", "context")) else f"task.{field}"
    return InvalidArgument(f"{place} {problem}", reason="REQUEST_INVALID", field=place)
