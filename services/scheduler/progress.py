"""Progress of user code, as the ledger and people have it."""

from __future__ import annotations

import json

from hangar.core.v1.progress_pb2 import Progress

_LONGEST_MESSAGE = 200


def progress_text(progress: Progress) -> str:
    """Returns it as JSON with the names of its fields."""
    content = {"done": progress.done, "total": progress.total, "message": progress.message[:_LONGEST_MESSAGE]}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def progress_words(progress: Progress) -> str:
    """Returns it in words, such as "30 of 100: reading"."""
    amount = f"{progress.done:,.10g}"
    if progress.total:
        amount += f" of {progress.total:,.10g}"
    message = progress.message[:_LONGEST_MESSAGE]
    return f"{amount}: {message}" if message else amount
