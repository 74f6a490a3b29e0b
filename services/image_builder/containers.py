"""Makes container images: BuildKit builds them, the engine or a registry keeps them."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from services.common import image_labels
from services.common.errors import InvalidArgument
from services.common.image_definition import definition_digest
from services.common.image_layers import DockerfileBase, ImageBase
from services.image_builder import attestations
from services.image_builder.buildkit import BuildError, BuildKit, Job
from services.image_builder.builds import Image
from services.image_builder.context import Context, Contexts
from services.image_builder.dockerfile import PACKAGES, Recipe, SdkContent, make_recipe
from services.image_builder.engine import BuilderEngine, StoredImage
from services.image_builder.host_settings import read_host_settings
from services.image_builder.makers import Emit, Made, Plan
from services.image_builder.progress import Output
from services.image_builder.settings import Settings

_FROM = re.compile(
    r"^\s*FROM\s+(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?", re.IGNORECASE | re.MULTILINE
)
_COPY_FROM = re.compile(
    r"^\s*(?:COPY|ADD|RUN)\s[^\n]*?(?:--from=|\bfrom=)(?P<image>[^\s,]+)", re.IGNORECASE | re.MULTILINE
)


class ContainerMaker:
    """See `services.image_builder.makers.Maker`.

    Args:
        settings: Settings.
        engine: The engine that builds.
        buildkit: The builder.
        contexts: Makes build contexts.
    """

    def __init__(
        self, settings: Settings, engine: BuilderEngine, buildkit: BuildKit, contexts: Contexts
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._buildkit = buildkit
        self._contexts = contexts
        self._sdk: SdkContent | None = None

    async def check(self) -> None:
        """See `Maker`."""
        await self._buildkit.check()

    async def plan(self, definition_json: str, platform: str) -> Plan:
        """See `Maker`."""
        if self._sdk is None:
            self._sdk = await asyncio.to_thread(self._contexts.sdk_content)
        own = await self._engine.platform()
        recipe = make_recipe(definition_json, self._settings.base_image, self._sdk, own)
        asked = (platform,) if platform else recipe.definition.platforms
        if asked and own not in asked:
            message = (
                f"platform is {', '.join(asked)}: this image builder's engine makes images for {own} only; leave it "
                "out, or run an image builder on such a host"
            )
            raise InvalidArgument(message, reason="PLATFORM_NOT_AVAILABLE", field="platform")
        check_bases(recipe, self._settings.allowed_bases)
        return Plan(
            Image(
                recipe.name,
                self._reference(recipe),
                definition_digest(definition_json),
                recipe.base_image,
                own,
            ),
            definition_json,
            recipe,
        )

    async def find(self, image: Image) -> Made | None:
        """See `Maker`. With a registry that is where executors look."""
        stored = await self._engine.image(_tag(image.name))
        digest = ""
        if image.reference != _tag(image.name):
            digest = await self._engine.registry_digest(image.reference)
            if not digest:
                return None
        elif stored is None:
            return None
        return _made(stored, digest)

    async def make(self, plan: Plan, secrets: Mapping[str, bytes], emit: Emit, *, fresh: bool) -> Made:
        """See `Maker`."""
        recipe = plan.recipe
        assert recipe is not None  # `plan` made it
        given, host = await asyncio.gather(
            asyncio.to_thread(self._secrets, recipe, secrets),
            asyncio.to_thread(read_host_settings, os.environ, self._settings.index_url),
        )
        host = host.hiding("\n".join(recipe.files.values())).hiding_secrets(given)

        def say(output: Output) -> None:
            emit(Output(host.redact(output.text), output.step))

        for note in host.notes:
            say(Output(note))
        others = [each for each in recipe.definition.platforms if each != plan.image.platform]
        if others:
            say(Output(f"made for {plan.image.platform} only: this engine has none for {', '.join(others)}"))
        tag = _tag(recipe.name)
        try:
            async with self._contexts.make(recipe, host, given) as context:
                await self._build(plan, recipe, context, say, fresh=fresh)
            digest = ""
            if plan.image.reference != tag:
                await self._engine.tag(tag, plan.image.reference)
                digest = await self._buildkit.push(plan.image.reference, say)
        except BuildError as error:
            error.message = host.redact(error.message)
            raise
        stored, base_digest = await asyncio.gather(
            self._engine.image(tag), self._engine.content_digest(recipe.base_image)
        )
        if stored is None:
            message = f"the builder said that it made {tag}, and the engine does not hold it"
            raise BuildError("ImageMissing", message, is_system=True)
        return replace(_made(stored, digest), materials=_materials(recipe, base_digest))

    async def _build(self, plan: Plan, recipe: Recipe, context: Context, say: Emit, *, fresh: bool) -> None:
        if recipe.base is not None:
            assert context.base is not None
            dockerfile = context.base.with_name("base.Dockerfile")
            base = Job(
                context.base, {}, None, recipe.base_image, {}, fresh, dockerfile, process=context.process
            )
            await self._buildkit.build(base, say)
        job = Job(
            context.path,
            context.secrets,
            recipe.steps,
            _tag(recipe.name),
            self._labels(plan),
            fresh,
            process=context.process,
        )
        await self._buildkit.build(job, say)

    async def contents(self, image: Image) -> str:
        """See `Maker`."""
        packages = await self._engine.read_file(_tag(image.name), PACKAGES)
        return attestations.sbom(image.reference, json.loads(packages)) if packages else ""

    async def remove(self, image: Image) -> None:
        """See `Maker`."""
        await self._engine.remove(image.reference)
        await self._engine.remove(_tag(image.name))

    async def list_made(self) -> list[tuple[str, Made]]:
        """See `Maker`."""
        found = await self._engine.labelled(image_labels.IMAGE)
        return [(stored.labels[image_labels.IMAGE], _made(stored, "")) for stored in found]

    async def prune_cache(self, max_age_seconds: float) -> int:
        """See `Maker`."""
        return await self._buildkit.prune(max_age_seconds)

    async def clear(self) -> None:
        """See `Maker`."""
        await asyncio.to_thread(self._contexts.clear)

    async def close(self) -> None:
        """See `Maker`."""
        await self._engine.close()

    def _secrets(self, recipe: Recipe, given: Mapping[str, bytes]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for secret in recipe.secrets:
            if secret.key in given:
                found[secret.key] = given[secret.key]
                continue
            directory = self._settings.secrets
            path = Path(directory) / secret.key if directory else None
            if path is None or not path.is_file():
                variable = secret.variable or secret.key.upper().replace("-", "_").replace(".", "_")
                where = f", and the image builder's host has no file {path}" if path else ""
                raise BuildError(
                    "SecretMissing",
                    f"the image needs the secret {secret.key!r} while it is built: set the environment variable "
                    f"{variable} where you call flyte{where}. (HANGAR_IMAGE_BUILDER_SECRETS names a "
                    "directory of such files.)",
                )
            found[secret.key] = path.read_bytes().rstrip(b"\n")
        return found

    def _reference(self, recipe: Recipe) -> str:
        definition = recipe.definition
        if definition.registry:
            allowed = self._settings.registries
            if not any(_below(definition.registry, prefix) for prefix in allowed):
                known = f"those that may be used are {', '.join(allowed)}" if allowed else "there is none yet"
                raise InvalidArgument(
                    f"image definition: base.registry is {definition.registry!r}, which this image builder may not "
                    f"push to ({known}): leave it out, or let the operator name it in HANGAR_IMAGE_BUILDER_REGISTRIES",
                    reason="REGISTRY_NOT_ALLOWED",
                    field="definition_json.base.registry",
                )
            return f"{definition.registry}/{definition.repository or 'hangar'}:{recipe.name}"
        registry = self._settings.registry
        return f"{registry}/hangar/{recipe.name}" if registry else _tag(recipe.name)

    def _labels(self, plan: Plan) -> dict[str, str]:
        assert self._sdk is not None  # a recipe was made with it
        return {
            image_labels.IMAGE: plan.image.name,
            image_labels.DEFINITION: plan.image.definition_digest,
            image_labels.SDK: self._sdk.digest,
        }


def check_bases(recipe: Recipe, allowed: tuple[str, ...]) -> None:
    """Refuses base images that are not on the operator's list.

    Args:
        recipe: What is to be made.
        allowed: Patterns of addresses, such as ``python:*``; empty for all.

    Raises:
        InvalidArgument: A base is not on it (reason ``BASE_IMAGE_NOT_ALLOWED``).
    """
    base = recipe.definition.base
    wanted: list[str] = []
    if isinstance(base, ImageBase):
        wanted = [base.uri]
    elif isinstance(base, DockerfileBase):
        wanted = _bases_of(base.text)
    for image in wanted if allowed else ():
        if not any(fnmatch.fnmatchcase(image, pattern) for pattern in allowed):
            raise InvalidArgument(
                f"base image {image!r} is not allowed here: use one of {', '.join(allowed)}, or ask the operator to "
                "add it to HANGAR_IMAGE_BUILDER_ALLOWED_BASES",
                reason="BASE_IMAGE_NOT_ALLOWED",
                field="definition_json.base",
            )


def _bases_of(dockerfile: str) -> list[str]:
    """Images that a Dockerfile takes anything from, as it writes them; stages of its own are left out."""
    text = re.sub(r"\\\r?\n", " ", dockerfile)
    stages: set[str] = set()
    found: list[str] = []
    for match in _FROM.finditer(text):
        if match["image"].lower() not in stages and match["image"] != "scratch":
            found.append(match["image"])
        if match["stage"]:
            stages.add(match["stage"].lower())
    for match in _COPY_FROM.finditer(text):
        if match["image"].lower() not in stages and not match["image"].isdigit():
            found.append(match["image"])
    return found


def _below(registry: str, prefix: str) -> bool:
    return registry == prefix or registry.startswith(prefix.rstrip("/") + "/")


def _tag(name: str) -> str:
    return f"hangar/{name}"


def _materials(recipe: Recipe, base_digest: str) -> dict[str, str]:
    """Digests of what an image is made of."""
    archives = [*recipe.archives.values()]
    if recipe.base is not None and recipe.base.context is not None:
        archives.append(recipe.base.context)
    found = {f"blob:{archive.key}": f"sha256:{archive.sha256}" for archive in archives}
    return {**found, recipe.base_image: base_digest}


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
