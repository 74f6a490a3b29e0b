"""What the paths and queries of requests name."""

from __future__ import annotations

from starlette.requests import Request

from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from services.common.errors import InvalidArgument

RUN = "/api/v1/projects/{project}/domains/{domain}/runs/{run}"
ACTION = RUN + "/actions/{action}"


def run_of(request: Request) -> RunIdentifier:
    """Returns the run of a request."""
    parameters = request.path_params
    return RunIdentifier(project=parameters["project"], domain=parameters["domain"], name=parameters["run"])


def action_of(request: Request) -> ActionIdentifier:
    """Returns the action of a request."""
    return ActionIdentifier(run=run_of(request), name=request.path_params["action"])


def attempt_of(request: Request) -> int | None:
    """Returns the attempt that a request asks for, None for none in particular.

    Raises:
        InvalidArgument: It is no number.
    """
    text = request.query_params.get("attempt", "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 6:
        raise InvalidArgument(f"attempt is {text[:40]!r}: use a number from 0", field="attempt")
    return int(text)
