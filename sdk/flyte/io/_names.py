r"""Names of files as parts of keys of the blob store, and back.

A key takes no part that begins with a dot, and no control character, `#` or `\`; names of files have all of them.
Those are written as in a URL.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_LONGEST_KEY = 1024
_ESCAPED = re.compile(r"^\.|[%#\\\x00-\x1f\x7f-\x9f]|[\ud800-\udfff]")


def to_key(path: str) -> str:
    """A relative path, its parts parted by slashes, as the end of a key.

    Raises:
        ValueError: It has an empty part, or is too long.
    """
    parts = path.split("/")
    if any(not part or part == ".." for part in parts):
        raise ValueError(f"{path!r} is no path below a directory")
    key = "/".join(_ESCAPED.sub(_escaped, part) for part in parts)
    if len(key.encode()) > _LONGEST_KEY - 400:
        raise ValueError(
            f"the path {path[:80]!r}… is too long to be stored: up to {_LONGEST_KEY - 400} bytes are"
        )
    return key


def from_key(key: str) -> str:
    """What `to_key` wrote."""
    return unquote(key, errors="surrogatepass")


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
