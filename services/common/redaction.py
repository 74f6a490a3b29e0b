"""Hides secrets in what people see and what goes on record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote

_SHORTEST_LINE = 6
"""Of a secret of several lines, those that are shorter say nothing by themselves, and stand in many other texts."""
_IN_ADDRESS = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")


@dataclass(frozen=True, slots=True)
class Redaction:
    """What must not be shown.

    Attributes:
        hidden: Texts that are replaced, whatever surrounds them.
    """

    hidden: frozenset[str] = frozenset()

    def hiding(self, secrets: Iterable[bytes | str]) -> Redaction:
        """Returns one that hides these secrets too: whole and line by line, and as JSON and addresses have them."""
        return Redaction(self.hidden.union(*map(_forms, secrets)))

    def hiding_addresses(self, text: str) -> Redaction:
        """Returns one that hides the passwords of addresses in a text too."""
        found = _IN_ADDRESS.findall(text)
        return self.hiding([*found, *map(unquote, found)])

    def redact(self, text: str) -> str:
        """Returns a text without what is hidden."""
        for each in sorted(self.hidden, key=len, reverse=True):  # one may be a part of another
            text = text.replace(each, "****")
        return text


def _forms(secret: bytes | str) -> set[str]:
    text = (secret if isinstance(secret, str) else secret.decode(errors="replace")).strip()
    lines = [line.strip() for line in text.splitlines()]
    parts = [text, *(line for line in lines if len(line) >= _SHORTEST_LINE)] if text else []
    return {form for part in parts for form in _spellings(part)}


def _spellings(text: str) -> Iterator[str]:
    yield text
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield quote(text, safe="")
