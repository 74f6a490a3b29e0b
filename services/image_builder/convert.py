"""Builds as messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from hangar.core.v1 import failure_pb2
from hangar.image.v1 import image_build_pb2 as messages
from services.image_builder.builds import Build, LogLine, State

_STATES = {
    State.QUEUED: messages.IMAGE_BUILD_STATE_QUEUED,
    State.BUILDING: messages.IMAGE_BUILD_STATE_BUILDING,
    State.SUCCEEDED: messages.IMAGE_BUILD_STATE_SUCCEEDED,
    State.FAILED: messages.IMAGE_BUILD_STATE_FAILED,
    State.CANCELLED: messages.IMAGE_BUILD_STATE_CANCELLED,
}


def image_build(build: Build, current_bases: Mapping[str, str] | None = None) -> messages.ImageBuild:
    """Returns the message of a build as it is now.

    Args:
        build: The build.
        current_bases: Digests of what is behind the addresses of its bases now.
    """
    current = current_bases or {}
    bases = [
        messages.BaseImage(address=address, digest=digest, current_digest=current.get(address, ""))
        for address, digest in build.bases.items()
    ]
    found = messages.ImageBuild(
        name=build.image.name,
        state=_STATES[build.state],
        reference=build.image.reference,
        definition_digest=build.image.definition_digest,
        base_image=build.image.base_image,
        platform=build.image.platform,
        created_at=_timestamp(build.created_at),
        cached=build.cached,
        image_digest=build.image_digest,
        image_id=build.image_id,
        size_bytes=build.size_bytes,
        step=build.step.text if build.step else "",
        log_lines=build.next_line,
        steps=len(build.steps),
        step_number=build.step_number,
        environment=build.image.is_environment,
        title=build.image.title,
        missing_secrets=build.missing_secrets,
        bases=bases,
    )
    if build.started_at is not None:
        found.started_at.CopyFrom(_timestamp(build.started_at))
    if build.finished_at is not None:
        found.finished_at.CopyFrom(_timestamp(build.finished_at))
    if build.error is not None:
        is_system = build.error.is_system
        kind = failure_pb2.FAILURE_KIND_SYSTEM if is_system else failure_pb2.FAILURE_KIND_IMAGE
        found.failure.CopyFrom(
            failure_pb2.Failure(kind=kind, code=build.error.code, message=build.error.message)
        )
        if build.error.step is not None and build.error.step.layer is not None:
            found.failed_layer = build.error.step.layer
        if build.error.exit_code is not None:
            found.exit_code = build.error.exit_code
    return found


def log_line(line: LogLine) -> messages.ImageBuildLogLine:
    """Returns the message of a line."""
    return messages.ImageBuildLogLine(
        number=line.number, text=line.text, step=line.step, captured_at=_timestamp(line.captured_at)
    )


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
