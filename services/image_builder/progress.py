"""Reads what BuildKit tells of a build. Pure: changes in, lines for people out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hangar.buildkit.v1.buildkit_pb2 import BuildLog, BuildStatus, BuildVertex
from services.image_builder.dockerfile import Step

_STEP = re.compile(r"\[(?:[^\]]*?\s)?(\d+)/(\d+)\] ")
_EXIT = re.compile(r"exit code: (\d+)$")  # at the end: what goes before is the author's command
_COMMAND = re.compile(
    r'(executor failed running \[(.*\n\]|[^\n]*?\])|process ".*" did not complete successfully): ', re.DOTALL
)
"""How an error repeats a command before it says what is wrong; ours are whole scripts."""
_BASE = re.compile(r"(?:\[[^\]]*\] )?FROM (\S+)@(sha256:[0-9a-f]{64})$")
_METADATA = re.compile(r"\[internal\] load metadata for (\S+)")
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[\x00-\x08\x0b-\x1f\x7f]"
)
"""Colours, and what else moves the cursor of a terminal."""
_CANCELLED = "context canceled"
_LONGEST_LINE = 64 * 1024
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
    has_started: bool = False
    is_over: bool = False
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_SHOWN))
    pieces: dict[int, bytes] = field(default_factory=dict)
    """Beginnings of lines, by the stream that their ends will come on."""

    def complete_lines(self, stream: int, piece: bytes) -> list[str]:
        """Takes a piece of output, and returns the lines that end in it; of a very long one its beginning."""
        *lines, rest = (self.pieces.pop(stream, b"") + piece).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            rest = rest[rest.rstrip(b"\r").rfind(b"\r") + 1 :][:_LONGEST_LINE]
        if rest:
            self.pieces[stream] = rest
        return [line[:_LONGEST_LINE].decode(errors="replace") for line in lines]

    def rest(self) -> list[str]:
        """Returns what was begun and will have no end."""
        pieces, self.pieces = self.pieces, {}
        return [piece.decode(errors="replace") for piece in pieces.values()]


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
    def missing_base(self) -> str:
        """The image of a registry that could not be looked up; empty when that is not what failed."""
        return self._failed[0].metadata_of if self._failed else ""

    @property
    def exit_code(self) -> int | None:
        """Exit code of the command that failed, None when none did."""
        return _exit_code(self._failed[1]) if self._failed else None

    @property
    def message(self) -> str:
        """Last lines of what failed, or what the builder said at last."""
        if self._failed is None:
            return self._last
        vertex, error = self._failed
        said = list(vertex.tail)
        if self.exit_code is None:
            said.append(error)
        return "\n".join(said) or "it printed nothing"

    @property
    def has_failed(self) -> bool:
        """True when there will be no image."""
        return bool(self._last)

    def fail(self, message: str) -> None:
        """Takes what the engine says of a build that has come to nothing."""
        self._last = message

    def feed(self, status: BuildStatus) -> Iterator[Output]:
        """Takes changes of the build, and returns what of them people should see."""
        logs: dict[str, list[BuildLog]] = {}
        for log in status.logs:
            logs.setdefault(log.vertex, []).append(log)
        for told in status.vertexes:
            vertex = self._vertices.setdefault(told.digest, _Vertex())
            if told.HasField("started") and not vertex.has_started:
                vertex.has_started = True
                yield from self._started(vertex, told.name)
            yield from self._logged(vertex, logs.pop(told.digest, []))
            if told.HasField("completed") and not vertex.is_over:
                vertex.is_over = True
                yield from self._ended(vertex, told)
        for digest, rest in logs.items():
            yield from self._logged(self._vertices.setdefault(digest, _Vertex()), rest)

    def _started(self, vertex: _Vertex, name: str) -> Iterator[Output]:
        base, step, metadata = _BASE.match(name), _STEP.match(name), _METADATA.match(name)
        if base:
            self.bases[base[1]] = base[2]
        if metadata:
            vertex.metadata_of = metadata[1]
        if step:
            if self._steps is None:
                vertex.step = Step(f"Dockerfile: {name[step.end() :]}"[:100])
            elif 0 < int(step[1]) <= len(self._steps):
                vertex.step = self._steps[int(step[1]) - 1]
            else:
                return
            yield Output(f"[{step[1]}/{step[2]}] {vertex.step.text}", vertex.step)

    def _ended(self, vertex: _Vertex, told: BuildVertex) -> Iterator[Output]:
        if vertex.step is not None:
            yield from self._said(vertex, vertex.rest())
        if told.error and not told.error.endswith(_CANCELLED):  # as others are when one has failed
            match = _COMMAND.match(told.error)
            error = told.error[match.end() :] if match else told.error
            if self._failed is None:
                self._failed = (vertex, error)
            code = _exit_code(error)
            what = f"failed with exit code {code}" if code is not None else f"failed: {error}"
            yield Output(what, vertex.step)
        elif vertex.step is not None and not told.error:
            took = told.completed.ToNanoseconds() - told.started.ToNanoseconds()
            yield Output("cached" if told.cached else f"done in {took / 1e9:.1f}s", vertex.step)

    def _logged(self, vertex: _Vertex, logs: Sequence[BuildLog]) -> Iterator[Output]:
        for log in logs if vertex.step is not None else ():
            yield from self._said(vertex, vertex.complete_lines(log.stream, log.msg))
        if vertex.is_over:
            yield from self._said(vertex, vertex.rest())

    @staticmethod
    def _said(vertex: _Vertex, lines: Sequence[str]) -> Iterator[Output]:
        for line in lines:
            shown = _CONTROL.sub("", line.rstrip().rsplit("\r", 1)[-1]).rstrip()
            if shown:
                vertex.tail.append(shown)
                yield Output(shown, vertex.step)


def _exit_code(error: str) -> int | None:
    match = _EXIT.search(error)
    return int(match[1]) if match else None
