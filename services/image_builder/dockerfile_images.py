"""Which images a Dockerfile takes anything from, read so that none can hide: rather one too many. Pure.

Builders differ in what continues a line and in what is text (here-documents). So any line may begin an instruction
here, and names of stages count only while nothing is in doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
"""An address of an image that is written out: no variables, quotes or escapes."""
_SYNTAX = re.compile(r"(?:#|//)\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_PLAIN = re.compile(r"--[A-Za-z-]+(=[\w.:/@,=+*%~${}-]*)?", re.ASCII)
"""A flag without quotes and escapes, of which builders have rules of their own."""
_QUOTES = re.compile(r"[\"'\\`]")
_KEYWORDS = ("FROM", "COPY", "ADD", "RUN", "ONBUILD")
_ESCAPE = re.compile(r"#\s*escape\s*=", re.IGNORECASE)
"""A directive with which "`" may continue lines in place of a backslash, where the builder sees it."""


def images_of(dockerfile: str) -> tuple[str, ...]:
    """Returns the images that a Dockerfile takes anything from, as it writes them, without its own stages.

    A front end (``# syntax=``) is one of them. Where an address cannot be told, what is written in its place is no
    `ADDRESS`.
    """
    found = _Found()
    lines = [line.rstrip() for line in dockerfile.removeprefix("\ufeff").split("\n")]
    marks = ("\\", "`") if _ESCAPE.search(dockerfile) else ("\\",)
    in_doubt = is_continued = False
    for number, raw in enumerate(lines):
        line = raw.lstrip()
        if syntax := _SYNTAX.match(line):
            found.images.append(syntax[1])
        if line.startswith("{"):  # some builders read a front end from JSON
            found.images.append(line)
        if not line or line.startswith("#"):
            continue
        found.read(_joined(lines[number:], marks), is_certain=not in_doubt and not is_continued)
        is_continued = line.endswith(marks)
        in_doubt |= "<<" in line or line.endswith(("\\\\", "``"))
    return tuple(dict.fromkeys(found.images))


@dataclass
class _Found:
    images: list[str] = field(default_factory=list)
    stages: set[str] = field(default_factory=set)

    def read(self, words: Sequence[str], *, is_certain: bool, is_trigger: bool = False) -> None:
        """Reads what would be an instruction; a trigger (ONBUILD) runs where these stages are not."""
        keyword, *rest = words or [""]
        stages = frozenset() if is_trigger else frozenset(self.stages)
        if keyword.upper() == "ONBUILD":
            self.read(rest, is_certain=False, is_trigger=True)
        elif keyword.upper() == "FROM":
            self._read_from(rest, stages, is_certain=is_certain)
        elif keyword.upper() == "COPY":
            self.images += [
                each for each in _sources(rest) if not each.isdecimal() and each.lower() not in stages
            ]
        elif keyword.upper() in {"ADD", "RUN"}:
            self.images += [each for each in _sources(rest) if each.lower() not in stages]

    def _read_from(self, words: Sequence[str], stages: frozenset[str], *, is_certain: bool) -> None:
        image, *more = [word for word in words if not _PLAIN.fullmatch(word)] or [""]
        if image.startswith("--"):
            self.images.append(image)  # a flag with quotes: what follows may be part of it
        elif image and not (more and more[0].upper() != "AS"):  # else no builder takes it for an instruction
            if image != "scratch" and image.lower() not in stages:
                self.images.append(image)
            if len(more) == 2 and is_certain:
                self.stages.add(more[1].lower())


def _sources(words: Sequence[str]) -> Iterator[str]:
    """What the flags of an instruction name as sources."""
    for number, word in enumerate(words):
        name, _, value = word.partition("=")
        if not word.startswith("--"):
            return
        if not _PLAIN.fullmatch(word):
            if re.search(r"from\s*=", _QUOTES.sub("", " ".join(words[number:])), re.IGNORECASE):
                yield word
            return
        if name.lower() == "--from":
            yield value
        elif name.lower() == "--mount":
            for key, _, source in (option.partition("=") for option in value.split(",")):
                if key.lower() == "from" or "$" in key:
                    yield source if "$" not in key else word


def _joined(lines: Sequence[str], marks: tuple[str, ...]) -> list[str]:
    """The words of a line with those that continue it."""
    text = ""
    for number, line in enumerate(lines):
        if number and (not line or line.lstrip().startswith("#")):
            continue
        text += line.rstrip("".join(marks))
        head = "".join(text.split(maxsplit=1)[:1]).upper()
        if not line.endswith(marks) or not any(each.startswith(head) for each in _KEYWORDS):
            break  # it has ended, or is of no interest
    return text.split()
