"""What registries want to be shown when a host pulls: credentials of the host, and those that authors name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.common.errors import InvalidArgument
from services.common.image_definition import KINDS, parse_definition
from services.common.registry_credentials import RegistryCredentials
from services.common.registry_secrets import RegistrySecret, read_registry_secret
from services.common.secret_directory import SecretDirectory
from services.executor.engines.base import ImageFailedError

NO_CREDENTIALS = RegistryCredentials(None, "HANGAR_EXECUTOR_REGISTRY_CREDENTIALS")
"""Those of Docker's command line."""
NO_SECRETS = SecretDirectory(None, "HANGAR_EXECUTOR_REGISTRY_SECRETS")


@dataclass(frozen=True, slots=True)
class Login:
    """What is shown for one image.

    Attributes:
        key: Key of the secret that its author names, empty for none.
        secret: What is in it, None when this host has none of that key.
    """

    key: str = ""
    secret: RegistrySecret | None = None


class Logins:
    """Credentials for pulls, read each time.

    Args:
        credentials: Those of the host.
        secrets: Those of authors, by the key that `registry_secret=` of their images names.
    """

    def __init__(self, credentials: RegistryCredentials, secrets: SecretDirectory) -> None:
        self._credentials = credentials
        self._secrets = secrets

    def of(self, definition_json: str) -> Login:
        """Returns what is shown for the image of a definition.

        Raises:
            ImageFailedError: The secret that it names has something else in it (code "RegistrySecretInvalid").
            HangarError: The secret cannot be read.
        """
        definition = parse_definition(definition_json, KINDS, _unknown)
        key = definition.registry_secret
        content = self._secrets.get(key) if key else None
        if content is None:
            return Login(key)
        try:
            return Login(key, read_registry_secret(key, content, definition.registry))
        except InvalidArgument as error:
            message = f"{self._secrets.place(key)}: {error.message}"
            raise ImageFailedError("RegistrySecretInvalid", message) from error

    def options(self, api: Any, reference: str, login: Login) -> dict[str, Any]:
        """Returns what the Docker library's `pull` is given, and gives a client the credentials of the host.

        Raises:
            FailedPrecondition: The host's cannot be read.
        """
        shown = login.secret.login_for(reference) if login.secret is not None else None
        if shown is not None:
            return {"auth_config": shown}
        self._credentials.load_into(api)
        return {}

    def explained(self, reference: str, problem: str, login: Login) -> str:
        """Adds what to do to the words of a registry that does not give an image."""
        if login.secret is not None and login.secret.login_for(reference) is not None:
            return f"{login.secret.explained(reference, problem)}: {self._secrets.place(login.key)}"
        problem = self._credentials.explained(reference, problem)
        if not login.key or login.secret is not None:
            return problem
        return (
            f"{problem}\nThe image names registry_secret={login.key!r}, and this host has no such secret: put it where "
            f"hosts look for it: {self._secrets.place(login.key)}"
        )


def _unknown(where: str, kind: str) -> Exception:
    return ImageFailedError(
        "InvalidImageDefinition", f"image definition: {where} is {kind!r}, which is not known"
    )
