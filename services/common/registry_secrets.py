"""Credentials of registries that authors bring: the secret that `registry_secret=` of an image names."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common.errors import InvalidArgument

_HUB = "docker.io"
HUB_KEY = f"https://index.{_HUB}/v1/"
"""What Docker Hub is called where credentials are kept."""
_HUB_HOSTS = frozenset({_HUB, "index.docker.io", "registry-1.docker.io"})
_HOW = (
    'store user:password for the registry that registry= names, or the text of a Docker config.json ({"auths": …}) '
    "with the credentials in it"
)


@dataclass(frozen=True, slots=True)
class Login:
    """What one registry wants to be shown.

    Attributes:
        user: User.
        password: Password; empty with a token.
        token: Identity token in place of a password.
    """

    user: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RegistrySecret:
    """The credentials in one secret.

    Attributes:
        key: Key of the secret.
        logins: What registries want to be shown, by host and port.
    """

    key: str
    logins: Mapping[str, Login]

    @property
    def passwords(self) -> tuple[bytes, ...]:
        """What must not be shown."""
        texts = [
            text for login in self.logins.values() for text in (login.password, login.token, _auth(login))
        ]
        return tuple(text.encode() for text in texts if text)

    def login_for(self, reference: str) -> dict[str, str] | None:
        """Returns what the Docker engine shows the registry of an image, None when it is none of these."""
        host = registry_of(reference)
        login = self.logins.get(host)
        if login is None:
            return None
        server = HUB_KEY if host == _HUB else host
        if login.token:
            return {"identitytoken": login.token, "serveraddress": server}
        return {"username": login.user, "password": login.password, "serveraddress": server}

    def explained(self, reference: str, problem: str) -> str:
        """Adds what to do to the words of a registry that wants other credentials.

        Args:
            reference: Address of an image in it.
            problem: Its words.
        """
        return (
            f"{problem}\nThe registry {registry_of(reference)} did not take the credentials in the secret "
            f"{self.key!r}, which registry_secret= of the image names: give it the right ones"
        )


def read_registry_secret(key: str, content: bytes, registry: str) -> RegistrySecret:
    """Reads a secret with credentials of registries.

    Args:
        key: Its key.
        content: Its value: the text of Docker's ``config.json``, or ``user:password``.
        registry: Registry that the image goes to, which a ``user:password`` is for; empty for none.

    Raises:
        InvalidArgument: It is neither (reason ``REGISTRY_SECRET_INVALID``). The message has the key and nothing of the
            value.
    """
    text = content.decode(errors="replace").strip()
    if text.startswith("{"):
        return RegistrySecret(key, _logins(key, text))
    user, colon, password = text.partition(":")
    if not (user and colon and password) or "\n" in text:
        raise _invalid(key, "is neither user:password nor the text of a Docker config.json")
    if not registry:
        raise _invalid(key, "is user:password, and the image has no registry= that it is for")
    return RegistrySecret(key, {registry_of(f"{registry}/"): Login(user, password)})


def registry_of(reference: str) -> str:
    """Returns host and port of the registry of an image, "docker.io" where its address names none."""
    first, slash, _ = reference.partition("/")
    return _host(first) if slash and re.search(r"[.:]|^localhost$", first) else _HUB


def _logins(key: str, text: str) -> dict[str, Login]:
    try:
        config = json.loads(text)
    except ValueError:
        raise _invalid(key, "is no JSON") from None
    auths = config.get("auths")
    if not isinstance(auths, dict) or not auths:
        raise _invalid(key, 'has no "auths"')
    found = {}
    for name, entry in auths.items():
        login = _login(entry)
        if login is not None:
            found[_host(name)] = login
    if not found:
        kept = config.get("credsStore") or config.get("credHelpers")
        why = ": they are kept by a helper of the machine that it was written on" if kept else ""
        raise _invalid(key, f"has no credentials in its entries{why}")
    return found


def _login(entry: object) -> Login | None:
    if not isinstance(entry, dict):
        return None
    user, password, token = (str(entry.get(name) or "") for name in ("username", "password", "identitytoken"))
    try:
        decoded = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    if decoded:
        user, _, password = decoded.partition(":")
    password = password.rstrip("\0")
    return Login(user, password, token) if token or (user and password) else None


def _auth(login: Login) -> str:
    return base64.b64encode(f"{login.user}:{login.password}".encode()).decode()


def _host(name: str) -> str:
    host = re.sub(r"^https?://", "", name).partition("/")[0].lower()
    return _HUB if host in _HUB_HOSTS else host


def _invalid(key: str, problem: str) -> InvalidArgument:
    message = f"the secret {key!r}, which registry_secret= of the image names, {problem}: {_HOW}"
    return InvalidArgument(message, reason="REGISTRY_SECRET_INVALID", field="secrets")
