"""Tracebacks of user code: without the frames of the SDK, and across processes.

A failure comes with its traceback as text. From it `attach` makes frames below those of whoever raises the exception
here, and exceptions for its causes, so that everything that shows tracebacks shows one, from the caller's line down to
the line of the task that failed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import linecache
import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TypeVar

T = TypeVar("T")

# Frames name files as they were found: perhaps through a symbolic link.
_OURS = (
    *{f"{path.parent}/" for path in (Path(__file__), Path(__file__).resolve())},
    f"{Path(importlib.__file__).parent}/",
    "<frozen ",
    "<string>",  # methods that dataclasses generate
)

_WAITING = tuple(f"{Path(str(module.__file__)).parent}/" for module in (asyncio, concurrent.futures))
_HEADER = "Traceback (most recent call last):"
_CAUSE = "The above exception was the direct cause of the following exception"
_LINK = re.compile(rf"\n({_CAUSE}|During handling of the above exception, another exception occurred):\n\n")
_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+), in (?P<name>.*)')
_TYPE = re.compile(r"(?:(?P<module>[\w.]+)\.)?(?P<name>\w+)(?:: (?P<message>.*))?", re.DOTALL)
_MOST_FRAMES = 200


class RemoteCause(Exception):
    """Stands for an exception of another process that led to a failure; its type has that one's name."""


class _Reached(Exception):
    """Gives access to a frame."""


_STUB = compile("raise reached", "<stub>", "exec")


def user_text(error: BaseException) -> str:
    """The traceback as Python prints it, without the frames of the SDK. Empty when no user code took part."""
    report = traceback.TracebackException.from_exception(error)
    _strip(report, set())
    others = (report.__cause__, report.__context__, getattr(report, "exceptions", None))
    return "".join(report.format()) if report.stack or any(others) else ""


def pruned(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of the SDK."""
    entries = []
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    kept = _users(entries, lambda entry: entry.tb_frame.f_code.co_filename)
    for each in reversed(kept):
        trace = TracebackType(trace, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return trace


def _strip(report: traceback.TracebackException, seen: set[int]) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    frames: list[traceback.FrameSummary] = _users(report.stack, lambda frame: frame.filename)
    report.stack = traceback.StackSummary.from_list(frames)
    for other in getattr(report, "exceptions", None) or []:
        _strip(other, seen)
    for link in ("__cause__", "__context__"):
        other = getattr(report, link)
        if other is None:
            continue
        was_raised = bool(other.stack)
        _strip(other, seen)
        if was_raised and not other.stack:  # all of it happened in our code: our error says what was wrong
            setattr(report, link, None)


def _users(frames: Iterable[T], file_of: Callable[[T], str]) -> list[T]:
    """Those that are not ours: neither the SDK's nor what the SDK waited in."""
    kept = []
    is_ours = False
    for frame in frames:
        file = file_of(frame)
        is_ours = file.startswith(_OURS) or "/cloudpickle/" in file or (is_ours and file.startswith(_WAITING))
        if not is_ours:
            kept.append(frame)
    return kept


@dataclass(frozen=True)
class _Frame:
    file: str
    line: int
    name: str
    source: str


@dataclass(frozen=True)
class _Block:
    """One exception of a text: its frames, and its last lines."""

    frames: list[_Frame]
    end: str


def attach(error: BaseException, text: str) -> None:
    """Gives an exception the traceback and the causes that a text has. A text of another form becomes its cause."""
    pieces = _LINK.split(text.rstrip("\n"))
    blocks = [_parsed(piece.rstrip("\n")) for piece in pieces[::2]]
    links = pieces[1::2]
    if any(block is None for block in blocks):
        error.__cause__ = RemoteCause(f"\n{text.rstrip()}")
        return
    before: BaseException | None = None
    for index, block in enumerate(blocks):
        assert block is not None  # checked above
        current = error if index == len(links) else _cause(block.end)
        current.__traceback__ = _traceback(block.frames)
        if before is not None:
            if links[index - 1] == _CAUSE:
                current.__cause__ = before
            else:
                current.__context__ = before
        before = current


def _parsed(text: str) -> _Block | None:
    """A block of a text; None when it has another form."""
    header, _, rest = text.partition("\n")
    if header != _HEADER:
        return None if _HEADER in text else _Block([], text)
    frames: list[_Frame] = []
    lines = rest.split("\n")
    position = 0
    while position < len(lines) and lines[position].startswith("  "):
        match = _FRAME.fullmatch(lines[position])
        position += 1
        source = ""
        if match is None:  # a line of source, marks below it, or "previous line repeated"
            continue
        if position < len(lines) and lines[position].startswith("    "):
            source = lines[position].strip()
        frames.append(_Frame(match["file"], int(match["line"]), match["name"], source))
    end = "\n".join(lines[position:])
    return _Block(frames, end) if end else None


def _cause(end: str) -> BaseException:
    """An exception that is shown with the given last lines."""
    match = _TYPE.fullmatch(end)
    if match is None:
        return RemoteCause(end)
    kind = type(match["name"], (RemoteCause,), {"__module__": match["module"] or "builtins"})
    made: BaseException = kind(*([match["message"]] if match["message"] is not None else []))
    return made


def _traceback(frames: list[_Frame]) -> TracebackType | None:
    below: TracebackType | None = None
    for frame in reversed(frames[:_MOST_FRAMES]):
        _remember(frame)
        below = TracebackType(below, _frame_of(frame), -1, frame.line)
    return below


def _frame_of(frame: _Frame) -> FrameType:
    """A frame of a function of that name in that file. Nothing of it runs."""
    code = _STUB.replace(co_filename=frame.file, co_name=frame.name, co_firstlineno=max(frame.line, 1))
    try:
        exec(code, {"reached": _Reached})  # noqa: S102 - the stub
    except _Reached as reached:
        found = reached.__traceback__
        assert found is not None  # it was raised
        assert found.tb_next is not None  # in the stub
        return found.tb_next.tb_frame
    raise AssertionError("the stub raises")


def _remember(frame: _Frame) -> None:
    """Lets source lines of files that are not on this machine be shown."""
    if not frame.source or Path(frame.file).exists():
        return
    known = linecache.cache.get(frame.file)
    lines = list(known[2]) if known is not None and len(known) == 4 else []
    lines += ["\n"] * (frame.line - len(lines))
    lines[frame.line - 1] = f"{frame.source}\n"
    linecache.cache[frame.file] = (sum(map(len, lines)), None, lines, frame.file)
