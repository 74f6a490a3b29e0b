"""Lists that the backend gives in pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

_PAGE = 1000
"""Most rows of a page."""


def check_limit(limit: int) -> None:
    """Refuses a limit that lists nothing.

    Raises:
        TypeError: It is no integer.
        ValueError: It is less than 1.
    """
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit must be an integer, not {limit!r}")
    if limit < 1:
        raise ValueError(f"limit={limit} must be at least 1: leave it out for the usual one")


async def listed(
    ask: Callable[[int, str], Awaitable[Any]],
    rows: str,
    limit: int | None = None,
    matches: Callable[[Any], bool] | None = None,
) -> AsyncGenerator[Any, None]:
    """The rows of a list, page by page.

    Args:
        ask: Asks for a page, given its size and its token.
        rows: Field of the answer that has the rows.
        limit: Most rows; None for all.
        matches: Says whether a row is wanted; None for all of them.

    Raises:
        TypeError, ValueError: The limit has no meaning.
    """
    if limit is not None:
        check_limit(limit)
    left, token = limit, ""
    while True:
        size = _PAGE if left is None or matches is not None else min(left, _PAGE)
        answer = await ask(size, token)
        for row in getattr(answer, rows):
            if matches is not None and not matches(row):
                continue
            yield row
            if left is not None:
                left -= 1
                if not left:
                    return
        token = answer.next_page_token
        if not token:
            return
