"""Small JSON bodies of requests."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from services.common.errors import InvalidArgument


async def read_json(request: Request, longest: int, field: str) -> Any:
    """Returns what a body says; an empty body is an empty object, and one that is no JSON is None.

    Args:
        request: The request.
        longest: Most bytes that are read.
        field: What the body is for, for the error.

    Raises:
        InvalidArgument: It is longer.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > longest:
            raise InvalidArgument(f"the body has more than {longest} bytes", field=field)
    try:
        return json.loads(body or b"{}")
    except ValueError:
        return None
