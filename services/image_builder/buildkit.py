"""Runs BuildKit: Docker's command line in a process group of its own, ended as a whole when a build is cancelled."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common import installers
from services.common.commands import run_command
from services.common.errors import FailedPrecondition
from services.common.registry_credentials import RegistryCredentials, is_refusal
from services.common.registry_secrets import RegistrySecret
from services.image_builder.dockerfile import Step
from services.image_builder.engine import NO_CREDENTIALS
from services.image_builder.progress import Output, Progress

_INSTALL = (
    "install Docker's command line with BuildKit (Debian and Ubuntu: package docker.io, or docker-ce-cli with "
    "docker-buildx-plugin), or name it in HANGAR_IMAGE_BUILDER_DOCKER"
)
_UNREACHABLE = re.compile(
    r"cannot connect to the docker daemon|error during connect|failed to dial|connection (refused|reset)"
    r"|error reading from server|code = unavailable|no active session|transport is closing|context canceled",
    re.IGNORECASE,
)
_OUTAGE = re.compile(
    r"i/o timeout|deadline exceeded|connection (refused|reset)|unexpected EOF|network is unreachable|no route to host"
    r"|server misbehaving|temporary failure in name resolution|lookup (registry-1|auth)\.docker\.io\b.*no such host"
    r"|tls: |x509: |TLS handshake|too ?many ?requests|status:? 50[0-4]|50[0-4] (internal|bad|service|gateway)",
    re.IGNORECASE,
)
"""A registry that cannot be reached. A host that there is not may be a mistake of the author, but for Docker Hub's."""
_NOT_STARTED = re.compile(r"runc run failed|runc did not terminate|OCI runtime|unable to apply cgroup")
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_NO_PLATFORM = re.compile(r"no match for platform|does not match the specified platform", re.IGNORECASE)
_NO_SHELL = re.compile(r'exec: "/bin/sh": .*no such file')
_RECLAIMED = re.compile(r"(?i)^total(?: reclaimed space)?:\s*([\d.]+)\s*([kMGT]?)B")
_DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64})")


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


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the builder.

    Attributes:
        context: Directory of the build context, with a `Dockerfile` in it.
        secrets: Files of build secrets, by the identifier of the secret.
        steps: Steps of the recipe; None for a Dockerfile of the author, whose steps are as he wrote them.
        tag: Name of the image.
        platform: Platform of the image.
        labels: Labels of the image.
        fresh: True to use nothing of earlier builds.
        dockerfile: The Dockerfile, None for that of the context.
        process: File to note the builder's process in, so that it can be ended when its service died.
        config: Directory that Docker's command line takes for its own, None for the usual one.
    """

    context: Path
    secrets: Mapping[str, Path]
    steps: Sequence[Step] | None
    tag: str
    platform: str
    labels: Mapping[str, str]
    fresh: bool = False
    dockerfile: Path | None = None
    process: Path | None = None
    config: Path | None = None


class BuildKit:
    """The builder.

    Args:
        docker: Path of Docker's command line, or its name.
        engine: URL of the engine; empty for what the environment says.
        network: Network of build steps.
        credentials: What registries want to be shown.
        place: Where a directory for them may be made, when they are not those of Docker's command line.
    """

    def __init__(
        self,
        docker: str,
        engine: str,
        network: str,
        credentials: RegistryCredentials = NO_CREDENTIALS,
        place: Path = Path(),
    ) -> None:
        self._docker = docker
        self._engine = engine
        self._network = network
        self._credentials = credentials
        self._place = place
        self._found = ""

    @property
    def command(self) -> str:
        """Docker's command line that was found, empty before `check`."""
        return self._found

    async def check(self) -> None:
        """Finds Docker's command line.

        Raises:
            FailedPrecondition: There is none, or none with BuildKit (reason ``BUILDKIT_MISSING``). Says what to
                install.
        """
        if self._found:
            return
        problems = [f"{self._docker} is not found"]
        for number, candidate in enumerate(_candidates(self._docker)):
            lines: list[str] = []
            code = await self._run([candidate, "build", "--help"], lines.append)
            if code == 0 and any("--secret" in line for line in lines):
                self._found = candidate
                return
            problems[number:] = [f"{candidate} has no BuildKit ({(lines or ['no answer'])[0]})"]
        message = f"image builds need BuildKit: {'; '.join(problems)}: {_INSTALL}"
        raise FailedPrecondition(message, reason="BUILDKIT_MISSING")

    async def build(self, job: Job, emit: Callable[[Output], None]) -> dict[str, str]:
        """Builds an image. Cancelled, it ends the builder and waits for its end.

        Args:
            job: What to build.
            emit: Called with lines for people.

        Returns:
            Digests of the bases that came from registries, by their addresses in full.

        Raises:
            FailedPrecondition: There is no builder.
            BuildError: The build failed.
        """
        await self.check()
        command = [self._found, "build", "--progress=plain", "--tag", job.tag, "--network", self._network]
        command += ["--platform", job.platform]
        for name, path in sorted(job.secrets.items()):
            command += ["--secret", f"id={name},src={path}"]
        for name, value in sorted(job.labels.items()):
            command += ["--label", f"{name}={value}"]
        if job.fresh:
            command.append("--no-cache")
        if job.dockerfile is not None:
            command += ["--file", str(job.dockerfile)]
        progress = Progress(job.steps)

        def read(line: str) -> None:
            for output in progress.feed(line):
                emit(output)

        # Named from the directory above, a context is the same for the engine in every build: it is sent what changed.
        command.append(job.context.name)
        code = await self._run(command, read, job.process, job.context.parent, job.config)
        if code:
            raise _failure(progress, code, job.platform)
        return progress.bases

    async def config_with(self, secret: RegistrySecret, place: Path) -> Path:
        """Makes a directory that Docker's command line takes for its own, with an author's credentials.

        Args:
            secret: The credentials.
            place: Where to make it.

        Raises:
            FailedPrecondition: The builder's own credentials cannot be read.
        """
        return await asyncio.to_thread(self._credentials.directory_with, secret, place, _own_config())

    async def push(
        self,
        reference: str,
        emit: Callable[[Output], None],
        secret: RegistrySecret | None = None,
        config: Path | None = None,
    ) -> str:
        """Pushes an image to its registry.

        Args:
            reference: Its address.
            emit: Called with lines for people.
            secret: Credentials of the author.
            config: Directory that `config_with` made of them.

        Returns:
            Digest of the image in the registry.

        Raises:
            BuildError: The registry refused or could not be reached.
        """
        await self.check()
        step = Step(f"push to {reference.partition('/')[0]}")
        lines: list[str] = []

        def read(line: str) -> None:
            lines.append(line)
            emit(Output(line, step))

        code = await self._run([self._found, "push", reference], read, config=config)
        if code:
            problem = "\n".join(lines[-5:])
            is_authors = (
                secret is not None and secret.login_for(reference) is not None and is_refusal(problem)
            )
            if secret is not None and is_authors:
                problem = secret.explained(reference, problem)
            else:
                problem = self._credentials.explained(reference, problem)
            message = f"the image cannot be pushed to {reference}:\n{problem}"
            raise BuildError("ImagePushError", message, is_system=not is_authors, step=step, exit_code=code)
        digests = [match[1] for line in lines if (match := _DIGEST.search(line))]
        return digests[-1] if digests else ""

    async def prune(self, max_age_seconds: float) -> int:
        """Removes what the builder keeps and did not use for so long. Returns the bytes that it took.

        Raises:
            BuildError: The engine did not answer.
        """
        await self.check()
        lines: list[str] = []
        options = ["--force", "--all", "--filter", f"until={max(int(max_age_seconds), 0)}s"]
        code = await self._run([self._found, "builder", "prune", *options], lines.append)
        if code:
            message = "the builder's cache cannot be pruned:\n" + "\n".join(lines[-5:])
            raise BuildError("PruneFailed", message, is_system=True, exit_code=code)
        return next((_bytes(match) for line in lines if (match := _RECLAIMED.search(line))), 0)

    async def _run(
        self,
        command: Sequence[str],
        on_line: Callable[[str], None],
        note: Path | None = None,
        works_in: Path | None = None,
        config: Path | None = None,
    ) -> int:
        environ = {**os.environ, "DOCKER_BUILDKIT": "1", "NO_COLOR": "1"}
        environ["BUILDX_NO_DEFAULT_ATTESTATIONS"] = "1"  # the registry gets one image, not a list with one
        environ.pop("BUILDKIT_PROGRESS", None)
        environ.setdefault("GOGC", "400")  # else a fifth of its start is spent on collecting 4 MB of garbage
        if config is None:
            config = await asyncio.to_thread(
                self._credentials.config_directory, self._place.absolute(), _own_config()
            )
        if config is not None:
            environ["DOCKER_CONFIG"] = str(config)
        if self._engine:
            environ["DOCKER_HOST"] = self._engine
        return await run_command(command, on_line, environ, works_in=works_in, note=note)


def _own_config() -> Path:
    """The directory of Docker's command line."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker").absolute()


def _candidates(docker: str) -> list[str]:
    if "/" in docker:
        return [docker] if shutil.which(docker) else []
    found = (shutil.which(docker, path=directory) for directory in os.get_exec_path())
    return list(dict.fromkeys(path for path in found if path))


def _bytes(match: re.Match[str]) -> int:
    return int(float(match[1]) * 1000 ** " kMGT".index(match[2] or " "))


def _failure(progress: Progress, code: int, platform: str) -> BuildError:
    step, exit_code = progress.failed_step, progress.exit_code
    message = progress.message or f"the builder ended with {code}"
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
        return BuildError(
            "ImageBuildError", f"the image cannot be built: {message}", exit_code=exit_code or code
        )
    ended = f" (exit code {exit_code})" if exit_code is not None else ""
    text = f"{step.text} failed{ended}:\n{message}"
    is_outage = installers.is_outage(message)
    return BuildError(
        installers.failure_code(message), text, is_system=is_outage, step=step, exit_code=exit_code
    )
