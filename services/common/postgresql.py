"""What is special to PostgreSQL's driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from psycopg.types.string import StrDumperUnknown

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


class TextDumper(StrDumperUnknown):
    """Sends text. PostgreSQL has none with NUL characters: each becomes U+FFFD, as what cannot be decoded does.

    The client's encoding has to be UTF-8.
    """

    def dump(self, obj: str) -> bytes:
        """Returns the bytes of a text."""
        data = obj.encode()
        return data.replace(b"\0", _REPLACEMENT) if b"\0" in data else data


def copy_rows(cursor: Any, statement: str, parameters: Sequence[Mapping[str, Any]], _context: Any) -> bool:
    """Carries out ``COPY table ("column", …) FROM STDIN`` with rows: SQLAlchemy's event ``do_executemany``.

    Returns:
        True when it did; False for any other statement.
    """
    if not statement.startswith("COPY "):
        return False
    names = statement[statement.index("(") + 1 : statement.index(")")].replace('"', "").split(", ")
    with cursor.copy(statement) as copy:
        for row in map(itemgetter(*names), parameters):
            copy.write_row(row)
    return True
