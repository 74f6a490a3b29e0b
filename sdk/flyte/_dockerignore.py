"""Which files a `.dockerignore` leaves out, as Docker reads it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

_NEVER = re.compile(r"(__pycache__|\.git|\.DS_Store)|.*\.py[co]")
"""Names of what changes without meaning: never copied into images, whatever the patterns say."""


class Dockerignore:
    """Patterns of files to leave out. The last one that matches a path, or a directory above it, decides.

    Args:
        lines: The lines of the file.

    Raises:
        ValueError: A pattern cannot be read.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._patterns = [pattern for number, line in enumerate(lines) if (pattern := _read(number, line))]
        self._exceptions = [pattern.text for pattern in self._patterns if pattern.is_exception]
        self._seen: dict[str, tuple[bool, ...]] = {"": (False,) * len(self._patterns)}

    def leaves_out(self, name: str) -> bool:
        """True for a path that is left out: relative, with slashes."""
        if any(_NEVER.fullmatch(part) for part in name.split("/")):
            return True
        if not self._patterns:
            return False
        verdict = False
        for pattern, matched in zip(self._patterns, self._matched(name), strict=True):
            if matched:
                verdict = not pattern.is_exception
        return verdict

    def leaves_out_all_below(self, directory: str) -> bool:
        """True for a directory that is left out with all that is in it, so that nobody needs to look inside."""
        if _NEVER.fullmatch(posixpath.basename(directory)):
            return True
        return self.leaves_out(directory) and not any(
            _may_match_below(directory, pattern) for pattern in self._exceptions
        )

    def _matched(self, name: str) -> tuple[bool, ...]:
        """Which patterns match a path or a directory above it."""
        found = self._seen.get(name)
        if found is None:
            above = self._matched(name.rpartition("/")[0])
            pairs = zip(self._patterns, above, strict=True)
            found = tuple(over or pattern.regex.fullmatch(name) is not None for pattern, over in pairs)
            self._seen[name] = found
        return found


@dataclass(frozen=True)
class _Pattern:
    text: str
    regex: re.Pattern[str]
    is_exception: bool


def _read(number: int, line: str) -> _Pattern | None:
    """The pattern of a line, None for a line without one."""
    if number == 0:
        line = line.removeprefix("\ufeff")
    if line.startswith("#") or not line.strip():
        return None
    text = line.strip()
    is_exception = text.startswith("!")
    text = text.removeprefix("!").strip()
    if not text:
        raise ValueError(f"image: .dockerignore, line {number + 1}: '!' needs a pattern after it")
    text = posixpath.normpath(text).lstrip("/")
    if text in {"", "."}:  # Docker: for historical reasons, the pattern . is ignored
        return None
    try:
        return _Pattern(text, re.compile(_regex(text), re.DOTALL), is_exception)
    except ValueError as error:
        raise ValueError(
            f"image: .dockerignore, line {number + 1}: {text!r} cannot be read: {error}"
        ) from None


def _regex(pattern: str) -> str:
    """A pattern as a regular expression. `*`, `?` and `[…]` stay within a name, `**` does not."""
    found, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("**", at):
            at += 3 if pattern.startswith("/", at + 2) else 2
            found += ".*" if at >= len(pattern) else "(.*/)?"
            continue
        if character == "[":
            piece, at = _class(pattern, at + 1)
            found += piece
            continue
        if character == "\\":
            at += 1
            if at == len(pattern):
                raise ValueError("a backslash needs a character after it")
            character = pattern[at]
            if character.isalnum():  # Docker refuses most, and takes others for classes of characters
                raise ValueError(f"a backslash before {character!r} has no meaning")
        elif character in "*?":
            found += "[^/]*" if character == "*" else "[^/]"
            at += 1
            continue
        found += re.escape(character)
        at += 1
    return found


def _class(pattern: str, at: int) -> tuple[str, int]:
    """A class of characters such as `[a-z]` or `[^0]`, and the place behind it."""
    is_negated = pattern.startswith("^", at)
    at += is_negated
    ranges = ""
    while not (pattern.startswith("]", at) and ranges):
        low, at = _member(pattern, at)
        ranges += low
        if pattern.startswith("-", at):
            high, at = _member(pattern, at + 1)
            if ranges and low.removeprefix("\\") > high.removeprefix("\\"):
                raise ValueError(f"{low}-{high} is no range")
            ranges += f"-{high}"
    return f"[{'^' if is_negated else ''}{ranges}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    at += pattern.startswith("\\", at)
    if at >= len(pattern) or (pattern[at] in "]-" and pattern[at - 1] != "\\"):
        raise ValueError("a '[' needs characters and a ']' after it")
    return "\\" + pattern[at] if not pattern[at].isalnum() else pattern[at], at + 1


def _may_match_below(directory: str, pattern: str) -> bool:
    """False when a pattern matches nothing below a directory for sure: it names another place."""
    head = re.split(r"[*?\[\\]", pattern, maxsplit=1)[0]
    if head == pattern:
        return head.startswith(f"{directory}/")
    return head.startswith(f"{directory}/") or f"{directory}/".startswith(head.rpartition("/")[0])
