"""Credentials of image registries: a file of the operator, as `docker login` writes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from services.common.errors import FailedPrecondition
from services.common.registry_secrets import registry_of

_REFUSED = re.compile(
    r"unauthorized|authentication required|no basic auth|access (is |to the resource is )?denied|forbidden|\b40[13]\b",
    re.IGNORECASE,
)
_KEYS = ("auths", "credHelpers", "credsStore")


class RegistryCredentials:
    """What registries want to be shown.

    Args:
        path: The file, in the format of Docker's ``config.json``. None for that of Docker's command line.
        setting: Name of the setting that names it, for messages.
    """

    def __init__(self, path: Path | None, setting: str) -> None:
        self._path = path
        self._setting = setting

    def check(self) -> None:
        """Reads the file.

        Raises:
            FailedPrecondition: It cannot be read, or has no credentials (reason ``REGISTRY_CREDENTIALS_INVALID``).
        """
        if self._path is None:
            return
        problem = ""
        try:
            content = json.loads(self._path.read_text())
            if not isinstance(content, dict) or not any(
                isinstance(content.get(key), (dict, str)) for key in _KEYS
            ):
                problem = f"it has none of {', '.join(_KEYS)}"
        except (OSError, ValueError) as error:
            # What a file of secrets has in it is in no message.
            problem = error.strerror or "it cannot be read" if isinstance(error, OSError) else "it is no JSON"
        if problem:
            message = (
                f"{self._setting} names {self._path}, which has no credentials of registries: {problem}. Write it with "
                "`docker --config DIRECTORY login REGISTRY`, and name DIRECTORY/config.json"
            )
            raise FailedPrecondition(message, reason="REGISTRY_CREDENTIALS_INVALID")

    def file(self) -> str | None:
        """Returns the path of the file as it is now, None for that of Docker's command line.

        Raises:
            FailedPrecondition: As `check`.
        """
        self.check()
        return str(self._path) if self._path is not None else None

    def load_into(self, api: Any) -> None:
        """Gives the credentials, as the file has them now, to a client of the Docker engine.

        Raises:
            FailedPrecondition: As `check`.
        """
        if self._path is not None:
            self.check()
            api.reload_config(str(self._path))

    def unusable(self, host: str, problem: str) -> FailedPrecondition:
        """What to tell people when the credentials for a registry cannot be had.

        Args:
            host: Host and port of the registry.
            problem: Why.
        """
        source = str(self._path) if self._path is not None else "`docker login`"
        message = (
            f"the credentials of {source} for the registry {host} cannot be had: {problem}. Mend the helper, or "
            f"name a file with the credentials in it, in the format of Docker's config.json, in {self._setting}"
        )
        return FailedPrecondition(message, reason="REGISTRY_CREDENTIALS_INVALID")

    def explained(self, reference: str, problem: str) -> str:
        """Adds what to do to the words of a registry that wants other credentials.

        Args:
            reference: Address of an image in it.
            problem: Its words.
        """
        if not is_refusal(problem):
            return problem
        source = f"those of {self._path}" if self._path is not None else "those of `docker login`, or none"
        return (
            f"{problem}\nThe registry {registry_of(reference)} did not take the credentials ({source}): name a file "
            f"with the right ones, in the format of Docker's config.json, in {self._setting}"
        )


def is_refusal(problem: str) -> bool:
    """Says whether the words of a registry mean that it wants other credentials."""
    return bool(_REFUSED.search(problem))
