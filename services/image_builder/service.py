"""Use cases of image builds: ask for an image, look at builds, follow, cancel and remove them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import version

import structlog

from services.common.clock import Clock
from services.common.disk import full_message, is_full
from services.common.errors import FailedPrecondition, HangarError, InvalidArgument, NotFound, Unavailable
from services.common.sdk_layer import SdkLayer
from services.image_builder import attestations
from services.image_builder.awaited_secrets import AwaitedSecrets
from services.image_builder.builds import Build, Builds, Image, LogLine, State
from services.image_builder.earlier_failures import EarlierFailures
from services.image_builder.failures import BuildError
from services.image_builder.makers import Made, Maker, Plan
from services.image_builder.progress import Output
from services.image_builder.settings import Settings
from services.image_builder.store import Request, Store
from services.image_builder.upkeep import Upkeep

_NAME = re.compile(r"[0-9a-f]{32}")
_LARGEST_DEFINITION = 4 * 1024 * 1024 - 64 * 1024
"""What fits into one message. Lock files of large projects have a megabyte."""
_LOOK_SECONDS = 10.0
_TOUCH_SECONDS = 3600
"""How often it is noted that somebody asked for an image."""
_RETRY_SECONDS = 5.0
_version = cache(version)  # files are searched for it
_log = structlog.get_logger(__name__)


class ImageBuilds:
    """Builds images, each once.

    Args:
        settings: Settings.
        containers: Makes container images.
        store: The record of builds.
        clock: Tells the time.
        environments: Makes Python environments, on a host that runs tasks as processes; None elsewhere.
        announce: Called with the definition of an image for a registry when its build begins.
    """

    def __init__(
        self,
        settings: Settings,
        containers: Maker,
        store: Store,
        clock: Clock,
        environments: Maker | None = None,
        announce: Callable[[str], None] = lambda definition_json: None,
    ) -> None:
        self._settings = settings
        self._containers = containers
        self._environments = environments
        self._announce = announce
        self._store = store
        self._clock = clock
        self._builds = Builds(settings.kept_builds)
        self._recorded: set[str] | None = None  # names of images on record; None before the start
        self._asking: dict[str, asyncio.Lock] = {}
        self._sdk_digest = ""
        self._places = asyncio.Semaphore(settings.concurrency)
        self._describing: dict[str, asyncio.Task[None]] = {}
        self._awaited = AwaitedSecrets(clock)
        self._touched: dict[str, float] = {}
        self._failures = EarlierFailures(clock, settings.failure_ttl)
        self._upkeep = Upkeep(store, clock, self._makers(), self.delete)
        self._looking_after: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def start(self) -> None:
        """Takes up the builds that were running when an earlier process ended, and begins to look after images.

        Raises:
            Unavailable: The database does not answer.
        """
        self._recorded = await asyncio.to_thread(self._store.names)
        for request in await asyncio.to_thread(self._store.unfinished):
            request.build.state = State.QUEUED
            self._builds.add(request.build)
            request.build.task = asyncio.create_task(
                self._resume(request), name=f"image-{request.build.image.name}"
            )
            _log.info("image build taken up again", image=request.build.image.name)
        if self._settings.keep:
            looking_after = self._upkeep.look_after(self._settings.keep)
            self._looking_after = asyncio.create_task(looking_after, name="image-upkeep")

    async def build(
        self,
        definition_json: str,
        platform: str = "",
        *,
        force: bool = False,
        dry_run: bool = False,
        secrets: Mapping[str, bytes] | None = None,
        container: bool = False,
    ) -> Build:
        """Asks for an image, without waiting for it.

        Args:
            definition_json: The definition; empty for the default image.
            platform: Platform of the image; empty for that of the engine, or another one that the definition names.
            force: True to build although it exists, or failed moments ago.
            dry_run: True to say only what it would be, and whether it exists.
            secrets: Secrets that layers ask for, by key.
            container: True for a container image, also where tasks run as processes.

        Raises:
            InvalidArgument: The definition or the platform is wrong or not available.
            FailedPrecondition: There is no builder.
            Unavailable: The engine or the database is not reachable.
        """
        if len(definition_json.encode()) > _LARGEST_DEFINITION:
            raise InvalidArgument(
                f"definition_json has {len(definition_json)} characters: up to {_LARGEST_DEFINITION} bytes are allowed",
                field="definition_json",
            )
        plan = await self._maker(is_environment=not container).plan(definition_json, platform)
        name = plan.image.name
        if dry_run:
            return await self._would_be(plan, secrets or {})
        # Two who ask for one image at once wait for each other here, and not for those who ask for others.
        lock = self._asking.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                return await self._ask(plan, secrets or {}, force=force)
        finally:
            if not lock.locked():
                self._asking.pop(name, None)

    async def _ask(self, plan: Plan, secrets: Mapping[str, bytes], *, force: bool) -> Build:
        name, maker = plan.image.name, self._maker_of(plan.image)
        build = self._builds.get(name)
        if build is not None and not build.state.is_terminal:
            self._awaited.give(build, secrets)
            return build
        await maker.check()
        if force:
            await self._let_look(name)
            await maker.check_replaceable(plan.image)
        else:
            build, found = await self._look(plan, secrets)
            if found is None and build is not None and self._failures.counts(build, secrets):
                return self._failures.answer(build)
            if found is not None:  # also when a forced build failed since: the image is as it was
                await self._touch(name)
                if build is not None and build.state is State.SUCCEEDED:
                    return replace(
                        build,
                        image=plan.image,
                        cached=True,
                        image_digest=found.image_digest,
                        image_id=found.image_id,
                    )
                return self._ended(plan.image, found)
        if self._is_stopping:
            raise Unavailable("the image builder is stopping: ask again in a moment", reason="STOPPING")
        build = Build(plan.image, 0, self._clock.now(), self._settings.log_lines)
        # The making of it begins at once. Nobody sees it before it is on record, nor does it end before.
        recording = asyncio.create_task(self._record(build, plan.definition_json, fresh=force))
        running = self._run(build, plan, secrets, recording, fresh=force)
        build.task = asyncio.create_task(running, name=f"image-{name}")
        try:
            await asyncio.shield(recording)
        except HangarError:
            build.task.cancel()
            raise
        if not plan.image.is_environment and plan.image.reference != f"hangar/{name}":
            self._announce(plan.definition_json)
        return build

    async def _record(self, build: Build, definition_json: str, *, fresh: bool) -> None:
        await asyncio.to_thread(self._store.begin, build, definition_json, fresh=fresh)
        if self._recorded is not None:
            self._recorded.add(build.image.name)
        self._builds.add(build)

    async def get(self, name: str) -> Build:
        """Returns a build, or the image when only that is left.

        Raises:
            InvalidArgument: The name is none.
            NotFound: There is neither (reason ``IMAGE_BUILD_NOT_FOUND``).
        """
        build = self._builds.get(_checked(name)) or await asyncio.to_thread(self._store.get, name)
        if build is None:
            build = await self._unrecorded(name)
        if build is None:
            raise NotFound(
                f"image build {name} is not known here: it never was, or it was removed. Ask for the image again with "
                "BuildImage",
                reason="IMAGE_BUILD_NOT_FOUND",
                name=name,
            )
        return build

    async def current_bases(self, build: Build) -> Mapping[str, str]:
        """Returns which images are behind the addresses of an image's bases now; registries are asked."""
        return await self._maker_of(build.image).current_bases(build.image, build.bases)

    async def newest(self, before: int | None, limit: int) -> list[Build]:
        """Returns builds, newest first, or those before a number."""
        found = await asyncio.to_thread(self._store.newest, before, limit)
        return [self._builds.get(each.image.name) or each for each in found]

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

    async def cancel(self, name: str) -> Build:
        """Ends a build that has not ended, and waits for its end.

        Raises:
            NotFound: There is no such build.
        """
        build = await self.get(name)
        if not build.state.is_terminal and build.task is not None:
            build.cancel(
                "the build was cancelled: ask for the image again when it is wanted", self._clock.now()
            )
            build.task.cancel()
            await asyncio.wait([build.task])
        return build

    async def delete(self, name: str) -> None:
        """Removes an image where it was built, and its build.

        Raises:
            NotFound: There is neither.
            FailedPrecondition: It is being built, or in use.
        """
        build = await self.get(name)
        if not build.state.is_terminal:
            message = f"image {name} is being built: cancel that first (flyte abort image)"
            raise FailedPrecondition(message, reason="IMAGE_BUILD_RUNNING")
        await self._let_look(name)
        await self._maker_of(build.image).remove(build.image)
        await asyncio.to_thread(self._store.delete, name)
        if self._recorded is not None:
            self._recorded.discard(name)
        self._builds.forget(name)
        self._failures.forget(name)

    async def prune(self, max_age_seconds: float | None, *, build_cache: bool) -> tuple[list[str], int]:
        """See `Upkeep.prune`."""
        return await self._upkeep.prune(max_age_seconds, build_cache=build_cache)

    async def attestation(self, name: str) -> tuple[str, str]:
        """Returns what is in an image and how it was made.

        Raises:
            NotFound: That is not on record.
        """
        sbom, provenance = await asyncio.to_thread(self._store.attestation, _checked(name))
        if provenance and not sbom:  # it is just being looked at, or the service ended before it was
            await asyncio.shield(self._describe(await self.get(name)))
            sbom, provenance = await asyncio.to_thread(self._store.attestation, name)
        if not provenance:
            message = (
                f"what is in image {name} is not on record: this image builder did not build it. "
                "Build it again: flyte build --force"
            )
            raise NotFound(message, reason="ATTESTATION_NOT_FOUND", name=name)
        return sbom, provenance

    async def describe_builder(self) -> tuple[bool, str, str]:
        """Returns whether it makes Python environments, the digest of the SDK that images get, and its engine.

        Raises:
            Unavailable: The engine does not answer.
        """
        sdk = await self._sdk()
        return self._environments is not None, sdk, await self._maker(is_environment=True).engine()

    async def _sdk(self) -> str:
        """Digest of the SDK that images get."""
        if not self._sdk_digest:
            self._sdk_digest = await asyncio.to_thread(lambda: SdkLayer().digest)
        return self._sdk_digest

    @property
    def is_building(self) -> bool:
        """True while a build has not ended."""
        return bool(self._builds.unfinished())

    async def abandon(self) -> None:
        """Ends what is being built: nobody wants it any more, so the next start does not take it up."""
        await asyncio.gather(*map(self.cancel, self._builds.unfinished()))

    async def stop(self) -> None:
        """Stops what is being built; it is taken up at the next start. Waits for its end."""
        self._is_stopping = True
        running = self._builds.running() + ([self._looking_after] if self._looking_after else [])
        for task in running:
            task.cancel()
        looking = list(self._describing.values())
        if looking:  # an engine that hangs is not waited for: whoever asks makes another attempt
            await asyncio.wait(looking, timeout=_LOOK_SECONDS)
        for task in looking:
            task.cancel()
        await asyncio.gather(*running, *looking, return_exceptions=True)

    def _maker(self, *, is_environment: bool) -> Maker:
        return self._environments or self._containers if is_environment else self._containers

    def _maker_of(self, image: Image) -> Maker:
        return self._maker(is_environment=image.is_environment)

    def _makers(self) -> list[Maker]:
        return [maker for maker in (self._environments, self._containers) if maker is not None]

    async def _unrecorded(self, name: str) -> Build | None:
        """An image that is there although no build of it is on record."""
        for maker in self._makers():
            image = Image(name, f"hangar/{name}", "", "", "", is_environment=maker is self._environments)
            with suppress(Unavailable):
                found = await maker.find(Plan(image, ""), {})
                if found is not None:
                    return self._ended(image, found)
        return None

    async def _look(self, plan: Plan, secrets: Mapping[str, bytes]) -> tuple[Build | None, Made | None]:
        """Looks for an image on record and where it is kept.

        Where its author only could look, because he has the credentials, the record counts.
        """
        name = plan.image.name
        recorded, found = await asyncio.gather(
            self._record_of(name),
            self._maker_of(plan.image).find(plan, secrets),
            return_exceptions=True,
        )
        if isinstance(recorded, BaseException):
            raise recorded
        build = self._builds.get(name) or recorded
        if not isinstance(found, BaseException):
            return build, found
        if not isinstance(found, BuildError):
            raise found
        if build is None or build.state is not State.SUCCEEDED:
            return build, None  # its build says what is wrong
        return build, Made(build.size_bytes, build.created_at, build.image_digest, build.image_id)

    async def _record_of(self, name: str) -> Build | None:
        """What is on record of an image. Of a new one that is nothing, and the database is not asked."""
        if self._recorded is not None and name not in self._recorded:
            return None
        return await asyncio.to_thread(self._store.get, name)

    async def _would_be(self, plan: Plan, secrets: Mapping[str, bytes]) -> Build:
        image = plan.image
        build = self._builds.get(image.name)
        if build is not None and not build.state.is_terminal:
            return build
        _, found = await self._look(plan, secrets)
        return self._ended(image, found) if found else Build(image, 0, self._clock.now())

    async def _touch(self, name: str) -> None:
        now = self._clock.now()
        if now.timestamp() - self._touched.get(name, 0.0) >= _TOUCH_SECONDS:
            self._touched[name] = now.timestamp()
            await asyncio.to_thread(self._store.touch, name, now)

    async def _resume(self, request: Request) -> None:
        build = request.build
        while True:
            try:
                maker = self._maker_of(build.image)
                plan = await maker.plan(request.definition_json, build.image.platform)
                await maker.check()
                break
            except InvalidArgument as error:
                await self._fail(build, BuildError(error.reason, error.message))
                return
            except HangarError as error:
                _log.warning("image build waits", image=build.image.name, reason=error.message)
                build.say(f"waits: {error.message}", None, self._clock.now())
                await asyncio.sleep(_RETRY_SECONDS)
        if plan.image.name != build.image.name:
            message = "the platform has changed since the build began: ask for the image again"
            await self._fail(build, BuildError("BuildStopped", message, is_system=True))
            return
        await self._run(build, plan, None, None, fresh=request.fresh)

    async def _run(
        self,
        build: Build,
        plan: Plan,
        secrets: Mapping[str, bytes] | None,
        recording: asyncio.Task[None] | None,
        *,
        fresh: bool,
    ) -> None:
        """Makes an image. Without secrets (None) those are asked for again that a restart has lost.

        Args:
            build: Its build.
            plan: What to make.
            secrets: Secrets that the caller has given, by key.
            recording: Puts the build on record; None when it is.
            fresh: True to use nothing of earlier builds.
        """
        if plan.recipe is not None:
            build.steps = plan.recipe.steps

        def emit(output: Output) -> None:
            build.steps = output.steps or build.steps
            build.say(output.text, output.step, self._clock.now())

        self._failures.forget(build.image.name)
        try:
            try:
                if secrets is None:
                    missing = await self._maker_of(plan.image).missing_secrets(plan)
                    secrets = await self._awaited.wait(build, missing)
                async with self._places:
                    build.begin(self._clock.now())
                    if plan.image.title:
                        emit(Output(f"image {plan.image.title} ({plan.image.name})"))
                    async with asyncio.timeout(self._settings.timeout):
                        made = await self._maker_of(plan.image).make(plan, secrets, emit, fresh=fresh)
            finally:
                if recording is not None:
                    await asyncio.shield(recording)
            await self._succeed(build, plan, made)
        except asyncio.CancelledError:
            if build.state is State.CANCELLED:
                await asyncio.to_thread(self._store.end, build)
                return
            # It stays on record as it is, and is taken up at the next start.
            message = "the image builder was stopped while it built the image: ask again"
            build.fail(BuildError("BuildStopped", message, is_system=True), self._clock.now())
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait have to hear of it
            self._failures.note(build.image.name, secrets or {})
            await self._fail(build, self._explained(error))

    async def _succeed(self, build: Build, plan: Plan, made: Made) -> None:
        # On record before anybody hears of it: who does may ask for what is in it.
        done = replace(
            build, state=State.SUCCEEDED, finished_at=self._clock.now(), step=None, size_bytes=made.size_bytes
        )
        done.image_digest, done.image_id, done.bases = made.image_digest, made.image_id, made.bases
        sdk = await self._sdk()
        provenance = attestations.provenance(plan, done, made, _version("hangar"), sdk)
        await asyncio.to_thread(self._store.end, done, provenance)
        build.bases = made.bases
        build.succeed(
            made.size_bytes, made.image_digest, made.image_id, done.finished_at or self._clock.now()
        )
        self._describe(build)
        _log.info("image built", image=build.image.name, reference=build.image.reference)

    async def _let_look(self, name: str) -> None:
        """Waits until nobody looks any more at what is in an image, who uses it for that."""
        if name in self._describing:
            await asyncio.shield(self._describing[name])

    def _describe(self, build: Build) -> asyncio.Task[None]:
        """Begins to put on record what is in an image; nobody who waits for the image waits for that."""
        name = build.image.name
        task = self._describing.get(name)
        if task is None or task.done():
            task = asyncio.create_task(self._note_contents(build), name=f"contents-{name}")
            self._describing[name] = task
            task.add_done_callback(lambda _: self._describing.pop(name, None))
        return task

    async def _note_contents(self, build: Build) -> None:
        try:
            sbom = await self._maker_of(build.image).contents(build.image)
            if sbom:
                await asyncio.to_thread(self._store.describe, build, sbom)
        except HangarError as error:  # whoever asks for it makes another attempt
            _log.warning("what is in an image cannot be noted", image=build.image.name, reason=error.message)

    async def _fail(self, build: Build, error: BuildError) -> None:
        _log.warning("image build failed", image=build.image.name, code=error.code, reason=error.message)
        failed = replace(build, state=State.FAILED, finished_at=self._clock.now(), error=error)
        try:
            await asyncio.to_thread(self._store.end, failed)
        except HangarError as trouble:  # those who wait hear of the failure; the next start tries it again
            _log.error("the end of an image build cannot be noted", reason=trouble.message)
        build.fail(error, self._clock.now())

    def _ended(self, image: Image, made: Made) -> Build:
        known = replace(
            image,
            definition_digest=image.definition_digest or made.definition_digest,
            platform=image.platform or made.platform,
        )
        build = Build(known, 0, made.made_at, cached=True)
        build.succeed(made.size_bytes, made.image_digest, made.image_id, made.made_at)
        return build

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


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"name is {name[:80]!r}: use the name of an image build, 32 hexadecimal digits", field="name"
        )
    return name
