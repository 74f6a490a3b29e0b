"""Has BuildKit build images: through the Docker engine that it is a part of, with no command line between."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hangar.buildkit.v1.buildkit_pb2 import BuildStatus
from services.common.registry_credentials import RegistryCredentials, is_refusal
from services.common.registry_secrets import RegistrySecret
from services.image_builder.dockerfile import Step
from services.image_builder.engine import NO_CREDENTIALS, BuilderEngine
from services.image_builder.failures import BuildError, failure_of
from services.image_builder.progress import Output, Progress
from services.image_builder.session import Session
from services.image_builder.trees import Tree


@dataclass(frozen=True, slots=True)
class Job:
    """One run of the builder.

    Attributes:
        context: The build context.
        dockerfile: Text of the Dockerfile.
        secrets: Contents of build secrets, by the identifier of the secret.
        steps: Steps of the recipe; None for a Dockerfile of the author, whose steps are as he wrote them.
        tag: Name of the image.
        platform: Platform of the image.
        labels: Labels of the image.
        fresh: True to use nothing of earlier builds.
        login: An author's credentials of registries, which go before the builder's.
    """

    context: Tree
    dockerfile: str
    secrets: Mapping[str, bytes]
    steps: Sequence[Step] | None
    tag: str
    platform: str
    labels: Mapping[str, str]
    fresh: bool = False
    login: RegistrySecret | None = None


class BuildKit:
    """The builder.

    Args:
        engine: The engine that it is a part of.
        network: Network of build steps.
        place: Directory that only this user may enter.
        credentials: What registries want to be shown.
    """

    def __init__(
        self,
        engine: BuilderEngine,
        network: str,
        place: Path,
        credentials: RegistryCredentials = NO_CREDENTIALS,
    ) -> None:
        self._engine = engine
        self._network = network
        self._place = place
        self._credentials = credentials
        self._is_there = False

    async def check(self) -> None:
        """Finds out whether the engine has it.

        Raises:
            FailedPrecondition: It has none (reason ``BUILDKIT_MISSING``). Says what to do.
            Unavailable: The engine is not reachable.
        """
        if not self._is_there:
            async with Session({}, {}, self._login, "").open(self._engine, self._place):
                self._is_there = True

    async def build(self, job: Job, emit: Callable[[Output], None]) -> dict[str, str]:
        """Builds an image. Cancelled, it ends the build and waits for its end.

        Args:
            job: What to build.
            emit: Called with lines for people.

        Returns:
            Digests of the bases that came from registries, by their addresses in full.

        Raises:
            FailedPrecondition: The engine has no BuildKit.
            Unavailable: The engine is not reachable, or ended in between.
            BuildError: The build failed.
        """
        progress = Progress(job.steps)

        def read(event: dict[str, Any]) -> None:
            if event.get("id") == "moby.buildkit.trace":
                for output in progress.feed(BuildStatus.FromString(base64.b64decode(event["aux"]))):
                    emit(output)
            elif event.get("error") or event.get("message"):  # in the middle of a build, or before it
                progress.fail(str(event.get("error") or event["message"]))

        # The author's .dockerignore counted when the files were packed, and does not count again.
        dockerfile = Tree(
            {"Dockerfile": job.dockerfile.encode(), "Dockerfile.dockerignore": b"# counted before\n"}
        )
        trees = {"context": job.context, "dockerfile": dockerfile}
        shared = "hangar" if job.steps is not None else "hangar-base"
        session = Session(trees, job.secrets, lambda host: self._login(host, job.login), shared)
        async with session.open(self._engine, self._place):
            parameters = {
                "version": "2",
                "remote": "client-session",
                "session": session.identity,
                "buildid": uuid.uuid4().hex,
                "dockerfile": "Dockerfile",
                "t": job.tag,
                "platform": job.platform,
                "networkmode": self._network,
                "labels": json.dumps(dict(job.labels)),
                **({"nocache": "1"} if job.fresh else {}),
            }
            await self._engine.build(parameters, read)
        if progress.has_failed:
            error = failure_of(progress, job.platform)
            if progress.missing_base:
                error.message = self._explained(progress.missing_base, error.message, job.login)
            raise error
        return progress.bases

    async def push(
        self, reference: str, emit: Callable[[Output], None], login: RegistrySecret | None = None
    ) -> str:
        """Pushes an image to its registry.

        Args:
            reference: Its address.
            emit: Called with lines for people.
            login: Credentials of the author.

        Returns:
            Digest of the image in the registry.

        Raises:
            Unavailable: The engine is not reachable.
            BuildError: The registry refused or could not be reached.
        """
        step = Step(f"push to {reference.partition('/')[0]}")
        digest, problem = await self._engine.push(reference, lambda line: emit(Output(line, step)), login)
        if not problem:
            return digest
        is_authors = _is_shown(reference, login) and is_refusal(problem)
        problem = self._explained(reference, problem, login)
        message = f"the image cannot be pushed to {reference}:\n{problem}"
        raise BuildError("ImagePushError", message, is_system=not is_authors, step=step)

    def _explained(self, reference: str, problem: str, login: RegistrySecret | None) -> str:
        """Adds whose credentials a registry has refused, and what to do, where its words mean that."""
        if login is not None and _is_shown(reference, login) and is_refusal(problem):
            return login.explained(reference, problem)
        return self._credentials.explained(reference, problem)

    async def _login(self, host: str, given: RegistrySecret | None = None) -> tuple[str, str]:
        """User and password for a registry's host: the author's, else the builder's."""
        login = given.login_for(f"{host}/") if given is not None else None
        if login is None:
            login = await self._engine.login(host)
        if "identitytoken" in login:
            return "", login["identitytoken"]
        return login.get("username", ""), login.get("password", "")


def _is_shown(reference: str, login: RegistrySecret | None) -> bool:
    """Says whether an author's credentials are those that the registry of an image is shown."""
    return login is not None and login.login_for(reference) is not None
