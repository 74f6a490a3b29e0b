"""What is being built and what was: one record per image, its log, and who follows it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from services.image_builder.dockerfile import Step
from services.image_builder.failures import BuildError

_LONGEST_LINE = 4096
_LINES_AT_ONCE = 500


def shortened(text: str) -> str:
    """Returns a line as people see it: of a very long one the beginning."""
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"


class State(Enum):
    """How far a build is."""

    QUEUED = "queued"
    BUILDING = "building"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """True when nothing changes any more."""
        return self in {State.SUCCEEDED, State.FAILED, State.CANCELLED}


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a build's log.

    Attributes:
        number: Its number, from 0.
        text: Its text.
        step: The step that it belongs to, in words.
        captured_at: When it was captured.
    """

    number: int
    text: str
    step: str
    captured_at: datetime


@dataclass(frozen=True, slots=True)
class Image:
    """What a build makes.

    Attributes:
        name: Identity of the image.
        reference: What engines start containers from.
        definition_digest: Identity of the definition.
        base_image: Image that it is based on.
        platform: Its platform.
        is_environment: True for a Python environment of the host instead of a container image.
        title: What its author calls it; may be empty.
    """

    name: str
    reference: str
    definition_digest: str
    base_image: str
    platform: str
    is_environment: bool = False
    title: str = ""


@dataclass(eq=False)
class Build:
    """The making of one image. Changed only through its methods, which wake those who follow it.

    Attributes:
        image: What is made.
        number: Position among all builds of this service.
        created_at: When it was asked for.
        log_limit: Most lines that are kept.
    """

    image: Image
    number: int
    created_at: datetime
    log_limit: int = 10_000
    state: State = State.QUEUED
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cached: bool = False
    image_digest: str = ""
    image_id: str = ""
    bases: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int = 0
    step: Step | None = None
    error: BuildError | None = None
    missing_secrets: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    task: asyncio.Task[None] | None = None
    _lines: deque[LogLine] = field(default_factory=deque)
    _next_line: int = 0
    _version: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def next_line(self) -> int:
        """Number that the next line of the log will have."""
        return self._next_line

    @property
    def step_number(self) -> int:
        """Number of the step in progress, from 1; 0 when it is none of the recipe's."""
        # Equal commands make equal steps.
        return next((number for number, step in enumerate(self.steps, 1) if step is self.step), 0)

    def say(self, text: str, step: Step | None, now: datetime) -> None:
        """Adds a line to the log; the step is the one in progress from now on."""
        if step is not None and step is not self.step:
            self.step = step
            self._version += 1
        self._lines.append(LogLine(self._next_line, shortened(text), step.text if step else "", now))
        self._next_line += 1
        if len(self._lines) > self.log_limit:
            self._lines.popleft()
        self._wake()

    def miss(self, secrets: tuple[str, ...]) -> None:
        """It waits for secrets of a caller, or for none any more."""
        self.missing_secrets = secrets
        self._version += 1
        self._wake()

    def begin(self, now: datetime) -> None:
        """It runs."""
        self.state, self.started_at = State.BUILDING, now
        self._version += 1
        self._wake()

    def succeed(self, size_bytes: int, image_digest: str, image_id: str, now: datetime) -> None:
        """The image is there."""
        self.state, self.finished_at, self.step = State.SUCCEEDED, now, None
        self.size_bytes, self.image_digest, self.image_id = size_bytes, image_digest, image_id
        self._version += 1
        self._wake()

    def fail(self, error: BuildError, now: datetime) -> None:
        """There will be no image."""
        self.state, self.finished_at, self.error = State.FAILED, now, error
        self.step = error.step or self.step
        self._version += 1
        self._wake()

    def cancel(self, message: str, now: datetime) -> None:
        """Somebody wants no image any more."""
        self.state, self.finished_at = State.CANCELLED, now
        self.error = BuildError("BuildCancelled", message)
        self._version += 1
        self._wake()

    def restore(self, texts: Sequence[LogLine]) -> None:
        """Takes over the log of a build that ended before this process began."""
        self._lines.extend(texts[-self.log_limit :])
        self._next_line = texts[-1].number + 1 if texts else 0

    def lines(self, first: int, limit: int) -> list[LogLine]:
        """Returns lines from a number on, those that are kept."""
        if not self._lines or first >= self._next_line:
            return []
        start = max(first - self._lines[0].number, 0)
        return [self._lines[index] for index in range(start, min(start + limit, len(self._lines)))]

    async def follow(self, first: int) -> AsyncIterator[list[LogLine]]:
        """Iterates over what is new, at once and on every change, until the end: new lines, if any.

        Who reads slowly gets more lines at a time and skips states in between.
        """
        seen = -1
        while True:
            changed, version, is_over = self._changed, self._version, self.state.is_terminal
            lines = self.lines(first, _LINES_AT_ONCE)
            if lines:
                first = lines[-1].number + 1
            if lines or version != seen:
                seen = version
                yield lines
            if first < self._next_line:
                continue
            if is_over:
                return
            await changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Builds:
    """The builds that this process knows, newest last; those that ended are on record as well.

    Args:
        kept: Most finished builds that are kept in memory.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._builds: dict[str, Build] = {}

    def get(self, name: str) -> Build | None:
        """Returns the newest build of an image."""
        return self._builds.get(name)

    def add(self, build: Build) -> None:
        """Keeps a build, in place of an ended one of that image."""
        self._builds.pop(build.image.name, None)
        self._builds[build.image.name] = build
        ended = [name for name, each in self._builds.items() if each.state.is_terminal]
        for name in ended[: max(len(ended) - self._kept, 0)]:
            del self._builds[name]

    def forget(self, name: str) -> None:
        """Keeps a build no more."""
        self._builds.pop(name, None)

    def unfinished(self) -> list[str]:
        """Returns the names of the images whose builds have not ended."""
        return [name for name, build in self._builds.items() if not build.state.is_terminal]

    def running(self) -> list[asyncio.Task[None]]:
        """Returns the tasks of the builds that have not ended."""
        return [
            build.task for build in self._builds.values() if build.task is not None and not build.task.done()
        ]
