"""Builds that came to nothing: what to tell people of them, and whether another attempt may help. Pure."""

from __future__ import annotations

import re

from services.common import installers
from services.image_builder.dockerfile import Step
from services.image_builder.progress import Progress

_UNREACHABLE = re.compile(
    r"cannot connect to the docker daemon|error during connect|failed to dial|connection (refused|reset)"
    r"|error reading from server|code = unavailable|no active session|transport is closing|context canceled",
    re.IGNORECASE,
)
_OUTAGE = re.compile(
    r"i/o timeout|deadline exceeded|connection (refused|reset)|\bEOF$|code = unavailable|network is unreachable"
    r"|no route to host|server misbehaving|temporary failure in name resolution"
    r"|lookup (registry-1|auth)\.docker\.io\b.*no such host"
    r"|tls: |x509: |TLS handshake|too ?many ?requests|status:? 50[0-4]|50[0-4] (internal|bad|service|gateway)",
    re.IGNORECASE,
)
"""A registry that cannot be reached. A host that there is not may be a mistake of the author, but for Docker Hub's."""
_NOT_STARTED = re.compile(
    r"runc run failed|runc did not terminate|OCI runtime|unable to apply cgroup|failed to create endpoint"
)
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_NO_PLATFORM = re.compile(r"no match for platform|does not match the specified platform", re.IGNORECASE)
_NO_SHELL = re.compile(r'exec: "/bin/sh": .*no such file')


class BuildError(Exception):
    """A build that came to nothing.

    Attributes:
        code: Short machine-readable code, such as "ImageBuildError".
        message: What failed, with the last lines of the tool that knew.
        is_system: True when the same build may succeed later: the platform is to blame, not the definition.
        step: The step that failed, None when none did.
        exit_code: Exit code of the tool, None when there is none.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        is_system: bool = False,
        step: Step | None = None,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_system = is_system
        self.step = step
        self.exit_code = exit_code


def failure_of(progress: Progress, platform: str) -> BuildError:
    """Returns what became of a build that came to nothing: who is to blame, and what to do."""
    step, exit_code, message = progress.failed_step, progress.exit_code, progress.message
    if _FULL.search(message):
        text = f"the disk of the Docker engine that builds images is full:\n{message}"
        return BuildError("DiskFull", text, is_system=True, step=step, exit_code=exit_code)
    if progress.is_base_missing and _NO_PLATFORM.search(message):
        text = (
            f"{progress.base_text} has none for {platform}: use a base image that there is for {platform}, or leave "
            f"that platform out ({message})"
        )
        return BuildError("BaseImagePlatform", text, step=step, exit_code=exit_code)
    if progress.is_base_missing:
        text = f"{progress.base_text} cannot be had: {message}"
        is_outage = bool(_OUTAGE.search(message))
        return BuildError("BaseImageUnavailable", text, is_system=is_outage, step=step, exit_code=exit_code)
    if exit_code is None and _UNREACHABLE.search(message):
        text = f"the Docker engine that builds images is not reachable or ended the build: {message}"
        return BuildError("EngineUnavailable", text, is_system=True, step=step)
    if _NO_SHELL.search(message):
        text = (
            f"{progress.base_text} has no /bin/sh: images without a shell and Python cannot run tasks. Use another "
            f"base image:\n{message}"
        )
        return BuildError("ImageBuildError", text, step=step, exit_code=exit_code)
    if _NOT_STARTED.search(message) and 'exec: "' not in message:
        what = step.text if step is not None else "a step"
        text = f"the Docker engine could not run {what}: {message}"
        return BuildError("StepNotStarted", text, is_system=True, step=step, exit_code=exit_code)
    if step is None:
        text = f"the image cannot be built: {message}"
        is_outage = bool(_OUTAGE.search(message))  # where a front end comes from
        return BuildError("ImageBuildError", text, is_system=is_outage, exit_code=exit_code)
    ended = f" (exit code {exit_code})" if exit_code is not None else ""
    text = f"{step.text} failed{ended}:\n{message}"
    is_outage = installers.is_outage(message)
    return BuildError(
        installers.failure_code(message), text, is_system=is_outage, step=step, exit_code=exit_code
    )
