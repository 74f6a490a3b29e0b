"""Makes container images: BuildKit builds them, the engine or a registry keeps them."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from services.common import image_labels
from services.common.errors import InvalidArgument, Unavailable
from services.common.image_definition import NEWEST, definition_digest
from services.common.image_layers import BuildSecret
from services.common.platforms import normalised
from services.common.redaction import Redaction
from services.common.registry_secrets import RegistrySecret, read_registry_secret, registry_of
from services.common.secret_directory import SecretDirectory
from services.image_builder import attestations
from services.image_builder.bases import (
    check_bases,
    check_platform,
    current_digest,
    digests_of_bases,
    refresh_bases,
)
from services.image_builder.buildkit import Job
from services.image_builder.builds import Image, shortened
from services.image_builder.context import Context, Contexts
from services.image_builder.destinations import destination, needs_own_login
from services.image_builder.dockerfile import (
    BASE_PREFIX,
    PACKAGES,
    Recipe,
    SdkContent,
    make_recipe,
    read_definition,
)
from services.image_builder.engine import StoredImage
from services.image_builder.failures import BuildError
from services.image_builder.host_settings import HostSettings, read_host_settings
from services.image_builder.inside.prepare_python import INSTALLER_FAILED
from services.image_builder.installers import Installers
from services.image_builder.makers import Emit, Made, Plan
from services.image_builder.progress import Output
from services.image_builder.pythons import Sightings
from services.image_builder.settings import Settings
from services.image_builder.sites import Site, Sites

_log = structlog.get_logger(__name__)
_BASE_LABELS = (image_labels.BASE, image_labels.OWNER)
_NO_BASE = frozenset({"BaseImageUnavailable", "BaseImagePlatform"})


@dataclass(frozen=True, slots=True)
class _Given:
    """What a build gets that is in no image.

    Attributes:
        host: Settings of this host.
        secrets: Secrets that layers see, by key.
        login: The author's credentials of registries, None when he names none.
        owner: Identity of the image builder.
    """

    host: HostSettings
    secrets: Mapping[str, bytes]
    login: RegistrySecret | None
    owner: str

    @property
    def redaction(self) -> Redaction:
        """What of it must not be shown."""
        passwords = self.login.passwords if self.login is not None else ()
        return self.host.redaction.hiding([*self.secrets.values(), *passwords])

    @property
    def files(self) -> dict[str, bytes]:
        """Contents of the build secrets that steps may mount, by identifier."""
        files = {f"hangar-{name}": content for name, content in self.host.files.items()}
        return files | {f"hangar-secret-{key}": content for key, content in self.secrets.items()}


class ContainerMaker:
    """See `services.image_builder.makers.Maker`.

    Args:
        settings: Settings.
        sites: The engines that build.
        contexts: Makes build contexts.
        installers: Gives what installs packages inside images.
        owner: Tells the identity of this image builder; may block.
    """

    def __init__(
        self,
        settings: Settings,
        sites: Sites,
        contexts: Contexts,
        installers: Installers,
        owner: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._sites = sites
        self._contexts = contexts
        self._installers = installers
        self._owner = owner
        self._bases_in_use: Counter[str] = Counter()
        self._sdk: SdkContent | None = None
        self._without_glibc: set[str] = set()
        directory = Path(settings.secrets) if settings.secrets else None
        self._own_secrets = SecretDirectory(directory, "HANGAR_IMAGE_BUILDER_SECRETS")
        self._sightings = Sightings()

    async def check(self) -> None:
        """See `Maker`."""
        await self._sites.own.buildkit.check()

    async def engine(self) -> str:
        """See `Maker`."""
        return await self._sites.own.engine.identity()

    async def plan(self, definition_json: str, platform: str) -> Plan:
        """See `Maker`."""
        if self._sdk is None:
            self._sdk = await asyncio.to_thread(self._contexts.sdk_content)
        newest = os.environ.get(NEWEST, "")
        definition = read_definition(definition_json).dated(newest)
        asked = normalised(platform) if platform else ""
        chosen = await self._sites.choose(asked, definition.platforms)
        recipe = make_recipe(definition, self._settings.base_image, self._sdk, chosen)
        check_bases(recipe, self._settings.allowed_bases)
        return Plan(
            Image(
                recipe.name,
                destination(recipe.name, recipe.definition, self._settings),
                definition_digest(definition_json),
                recipe.base_image,
                chosen,
                title=definition.title,
            ),
            definition_json,
            recipe,
            newest,
        )

    async def find(self, plan: Plan, secrets: Mapping[str, bytes]) -> Made | None:
        """See `Maker`. With a registry that is where executors look."""
        image = plan.image
        login = None
        if plan.recipe is not None and plan.recipe.definition.registry_secret:
            login = await asyncio.to_thread(self._registry_secret, plan.recipe, secrets)
        for site in [self._sites.of(image.platform)] if image.platform else self._sites.all:
            stored = await site.engine.image(_tag(image.name))
            digest = ""
            if image.reference != _tag(image.name):
                digest = await site.engine.registry_digest(image.reference, login)
            if digest or (stored is not None and image.reference == _tag(image.name)):
                return _made(stored, digest)
        return None

    async def missing_secrets(self, plan: Plan) -> tuple[str, ...]:
        """See `Maker`."""
        assert plan.recipe is not None  # `plan` made it
        keys = {each.key for each in plan.recipe.secrets}
        keys |= {plan.recipe.definition.registry_secret} - {""}
        return await asyncio.to_thread(
            lambda: tuple(key for key in sorted(keys) if self._own_secrets.get(key) is None)
        )

    async def check_replaceable(self, image: Image) -> None:
        """See `Maker`. Containers keep theirs."""

    async def make(self, plan: Plan, secrets: Mapping[str, bytes], emit: Emit, *, fresh: bool) -> Made:
        """See `Maker`."""
        recipe = plan.recipe
        assert recipe is not None  # `plan` made it
        given = await asyncio.to_thread(self._given, recipe, secrets)
        redaction = given.redaction.hiding_addresses("\n".join(recipe.files.values()))

        def say(output: Output) -> None:
            emit(replace(output, text=redaction.redact(output.text)))

        for note in given.host.notes:
            say(Output(note))
        site = self._sites.of(plan.image.platform)
        tag = _tag(recipe.name)
        try:
            if fresh:
                await refresh_bases(site.engine, recipe, plan.image.platform, given.login, say)
            await check_platform(site.engine, recipe, plan.image.platform, given.login)
            recipe, printed = await self._build(plan, recipe, given, say, fresh=fresh)
            digest = ""
            if plan.image.reference != tag:
                await site.engine.tag(tag, plan.image.reference)
                digest = await site.buildkit.push(plan.image.reference, say, given.login)
        except BuildError as error:
            error.message = "\n".join(map(shortened, redaction.redact(error.message).split("\n")))
            raise
        stored, bases = await asyncio.gather(
            site.engine.image(tag),
            digests_of_bases(site.engine, recipe, printed, plan.image.platform),
        )
        if stored is None:
            message = f"the builder said that it made {tag}, and the engine does not hold it"
            raise BuildError("ImageMissing", message, is_system=True)
        if stored.platform != plan.image.platform:
            message = (
                f"the image was asked for {plan.image.platform} and came out for {stored.platform}: leave `--platform` "
                "out of the FROM line of the Dockerfile's last stage"
            )
            raise BuildError("ImagePlatform", message)
        return replace(_made(stored, digest), materials=_materials(recipe, bases), bases=bases)

    async def _build(
        self, plan: Plan, recipe: Recipe, given: _Given, say: Emit, *, fresh: bool
    ) -> tuple[Recipe, Mapping[str, str]]:
        """Builds, again when a step has shown something of the base or the layers.

        Returns:
            What it was made by, and digests of bases that the builder took from registries.
        """
        assert self._sdk is not None  # a recipe was made with it
        site, layers = self._sites.of(plan.image.platform), recipe.definition.layers
        base = f"{recipe.base_image} {plan.image.platform}"
        while True:
            pythons = self._sightings.of(base, layers)
            if pythons != recipe.pythons:
                recipe = make_recipe(
                    recipe.definition, self._settings.base_image, self._sdk, plan.image.platform, pythons
                )
                text = "Python comes with the layers: the platform's SDK is installed behind them"
                say(Output(text, steps=recipe.steps))
            installer = await self._installer(plan, recipe, site)
            try:
                async with self._contexts.make(recipe, installer) as context:
                    return recipe, await self._build_in(context, plan, recipe, given, say, fresh=fresh)
            except BuildError as error:
                shown = recipe.shown_by(error.step, error.exit_code)
                if shown is not None:
                    self._sightings.note(base, layers, shown)
                elif await self._has_other_installer(site, installer, error):
                    self._without_glibc.add(recipe.base_image)
                    say(Output("the base image has no glibc: the static uv is used, which needs none"))
                else:
                    raise

    async def _installer(self, plan: Plan, recipe: Recipe, site: Site) -> Path | None:
        """The `uv` that runs in the image, as far as that is known; None when nothing is installed in it."""
        if not recipe.needs_installer:
            return None
        engine = await site.engine.platform()
        given = self._installers.given(engine, plan.image.platform)
        if given is None or (recipe.base_image in self._without_glibc and not self._installers.is_override):
            return await self._installers.static(engine)
        return given

    async def _has_other_installer(self, site: Site, installer: Path | None, error: BuildError) -> bool:
        """Says whether a `uv` did not run in the image, and there is another one."""
        if error.exit_code != INSTALLER_FAILED or self._installers.is_override:
            return False
        return await self._installers.static(await site.engine.platform()) != installer

    async def _build_in(
        self, context: Context, plan: Plan, recipe: Recipe, given: _Given, say: Emit, *, fresh: bool
    ) -> Mapping[str, str]:
        platform = plan.image.platform
        site = self._sites.of(platform)
        labels = self._labels(plan, given.owner)
        self._bases_in_use[recipe.base_image] += 1
        printed: Mapping[str, str] = {}
        try:
            if recipe.base is not None:
                assert context.base is not None
                # It may be based on an image of ours, whose name it would have as its own.
                own = {image_labels.IMAGE: "", **{name: labels[name] for name in _BASE_LABELS}}
                text, tag = recipe.base.text, recipe.base_image
                base = Job(context.base, text, {}, None, tag, platform, own, fresh, given.login)
                printed = await site.buildkit.build(base, say)
            job = Job(
                context.tree,
                recipe.dockerfile_on(given.host.files),
                given.files,
                recipe.steps,
                _tag(recipe.name),
                platform,
                labels,
                fresh,
                given.login,
            )
            return {**printed, **await site.buildkit.build(job, say)}
        except BuildError as error:
            held = await site.engine.image(recipe.base_image) if error.code in _NO_BASE else None
            if held is not None and held.platform != platform:
                error.message += f"\nThe engine itself holds {recipe.base_image} for {held.platform} only."
            raise
        finally:
            self._bases_in_use[recipe.base_image] -= 1

    async def contents(self, image: Image) -> str:
        """See `Maker`."""
        site = self._sites.of(image.platform)
        packages = await site.engine.read_file(_tag(image.name), PACKAGES)
        return attestations.sbom(image.reference, json.loads(packages)) if packages else ""

    async def current_bases(self, image: Image, bases: Mapping[str, str]) -> dict[str, str]:
        """See `Maker`."""
        engine = self._sites.of(image.platform).engine
        found = await asyncio.gather(*(current_digest(engine, *each) for each in bases.items()))
        return dict(zip(bases, found, strict=True))

    async def remove(self, image: Image) -> None:
        """See `Maker`."""
        for site in [self._sites.of(image.platform)] if image.platform else self._sites.all:
            stored = await site.engine.image(_tag(image.name))
            await site.engine.remove(image.reference)
            await site.engine.remove(_tag(image.name))
            base = stored.labels.get(image_labels.BASE) if stored is not None else image.base_image
            if base and base.startswith(BASE_PREFIX):
                await self._remove_base(site, base)

    async def _remove_base(self, site: Site, base: str) -> None:
        """Removes what a Dockerfile of an author made, unless an image needs it, whoever has built that."""
        users = await site.engine.labelled(f"{image_labels.BASE}={base}")
        if not self._bases_in_use[base] and not any(each.labels.get(image_labels.IMAGE) for each in users):
            await site.engine.remove(base)

    async def remove_unneeded(self, before: datetime) -> None:
        """See `Maker`."""
        owner = await asyncio.to_thread(self._owner)
        for site in self._sites.all:
            for each in await _labelled(site, f"{image_labels.OWNER}={owner}"):
                if not each.labels.get(image_labels.IMAGE) and each.created_at <= before:
                    await self._remove_base(site, each.labels[image_labels.BASE])

    async def list_made(self) -> list[tuple[str, Made]]:
        """See `Maker`."""
        owner = await asyncio.to_thread(self._owner)
        found = [stored for site in self._sites.all for stored in await _labelled(site, image_labels.IMAGE)]
        return [
            (
                stored.labels[image_labels.IMAGE],
                replace(_made(stored, ""), is_own=stored.labels.get(image_labels.OWNER) == owner),
            )
            for stored in found
            if stored.labels[image_labels.IMAGE]
        ]

    async def prune_cache(self, max_age_seconds: float) -> int:
        """See `Maker`."""
        return sum([await site.engine.prune_cache(max_age_seconds) for site in self._sites.all])

    async def clear(self) -> None:
        """See `Maker`."""
        await asyncio.to_thread(self._contexts.clear)
        await asyncio.to_thread(self._installers.clear)

    async def close(self) -> None:
        """See `Maker`."""
        for site in self._sites.all:
            await site.engine.close()

    def _secret(self, secret: BuildSecret, given: Mapping[str, bytes]) -> bytes:
        found = given.get(secret.key)
        if found is None:
            found = self._own_secrets.get(secret.key)
        if found is not None:
            return found
        variable = secret.variable or secret.key.upper().replace("-", "_").replace(".", "_")
        raise BuildError(
            "SecretMissing",
            f"the image needs the secret {secret.key!r} while it is built: set the environment variable {variable} "
            "where you call flyte, or let the operator put it on the image builder's host: "
            f"{self._own_secrets.place(secret.key)}",
        )

    def _registry_secret(self, recipe: Recipe | None, given: Mapping[str, bytes]) -> RegistrySecret | None:
        """The author's credentials of registries, None when he names none."""
        definition = recipe.definition if recipe is not None else None
        if definition is None or not definition.registry_secret:
            return None
        key = definition.registry_secret
        try:
            secret = read_registry_secret(key, self._secret(BuildSecret(key), given), definition.registry)
        except InvalidArgument as error:
            raise BuildError("RegistrySecretInvalid", error.message) from error
        if (
            needs_own_login(definition, self._settings)
            and secret.login_for(f"{definition.registry}/") is None
        ):
            message = (
                f"the secret {key!r}, which registry_secret= of the image names, has no credentials of "
                f"{registry_of(f'{definition.registry}/')}, where the image goes: add them"
            )
            raise BuildError("RegistrySecretInvalid", message)
        return secret

    def _given(self, recipe: Recipe, secrets: Mapping[str, bytes]) -> _Given:
        """What a build gets beside its recipe. Blocks."""
        return _Given(
            read_host_settings(os.environ, self._settings.index_url),
            {each.key: self._secret(each, secrets) for each in recipe.secrets},
            self._registry_secret(recipe, secrets),
            self._owner(),
        )

    def _labels(self, plan: Plan, owner: str) -> dict[str, str]:
        assert self._sdk is not None  # a recipe was made with it
        return {
            image_labels.IMAGE: plan.image.name,
            image_labels.DEFINITION: plan.image.definition_digest,
            image_labels.PLATFORM: plan.image.platform,
            image_labels.SDK: self._sdk.digest,
            image_labels.OWNER: owner,
            **({image_labels.BASE: plan.image.base_image} if plan.recipe and plan.recipe.base else {}),
        }


async def _labelled(site: Site, label: str) -> list[StoredImage]:
    """The images at a site that have a label."""
    try:
        return await site.engine.labelled(label)
    except Unavailable as error:  # the others are looked after all the same
        _log.warning("images of an engine are not looked at", reason=error.message)
        return []


def _tag(name: str) -> str:
    return f"hangar/{name}"


def _materials(recipe: Recipe, bases: Mapping[str, str]) -> dict[str, str]:
    """Digests of what an image is made of."""
    archives = [*recipe.archives.values()]
    if recipe.base is not None and recipe.base.context is not None:
        archives.append(recipe.base.context)
    return {f"blob:{archive.key}": f"sha256:{archive.sha256}" for archive in archives} | dict(bases)


def _made(stored: StoredImage | None, digest: str) -> Made:
    if stored is None:
        return Made(0, datetime.fromtimestamp(0, UTC), digest)
    return Made(
        stored.size_bytes,
        stored.created_at,
        digest,
        stored.identity,
        stored.labels.get(image_labels.DEFINITION, ""),
        stored.platform,
    )
