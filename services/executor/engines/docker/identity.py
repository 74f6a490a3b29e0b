"""The identity of a state directory, by which its containers are told from those of other executors."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from services.common.data_directory import write_atomically
from services.common.errors import FailedPrecondition

_FILE = "identity"
_IDENTITY = re.compile(r"[0-9a-f]{8}")


def identity_of(state: Path) -> str:
    """Returns the identity of a state directory: eight hexadecimal digits, made once and kept in it.

    Raises:
        FailedPrecondition: The file that keeps it is damaged.
    """
    path = state / _FILE
    if not path.exists():
        write_atomically(path, secrets.token_hex(4) + "\n")
    identity = path.read_text().strip()
    if not _IDENTITY.fullmatch(identity):
        raise FailedPrecondition(
            f"{path} holds {identity[:40]!r} and not the identity of an executor: write the value of the label "
            "hangar.executor of its containers into it, or remove the file when there are none",
            reason="IDENTITY_DAMAGED",
        )
    return identity
