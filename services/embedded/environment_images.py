"""Images of a backend that runs tasks as processes: Python environments of this host."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from services.common.errors import FailedPrecondition, InvalidArgument
from services.common.image_definition import NEWEST, definition_digest
from services.common.platforms import host_platform, normalised
from services.executor.engines.base import ImageFailedError
from services.executor.engines.process import ProcessEngine
from services.executor.environments import in_use
from services.image_builder import attestations
from services.image_builder.builds import Image
from services.image_builder.dockerfile import Step
from services.image_builder.failures import BuildError
from services.image_builder.makers import Emit, Made, Plan
from services.image_builder.progress import Output

_LOOK = """
import json
from importlib import metadata
known = [each.metadata or {} for each in metadata.distributions()]
found = {(each["Name"], each["Version"]) for each in known if "Name" in each and "Version" in each}
print(json.dumps([{"type": "pypi", "name": name, "version": version} for name, version in sorted(found)]))
"""


class EnvironmentMaker:
    """See `services.image_builder.makers.Maker`.

    Args:
        engine: The engine of this host, whose environments they are.
    """

    def __init__(self, engine: ProcessEngine) -> None:
        self._environments = engine.environments

    async def check(self) -> None:
        """See `Maker`. What it needs is part of this installation."""

    async def engine(self) -> str:
        """See `Maker`. None is needed."""
        return ""

    async def plan(self, definition_json: str, platform: str) -> Plan:
        """See `Maker`."""
        if platform and normalised(platform) != host_platform():
            message = f"platform is {platform!r}: this host has {host_platform()}; leave it out"
            raise InvalidArgument(message, reason="PLATFORM_NOT_AVAILABLE", field="platform")
        try:
            environment, wanted = await self._environments.described(definition_json)
        except ImageFailedError as error:
            missing = error.code in {"UnsupportedLayer", "UnsupportedPlatform"}
            reason = "IMAGE_LAYER_NOT_AVAILABLE" if missing else "IMAGE_DEFINITION_INVALID"
            raise InvalidArgument(error.message, reason=reason, field="definition_json") from error
        image = Image(
            environment.key,
            environment.key,
            definition_digest(definition_json),
            f"Python {wanted.python}",
            host_platform(),
            is_environment=True,
            title=wanted.title,
        )
        return Plan(image, definition_json, newest=os.environ.get(NEWEST, ""))

    async def find(self, plan: Plan, secrets: Mapping[str, bytes]) -> Made | None:
        """See `Maker`."""
        path = self._environments.find(plan.image.name)
        return None if path is None else Made(0, _made_at(path))

    async def missing_secrets(self, plan: Plan) -> tuple[str, ...]:
        """See `Maker`. They are variables of this process."""
        return ()

    async def check_replaceable(self, image: Image) -> None:
        """See `Maker`."""
        users = await self._environments.users(image.name)
        if users:
            raise FailedPrecondition(in_use(image.name, users), reason="IMAGE_IN_USE")

    async def make(self, plan: Plan, secrets: Mapping[str, bytes], emit: Emit, *, fresh: bool) -> Made:
        """See `Maker`. Secrets that the caller has not given are variables of this process."""
        try:
            environment = await self._environments.ensure(
                plan.definition_json, lambda line: emit(Output(line)), secrets, fresh=fresh
            )
        except ImageFailedError as error:
            raise BuildError(
                error.code,
                error.message,
                is_system=error.is_system,
                step=None if error.layer is None else Step(f"layer {error.layer}", error.layer),
                exit_code=error.exit_code,
            ) from error
        size = await asyncio.to_thread(_size, environment.path)
        return Made(size, _made_at(environment.path), platform=host_platform())

    async def contents(self, image: Image) -> str:
        """See `Maker`."""
        path = self._environments.find(image.name)
        return "" if path is None else attestations.sbom(image.reference, await _packages(path))

    async def current_bases(self, image: Image, bases: Mapping[str, str]) -> Mapping[str, str]:
        """See `Maker`. There are none."""
        return {}

    async def remove(self, image: Image) -> None:
        """See `Maker`."""
        if not await self._environments.remove(image.name):
            users = await self._environments.users(image.name)
            raise FailedPrecondition(in_use(image.name, users), reason="IMAGE_IN_USE")

    async def list_made(self) -> list[tuple[str, Made]]:
        """See `Maker`."""
        keys = await asyncio.to_thread(self._environments.ready)
        found = [(key, self._environments.find(key)) for key in keys]
        return [(key, Made(0, _made_at(path))) for key, path in found if path is not None]

    async def remove_unneeded(self, before: datetime) -> None:
        """See `Maker`. There is nothing of the kind."""

    async def prune_cache(self, max_age_seconds: float) -> int:
        """See `Maker`. The cache of `uv` is its user's."""
        return 0

    async def clear(self) -> None:
        """See `Maker`. The engine does it."""

    async def close(self) -> None:
        """See `Maker`. The engine does it."""


async def _packages(environment: Path) -> list[dict[str, str]]:
    process = await asyncio.create_subprocess_exec(
        str(environment / "bin" / "python"),
        "-I",
        "-c",
        _LOOK,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    found: list[dict[str, str]] = json.loads(output)
    return found


def _made_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*"))
