"""Places on disk that requirements name: no image may be made of them, since its identity does not cover them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\])?\s*@\s*(?P<place>.+)")
_OPTION = re.compile(r"(?P<name>--[a-z-]+|-[a-zA-Z])(?:\s*=\s*|\s*)(?P<value>.*)")
_ARCHIVES = (".whl", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_OF_PACKAGES = frozenset(
    ("-f", "--find-links", "-i", "--index-url", "--extra-index-url", "--index", "--default-index")
)
"""Options that say where packages are, and have no file read that is none."""
_OF_FILES = re.compile(
    r"-r|--requirements?|-c|--constraints?|-e|--editable|--overrides?|--build-constraints?|--excludes|--config-file"
)


def place_of_requirement(line: str) -> str:
    """Returns the place on disk that a line of a requirements file names, empty when it names none."""
    text = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
    option = _OPTION.fullmatch(text)
    if option is not None:
        value = option["value"].strip().strip("'\"")
        return (
            value
            if _is_local(value) or (_OF_FILES.fullmatch(option["name"]) and not _is_address(value))
            else ""
        )
    named = _NAMED.match(text)
    place = named["place"] if named is not None else text
    place = re.split(r"\s*;|\s", place, maxsplit=1)[0]
    if _is_local(place):
        return place
    path = re.split(r"[\[<>=!~]", place, maxsplit=1)[0]
    is_path = not _is_address(place) and ("/" in path or path.endswith(_ARCHIVES))
    return place if is_path else ""


def places_of_arguments(words: Iterable[str]) -> Iterator[str]:
    """Yields the places on disk that arguments of an installer have it read, but for those that hold packages."""
    option = ""
    for word in words:
        match = _OPTION.fullmatch(word)
        name, value = (match["name"], match["value"]) if match is not None else (option, word)
        if name not in _OF_PACKAGES and (
            _is_local(value) or (value and _OF_FILES.fullmatch(name) and not _is_address(value))
        ):
            yield value
        option = name if match is not None and not value else ""


def _is_local(place: str) -> bool:
    return place in {".", ".."} or place.startswith(("./", "../", "/", "~", "file:", "git+file:"))


def _is_address(place: str) -> bool:
    return "://" in place and not place.startswith(("file:", "git+file:"))
