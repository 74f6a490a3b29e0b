"""Requirements that name a place on the author's machine, which images cannot reach."""

from __future__ import annotations

import re

_FILES = re.compile(r"(-r|-c|-e)(?!-)|--(requirements?|constraints?|editable)\b")
"""Options that name a file, whatever it is."""
_PLACES = re.compile(
    r"(-f|-i|--find-links|--index-url|--extra-index-url|--index|--default-index)(\s*=?\s*)(?P<place>\S*)"
)
_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^]]*\])?\s*@\s*(?P<place>\S+)")
_ARCHIVE = re.compile(r"\.(whl|zip|tar\.(gz|bz2|xz)|tgz)$")


def check_reachable(where: str, requirement: str) -> None:
    """Refuses a line of a requirements file, or a requirement, that names something on this machine.

    Args:
        where: Where it stands, for messages.
        requirement: The line.

    Raises:
        ValueError: It does.
    """
    line = requirement.strip()
    option = _PLACES.match(line)
    if option:
        is_local = _is_local(option["place"])
    elif line.startswith("-"):
        is_local = _FILES.match(line) is not None
    else:
        named = _NAMED.match(line)
        place = named["place"] if named else re.split(r"\s*[;\[]|\s", line, maxsplit=1)[0]
        is_local = _is_local(place) if named else _is_path(place)
    if is_local:
        raise ValueError(
            f"{where}: {requirement!r} refers to another local file: write the packages out, for instance with `uv pip "
            "compile`, name an address, or copy the files (with_source_folder) and install them with with_commands"
        )


def _is_local(place: str) -> bool:
    """Says whether what has to be an address is one of this machine. Of a variable nothing is known."""
    return not place.startswith("$") and ("://" not in place or bool(re.match(r"(\w+\+)?file:", place)))


def _is_path(place: str) -> bool:
    if "://" in place or place.startswith("file:"):
        return _is_local(place)
    return place.startswith((".", "~")) or "/" in place or _ARCHIVE.search(place) is not None
