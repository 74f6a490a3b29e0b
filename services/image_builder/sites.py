"""The engines that build: the builder's own one, and those that the operator names for other platforms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common.errors import FailedPrecondition, HangarError, InvalidArgument
from services.image_builder.buildkit import BuildKit
from services.image_builder.engine import BuilderEngine


@dataclass(frozen=True, slots=True)
class Site:
    """Where images are built, and kept.

    Attributes:
        engine: The engine.
        buildkit: The builder on it.
    """

    engine: BuilderEngine
    buildkit: BuildKit


@dataclass(frozen=True, slots=True)
class Sites:
    """All of them.

    Attributes:
        own: The builder's own, which builds for its platform and for those that its kernel emulates.
        named: Further ones by the platform that they build for.
    """

    own: Site
    named: Mapping[str, Site] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Site, ...]:
        """Each of them, the own one first."""
        return (self.own, *self.named.values())

    def of(self, platform: str) -> Site:
        """Returns the one that images of a platform are built and kept at."""
        return self.named.get(platform, self.own)

    async def choose(self, asked: str, allowed: tuple[str, ...]) -> str:
        """Returns the platform to build for.

        Args:
            asked: The one that is asked for; empty for the engine's own if that may be, else for one that can be had.
            allowed: Those that the definition names; empty for any.

        Raises:
            InvalidArgument: It is not one of those, or cannot be built here (reason ``PLATFORM_NOT_AVAILABLE``).
            FailedPrecondition: The engine that the operator names for it has another one.
            Unavailable: An engine is not reachable.
        """
        if asked:
            if allowed and asked not in allowed:
                message = f"platform is {asked}: the image is for {', '.join(allowed)} only. Name that in its platform="
                raise _not_available(message)
            await self._check(asked)
            return asked
        own = await self.own.engine.platform()
        if not allowed or own in allowed:
            return own
        problems: list[HangarError] = []
        for platform in allowed:
            try:
                await self._check(platform)
            except HangarError as error:
                problems.append(error)
            else:
                return platform
        raise problems[0]

    async def _check(self, platform: str) -> None:
        site = self.named.get(platform)
        if site is None:
            if not await self.own.engine.runs(platform):
                raise _not_available(await self._ways(platform))
            return
        found = await site.engine.platform()
        if found != platform:
            message = (
                f"HANGAR_IMAGE_BUILDER_PLATFORM_ENGINES names an engine for {platform} that is one of {found}: name "
                "one of that platform"
            )
            raise FailedPrecondition(message, reason="ENGINE_OF_OTHER_PLATFORM")

    async def _ways(self, platform: str) -> str:
        architecture = platform.partition("/")[2].partition("/")[0]
        return (
            f"platform is {platform}: this image builder's engine makes images for {await self.own.engine.platform()}, "
            f"and its kernel does not run programs of {platform}. Either name an engine of that platform in "
            f'HANGAR_IMAGE_BUILDER_PLATFORM_ENGINES (such as {{"{platform}": "unix:///run/other.sock"}}), which builds '
            "fast, or install QEMU emulation on the engine's host (apt-get install qemu-user-static binfmt-support, or "
            f"docker run --privileged --rm tonistiigi/binfmt --install {architecture})"
        )


def _not_available(message: str) -> InvalidArgument:
    return InvalidArgument(message, reason="PLATFORM_NOT_AVAILABLE", field="platform")
