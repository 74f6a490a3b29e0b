"""Where Python is in an image, as builds have shown it. Pure.

The platform's SDK is put into an image as early as there is a Python for it: into that of the base, and into another
one behind the layer that brings it. Which layer that is nobody can read in a definition. So a build assumes that the
base has Python and that only a new `PATH` makes another one run. A step that finds it otherwise ends with `ELSEWHERE`,
and the image is built again with what that has shown. It decides only where the SDK is installed, never whether an
image is right: knowledge that has become wrong costs time and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.common.image_layers import Layer
from services.image_builder.inside.install_sdk import ELSEWHERE

__all__ = ["AS_ASSUMED", "ELSEWHERE", "Pythons", "Sightings"]
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Pythons:
    """Where Python is in one image, in numbers of its layers.

    Attributes:
        absent: After so many layers there is none that can be used.
        moved: After so many layers another one runs than before the last of them.
    """

    absent: frozenset[int] = frozenset()
    moved: frozenset[int] = frozenset()


AS_ASSUMED = Pythons()


class Sightings:
    """What builds of this process have shown, by base image and the layers that it was after."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], None] = {}

    def of(self, base_image: str, layers: Iterable[Layer]) -> Pythons:
        """Returns what is known of an image."""
        found: dict[str, set[int]] = {"absent": set(), "moved": set()}
        for number, prefix in enumerate(_prefixes(base_image, layers)):
            for kind, numbers in found.items():
                if (kind, prefix) in self._seen:
                    numbers.add(number)
        return Pythons(frozenset(found["absent"]), frozenset(found["moved"]))

    def note(self, base_image: str, layers: Iterable[Layer], pythons: Pythons) -> None:
        """Takes what a build has shown."""
        for number, prefix in enumerate(_prefixes(base_image, layers)):
            if number in pythons.absent:
                self._seen["absent", prefix] = None
            if number in pythons.moved:
                self._seen["moved", prefix] = None
        while len(self._seen) > _MOST:
            del self._seen[next(iter(self._seen))]


def _prefixes(base_image: str, layers: Iterable[Layer]) -> Iterator[str]:
    """Digests of the base image, of it with the first layer, and so on."""
    total = hashlib.blake2b(base_image.encode(), digest_size=16)
    yield total.hexdigest()
    for layer in layers:
        total.update(repr(layer).encode())
        yield total.hexdigest()
