"""Errors that services raise. They know nothing of gRPC; `grpc_errors` maps them."""

from __future__ import annotations

import re


class HangarError(Exception):
    """An error with a message for people and a reason for programs.

    Args:
        message: What was wrong, where, and what to do about it.
        reason: Stable name of the case in upper snake case, such as ``"RUN_ALREADY_EXISTS"``.
            Empty: the name of the class.
        metadata: Further facts for programs, such as ``run="abc"``. Values are turned into text.
    """

    def __init__(self, message: str, *, reason: str = "", **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).upper()
        self.metadata = {key: str(value) for key, value in metadata.items()}

    def __str__(self) -> str:
        return self.message


class InvalidArgument(HangarError):
    """The request is wrong, whatever the state of the system."""


class NotFound(HangarError):
    """What the request names does not exist."""


class AlreadyExists(HangarError):
    """What the request creates exists already, and differs."""


class FailedPrecondition(HangarError):
    """The system is not in a state that allows the request."""


class Unavailable(HangarError):
    """A part is not reachable right now; trying again later can help."""


class Unauthenticated(HangarError):
    """The caller did not say, or not prove, who it is."""


class PermissionDenied(HangarError):
    """The caller may not do this."""


class ResourceExhausted(HangarError):
    """A limit or a quota is used up."""


class Unimplemented(HangarError):
    """This version cannot do that yet."""


class Internal(HangarError):
    """A defect of the platform. The message carries no internals."""
