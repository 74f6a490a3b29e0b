"""What a docstring says about a function and its parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

_SECTION = re.compile(r"(Args|Arguments|Parameters):\s*$")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_FIELD = re.compile(r":param\s+(?:[^:]*\s)?(\w+):\s*(.*)$")


def summary_of(fn: Callable[..., Any]) -> str:
    """The first paragraph of a function's docstring, on one line."""
    text = inspect.getdoc(fn) or ""
    return " ".join(text.split("\n\n", 1)[0].split())


def parameter_texts(fn: Callable[..., Any]) -> dict[str, str]:
    """What the docstring's ``Args:`` section or its ``:param x:`` lines say of each parameter."""
    texts: dict[str, str] = {}
    current = ""
    indent: int | None = None
    inside = False
    for line in (inspect.getdoc(fn) or "").splitlines():
        depth = len(line) - len(line.lstrip())
        if field := _FIELD.match(line.strip()):
            texts[field[1]] = field[2]
        elif _SECTION.match(line):
            inside, indent = True, None
        elif inside and line.strip() and depth == 0:
            inside = False
        elif inside and line.strip():
            indent = depth if indent is None else indent
            entry = _ENTRY.match(line.strip()) if depth == indent else None
            if entry:
                current = entry[1]
                texts[current] = entry[2]
            elif current:
                texts[current] = f"{texts[current]} {line.strip()}".strip()
    return texts
