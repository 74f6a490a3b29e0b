"""Reads what the builder prints (`--progress=plain`), of Docker 20.10 and of buildx. Pure: lines in, lines out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.image_builder.dockerfile import Step

_LINE = re.compile(r"#(\d+) (.*)")
_STEP = re.compile(r"\[(?:[^\]]*?\s)?(\d+)/(\d+)\] ")
_OUTPUT = re.compile(r"\d+\.\d+ ?(.*)")
_EXIT = re.compile(r"exit code: (\d+)")
_BASE = re.compile(r"(?:\[[^\]]*\] )?FROM (\S+)@(sha256:[0-9a-f]{64})$")
_METADATA = re.compile(r"\[internal\] load metadata for (\S+)")
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[\x00-\x08\x0b-\x1f\x7f]"
)
"""Colours, and what else moves the cursor of a terminal."""
_NOISE = re.compile(
    r"sha256:[0-9a-f]{64}$|\.\.\.$|transferring |naming to |writing image |exporting |resolve "
)
_SHOWN = 20
"""Last lines of the failing step that its message has."""


@dataclass(frozen=True, slots=True)
class Output:
    """A line for people.

    Attributes:
        text: The line.
        step: The step that it belongs to, None for the builder itself.
        steps: Steps that the build has from this line on; empty for those that it has.
    """

    text: str
    step: Step | None = None
    steps: tuple[Step, ...] = ()


@dataclass
class _Vertex:
    step: Step | None = None
    metadata_of: str = ""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_SHOWN))


class Progress:
    """What a build has printed so far.

    Args:
        steps: Steps of the recipe; None for those that the builder names itself.
    """

    def __init__(self, steps: Sequence[Step] | None) -> None:
        self._steps = steps
        self._vertices: dict[str, _Vertex] = {}
        self._failed: tuple[_Vertex, str] | None = None
        self._last = ""
        self.bases: dict[str, str] = {}
        """Digests of images of registries that it began with, by their addresses."""

    @property
    def base_text(self) -> str:
        """What the build is based on, for people."""
        if self._steps:
            return self._steps[0].text
        return f"base image {self._failed[0].metadata_of}" if self._failed else "the base image"

    @property
    def failed_step(self) -> Step | None:
        """The step that failed, None when none did."""
        if self._failed is None:
            return None
        return self._failed[0].step or (self._steps[0] if self._steps and self.is_base_missing else None)

    @property
    def is_base_missing(self) -> bool:
        """True when the base image is what could not be had."""
        if self._failed is None:
            return False
        vertex = self._failed[0]
        is_first = bool(self._steps) and vertex.step is not None and vertex.step == self._steps[0]  # type: ignore[index]
        return bool(vertex.metadata_of) or is_first

    @property
    def exit_code(self) -> int | None:
        """Exit code of the command that failed, None when none did."""
        match = _EXIT.search(self._failed[1]) if self._failed else None
        return int(match[1]) if match else None

    @property
    def message(self) -> str:
        """Last lines of what failed, or what the builder said at last."""
        if self._failed is None:
            return self._last
        vertex, error = self._failed
        said = list(vertex.tail)
        return "\n".join(said if said and self.exit_code is not None else [*said, error])

    def feed(self, line: str) -> Iterator[Output]:
        """Takes a line of the builder, and returns what of it people should see."""
        match = _LINE.match(line)
        if match is None:
            if line.strip(" -"):
                self._last = line.strip().removeprefix("ERROR: ")
            return
        vertex = self._vertices.setdefault(match[1], _Vertex())
        text = match[2]
        base = _BASE.match(text)
        if base:
            self.bases[base[1]] = base[2]
        if text.startswith("["):
            yield from self._started(vertex, text)
        elif text.startswith("ERROR"):
            error = text.removeprefix("ERROR").lstrip(": ")
            if self._failed is None:
                self._failed = (vertex, error)
            what = (
                f"failed with exit code {self.exit_code}"
                if self.exit_code is not None
                else f"failed: {error}"
            )
            yield Output(what, vertex.step)
        elif vertex.step is not None:
            yield from self._said(vertex, text)

    def _started(self, vertex: _Vertex, text: str) -> Iterator[Output]:
        step, metadata = _STEP.match(text), _METADATA.match(text)
        if metadata:
            vertex.metadata_of = metadata[1]
        if step and vertex.step is None:
            if self._steps is None:
                vertex.step = Step(f"Dockerfile: {text[step.end() :]}"[:100])
            elif 0 < int(step[1]) <= len(self._steps):
                vertex.step = self._steps[int(step[1]) - 1]
            else:
                return
            yield Output(f"[{step[1]}/{step[2]}] {vertex.step.text}", vertex.step)

    @staticmethod
    def _said(vertex: _Vertex, text: str) -> Iterator[Output]:
        said = _OUTPUT.match(text)
        if said:
            shown = _CONTROL.sub("", said[1].rstrip().rsplit("\r", 1)[-1]).rstrip()
            if shown:
                vertex.tail.append(shown)
                yield Output(shown, vertex.step)
        elif text == "CACHED":
            yield Output("cached", vertex.step)
        elif text.startswith("DONE "):
            yield Output(f"done in {text.removeprefix('DONE ')}", vertex.step)
        elif not _NOISE.match(text):
            yield Output(text, vertex.step)
