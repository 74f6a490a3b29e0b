"""What an image is: a base and ordered layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flyte._image_layers import Layer

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Stack:
    """A base and ordered layers. Adding one gives a new stack."""

    _base: Layer
    _layers: tuple[Layer, ...] = ()
    _has_sdk: bool = True
    _extendable: bool = True

    def _with(self, kind: str, **fields: Any) -> Self:
        self._check_extendable(kind)
        return replace(self, _layers=(*self._layers, Layer.of(kind, **fields)))

    def _check_extendable(self, kind: str) -> None:
        if self._base.kind == "dockerfile":
            raise ValueError(
                f"an image of a Dockerfile takes no further layers: write the {kind} step into the file"
            )
        if not self._extendable:
            raise ValueError("this image takes no further layers: it was cloned with extendable=False")
