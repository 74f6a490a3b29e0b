"""Use cases of image builds: ask for an image, look at builds, follow one."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator

import structlog

from services.common import image_labels
from services.common.clock import Clock
from services.common.disk import full_message, is_full
from services.common.errors import FailedPrecondition, HangarError, InvalidArgument, NotFound
from services.common.image_definition import definition_digest
from services.image_builder.buildkit import BuildError, BuildKit, Job
from services.image_builder.builds import Build, Builds, Image, LogLine, State
from services.image_builder.context import Contexts
from services.image_builder.dockerfile import Recipe, SdkContent, make_recipe
from services.image_builder.engine import BuilderEngine, StoredImage
from services.image_builder.host_settings import HostSettings, read_host_settings
from services.image_builder.progress import Output
from services.image_builder.settings import Settings

_NAME = re.compile(r"[0-9a-f]{32}")
_LARGEST_DEFINITION = 1024 * 1024
_log = structlog.get_logger(__name__)


class ImageBuilds:
    """Builds images, each once.

    Args:
        settings: Settings.
        engine: The engine that builds.
        buildkit: The builder.
        contexts: Makes build contexts.
        clock: Tells the time.
    """

    def __init__(
        self,
        settings: Settings,
        engine: BuilderEngine,
        buildkit: BuildKit,
        contexts: Contexts,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._buildkit = buildkit
        self._contexts = contexts
        self._clock = clock
        self._builds = Builds(clock, settings.kept_builds, settings.log_lines)
        self._places = asyncio.Semaphore(settings.concurrency)
        self._sdk: SdkContent | None = None
        self._is_stopping = False

    async def build(self, definition_json: str, platform: str = "", *, force: bool = False) -> Build:
        """Asks for an image, without waiting for it.

        Args:
            definition_json: The definition; empty for the default image.
            platform: Platform of the image; empty for that of the engine.
            force: True to build although it exists, or failed moments ago.

        Raises:
            InvalidArgument: The definition or the platform is wrong or not available.
            FailedPrecondition: There is no builder.
            Unavailable: The engine is not reachable.
        """
        if len(definition_json) > _LARGEST_DEFINITION:
            raise InvalidArgument(
                f"definition_json has {len(definition_json)} characters: up to {_LARGEST_DEFINITION} are allowed",
                field="definition_json",
            )
        if self._sdk is None:
            self._sdk = await asyncio.to_thread(self._contexts.sdk_content)
        own = await self._platform(platform)
        recipe = make_recipe(definition_json, self._settings.base_image, self._sdk, own)
        build = self._current(recipe.name, force=force)
        if build is not None and build.state is not State.SUCCEEDED:
            return build
        await self._buildkit.check()
        definition = definition_digest(definition_json)
        image = Image(recipe.name, self._reference(recipe.name), definition, recipe.base_image, own)
        if not force:
            found = await self._find(image)
            if found is not None:
                return build or found
        # Somebody else may have asked for it in the meantime.
        build = self._current(recipe.name, force=force)
        if build is not None and not build.state.is_terminal:
            return build
        if self._is_stopping:
            raise FailedPrecondition(
                "the image builder is stopping: ask again in a moment", reason="STOPPING"
            )
        build = self._builds.add(image)
        build.task = asyncio.create_task(self._run(build, recipe, fresh=force), name=f"image-{recipe.name}")
        return build

    async def get(self, name: str) -> Build:
        """Returns a build, or the image when only that is left.

        Raises:
            InvalidArgument: The name is none.
            NotFound: There is neither (reason ``IMAGE_BUILD_NOT_FOUND``).
        """
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"name is {name[:80]!r}: use the name of an image build, 32 hexadecimal digits", field="name"
            )
        build = self._builds.get(name)
        if build is None:
            image = Image(name, self._reference(name), "", "", "")
            build = await self._find(image)
        if build is None:
            raise NotFound(
                f"image build {name} is not known here: it never was, or the image builder restarted while it ran. "
                "Ask for the image again with BuildImage",
                reason="IMAGE_BUILD_NOT_FOUND",
                name=name,
            )
        return build

    def newest(self, before: int | None, limit: int) -> list[Build]:
        """Returns builds, newest first, or those before a number."""
        return self._builds.before(before, limit)

    async def watch(self, name: str, first: int) -> AsyncIterator[tuple[Build, list[LogLine]]]:
        """Iterates over a build's changes and new lines until it has ended.

        Raises:
            InvalidArgument: The name or the number is none.
            NotFound: There is no such build.
        """
        if first < 0:
            raise InvalidArgument(f"from_line is {first}: use 0 for the start", field="from_line")
        build = await self.get(name)
        async for lines in build.follow(first):
            yield build, lines

    async def stop(self) -> None:
        """Cancels what is being built, and waits for its end."""
        self._is_stopping = True
        running = self._builds.running()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _current(self, name: str, *, force: bool) -> Build | None:
        """The build that answers for an image: one that runs, succeeded, or failed moments ago."""
        build = self._builds.get(name)
        if build is None or not build.state.is_terminal:
            return build
        if force or build.finished_at is None:
            return None
        age = (self._clock.now() - build.finished_at).total_seconds()
        is_stale = build.error is not None and (build.error.is_system or age >= self._settings.failure_ttl)
        return None if is_stale else build

    async def _platform(self, asked: str) -> str:
        own = await self._engine.platform()
        if asked and asked != own:
            message = f"platform is {asked!r}: this image builder's engine makes images for {own} only; leave it out"
            raise InvalidArgument(message, reason="PLATFORM_NOT_AVAILABLE", field="platform")
        return own

    def _reference(self, name: str) -> str:
        registry = self._settings.registry
        return f"{registry}/hangar/{name}" if registry else f"hangar/{name}"

    async def _find(self, image: Image) -> Build | None:
        """The image as a build that ended long ago, None when it is not where executors look for it."""
        stored = await self._engine.image(f"hangar/{image.name}")
        digest = ""
        if self._settings.registry:
            digest = await self._engine.registry_digest(image.reference)
            if not digest:
                return None
        elif stored is None:
            return None
        return _ended(image, stored, digest, self._clock)

    async def _run(self, build: Build, recipe: Recipe, *, fresh: bool) -> None:
        try:
            async with self._places:
                build.begin(self._clock.now())
                async with asyncio.timeout(self._settings.timeout):
                    stored, digest = await self._make(build, recipe, fresh=fresh)
            build.succeed(stored.size_bytes, digest, self._clock.now())
            _log.info("image built", image=build.image.name, reference=build.image.reference)
        except asyncio.CancelledError:
            message = "the image builder was stopped while it built the image: ask again"
            self._fail(build, BuildError("BuildStopped", message, is_system=True))
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait have to hear of it
            self._fail(build, self._explained(error))

    async def _make(self, build: Build, recipe: Recipe, *, fresh: bool) -> tuple[StoredImage, str]:
        host = await asyncio.to_thread(read_host_settings, os.environ, self._settings.index_url)
        host = host.hiding("\n".join(recipe.files.values()))
        emit = _Emitter(build, host, self._clock)
        for note in host.notes:
            emit(Output(note))
        tag = f"hangar/{recipe.name}"
        try:
            async with self._contexts.make(recipe, host) as (context, secrets):
                labels = self._labels(build.image)
                await self._buildkit.build(Job(context, secrets, recipe.steps, tag, labels, fresh), emit)
            digest = ""
            if self._settings.registry:
                await self._engine.tag(tag, build.image.reference)
                digest = await self._buildkit.push(build.image.reference, emit)
        except BuildError as error:
            error.message = host.redact(error.message)
            raise
        stored = await self._engine.image(tag)
        if stored is None:
            message = f"the builder said that it made {tag}, and the engine does not hold it"
            raise BuildError("ImageMissing", message, is_system=True)
        return stored, digest

    def _labels(self, image: Image) -> dict[str, str]:
        assert self._sdk is not None  # a recipe was made with it
        return {
            image_labels.IMAGE: image.name,
            image_labels.DEFINITION: image.definition_digest,
            image_labels.SDK: self._sdk.digest,
        }

    def _fail(self, build: Build, error: BuildError) -> None:
        build.fail(error, self._clock.now())
        _log.warning("image build failed", image=build.image.name, code=error.code, reason=error.message)

    def _explained(self, error: Exception) -> BuildError:
        """What to tell people of an error."""
        if isinstance(error, BuildError):
            return error
        if isinstance(error, TimeoutError):
            message = (
                f"the build did not end within {self._settings.timeout:g} s: make it smaller, or let the operator "
                "raise HANGAR_IMAGE_BUILDER_TIMEOUT"
            )
            return BuildError("BuildTimeout", message)
        if is_full(error):
            message = full_message(self._settings.state_dir, 0, "the build context")
            return BuildError("DiskFull", message, is_system=True)
        if isinstance(error, HangarError):
            return BuildError(error.reason, error.message, is_system=True)
        _log.error("image build failed unexpectedly", exc_info=error)
        message = (
            f"the image cannot be built because of a defect of the platform; its log says more ({error!r})"
        )
        return BuildError("Unexpected", message, is_system=True)


class _Emitter:
    """Writes lines to the log of a build, without passwords."""

    def __init__(self, build: Build, host: HostSettings, clock: Clock) -> None:
        self._build = build
        self._host = host
        self._clock = clock

    def __call__(self, output: Output) -> None:
        self._build.say(self._host.redact(output.text), output.step, self._clock.now())


def _ended(image: Image, stored: StoredImage | None, digest: str, clock: Clock) -> Build:
    made_at = stored.created_at if stored else clock.now()
    labels = stored.labels if stored else {}
    known = Image(
        image.name,
        image.reference,
        image.definition_digest or labels.get(image_labels.DEFINITION, ""),
        image.base_image,
        image.platform or (stored.platform if stored else ""),
    )
    build = Build(known, 0, made_at, cached=True)
    build.succeed(stored.size_bytes if stored else 0, digest, made_at)
    return build
