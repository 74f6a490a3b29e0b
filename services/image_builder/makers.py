"""What makes images: containers from BuildKit, or Python environments of a host without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.image_builder.builds import Image
from services.image_builder.dockerfile import Recipe
from services.image_builder.progress import Output

Emit = Callable[[Output], None]
"""Takes lines for people."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make of a definition.

    Attributes:
        image: What it will be.
        definition_json: The definition.
        recipe: How to make it; None for an environment.
        newest: Date of the host after which no package counts that the author gives no date for; empty for none.
    """

    image: Image
    definition_json: str
    recipe: Recipe | None = None
    newest: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """An image that is there.

    Attributes:
        size_bytes: Its size, 0 when it is not known.
        made_at: When it was made.
        image_digest: Its digest in the registry, empty without one.
        image_id: The engine's identity of it, empty when it has none or is not in the engine.
        definition_digest: Identity of the definition that it was made of, empty when it is not known.
        platform: Its platform, empty when it is not known.
        is_own: False for one that another image builder made in the same place.
        materials: Digests of what it was made of, by what it is: base images, archives.
        bases: Digests of its base images by their addresses, empty texts where they are not known.
    """

    size_bytes: int
    made_at: datetime
    image_digest: str = ""
    image_id: str = ""
    definition_digest: str = ""
    platform: str = ""
    is_own: bool = True
    materials: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)


class Maker(Protocol):
    """Makes images of one kind."""

    async def engine(self) -> str:
        """Returns the identity of the engine that makes them, empty when none does.

        Raises:
            Unavailable: It does not answer.
        """

    async def check(self) -> None:
        """Finds out whether it can make anything.

        Raises:
            HangarError: It cannot; says what is missing.
        """

    async def plan(self, definition_json: str, platform: str) -> Plan:
        """Reads a definition.

        Raises:
            InvalidArgument: It is wrong, or not possible here.
            Unavailable: What has to be asked for that does not answer.
        """

    async def find(self, plan: Plan, secrets: Mapping[str, bytes]) -> Made | None:
        """Returns an image that is where those who run it look for it, None when it is not.

        Args:
            plan: What it is; without a recipe when no more than its name is known.
            secrets: Secrets that the caller has given, by key.

        Raises:
            BuildError: The author's credentials, which its registry wants to be shown, are missing or wrong.
            Unavailable: What has to be asked for that does not answer.
        """

    async def missing_secrets(self, plan: Plan) -> tuple[str, ...]:
        """Returns the keys of secrets that the making of an image needs and that only a caller can give."""

    async def check_replaceable(self, image: Image) -> None:
        """Finds out whether an image that is there may be made anew.

        Raises:
            FailedPrecondition: It is in use, and cannot be replaced then.
        """

    async def make(self, plan: Plan, secrets: Mapping[str, bytes], emit: Emit, *, fresh: bool) -> Made:
        """Makes an image.

        Args:
            plan: What to make.
            secrets: Secrets that the caller has given, by key.
            emit: Takes lines for people.
            fresh: True to use nothing of earlier builds.

        Raises:
            BuildError: It cannot be made.
            HangarError: The platform cannot make it now.
        """

    async def contents(self, image: Image) -> str:
        """Returns what is in an image (CycloneDX), empty when it does not say or is not here.

        Raises:
            Unavailable: What has to be asked for that does not answer.
        """

    async def current_bases(self, image: Image, bases: Mapping[str, str]) -> Mapping[str, str]:
        """Returns which images are behind the addresses of bases now, empty texts where that cannot be found out.

        Args:
            image: The image that was made of them.
            bases: Digests of what was behind them.
        """

    async def remove(self, image: Image) -> None:
        """Removes an image; what is not there is no error.

        Raises:
            FailedPrecondition: It is in use.
        """

    async def list_made(self) -> list[tuple[str, Made]]:
        """Returns the images that are here, by name."""

    async def remove_unneeded(self, before: datetime) -> None:
        """Removes what was made before some moment for images that are no more, or never came to be.

        Raises:
            Unavailable: What has to be asked for that does not answer.
        """

    async def prune_cache(self, max_age_seconds: float) -> int:
        """Removes what is kept for later builds and was not used for so long. Returns the bytes that it took."""

    async def clear(self) -> None:
        """Removes what an earlier process left behind, and ends what it still builds."""

    async def close(self) -> None:
        """Closes connections."""
