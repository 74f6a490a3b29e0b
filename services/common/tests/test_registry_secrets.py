"""Credentials of registries that authors bring are read in both forms, and show in no message."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from services.common.errors import FailedPrecondition, InvalidArgument
from services.common.registry_secrets import HUB_KEY, Login, read_registry_secret, registry_of
from services.common.secret_directory import SecretDirectory

PASSWORD = "pass:word-4711"
AUTH = base64.b64encode(f"me:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    ("reference", "registry"),
    [
        ("python:3.12", "docker.io"),
        ("team/image", "docker.io"),
        ("index.docker.io/team/image", "docker.io"),
        ("ghcr.io/team/image:1", "ghcr.io"),
        ("localhost/image", "localhost"),
        ("127.0.0.1:5000/a/b@sha256:0", "127.0.0.1:5000"),
    ],
)
def test_the_registry_of_an_image(reference: str, registry: str) -> None:
    """It is what Docker takes it for."""
    assert registry_of(reference) == registry


def test_user_and_password() -> None:
    """They are for the registry that the image goes to, and for no other; a password may have colons."""
    secret = read_registry_secret("login", f" me:{PASSWORD}\n".encode(), "ghcr.io/team")
    assert secret.logins == {"ghcr.io": Login("me", PASSWORD)}
    assert secret.login_for("ghcr.io/team/image:1") == {
        "username": "me",
        "password": PASSWORD,
        "serveraddress": "ghcr.io",
    }
    assert secret.login_for("other.example/image") is None
    assert set(secret.passwords) == {PASSWORD.encode(), AUTH.encode()}


def test_the_text_of_a_configuration_of_docker() -> None:
    """All that have credentials count, in each form that Docker writes."""
    config = {
        "auths": {
            HUB_KEY: {"auth": AUTH},
            "ghcr.io": {"username": "me", "password": PASSWORD},
            "cloud.example": {"auth": base64.b64encode(b"0000:").decode(), "identitytoken": "token-4712"},
            "empty.example": {},
        },
        "credsStore": "desktop",
    }
    secret = read_registry_secret("login", json.dumps(config).encode(), "")
    assert sorted(secret.logins) == ["cloud.example", "docker.io", "ghcr.io"]
    assert secret.login_for("python:3.12") == {
        "username": "me",
        "password": PASSWORD,
        "serveraddress": HUB_KEY,
    }
    assert secret.login_for("cloud.example/a") == {
        "identitytoken": "token-4712",
        "serveraddress": "cloud.example",
    }


@pytest.mark.parametrize(
    ("text", "registry", "problem"),
    [
        ("", "ghcr.io", "is neither user:password nor"),
        (PASSWORD[5:], "ghcr.io", "is neither user:password nor"),
        (f"me:{PASSWORD}\nmore", "ghcr.io", "is neither user:password nor"),
        (f"me:{PASSWORD}", "", "has no registry= that it is for"),
        (f'{{"auths": "{PASSWORD}', "", "is no JSON"),
        (f'{{"auth": "{PASSWORD}"}}', "", 'has no "auths"'),
        (f'{{"auths": {{"ghcr.io": {{"auth": "{PASSWORD}"}}}}}}', "", "no credentials in its entries: store"),
        ('{"auths": {"ghcr.io": {}}, "credsStore": "desktop"}', "", "kept by a helper of the machine"),
        ('{"auths": {"ghcr.io": 3}}', "", "no credentials in its entries"),
    ],
)
def test_what_has_no_credentials_is_named_and_not_shown(text: str, registry: str, problem: str) -> None:
    """The message has the key, what is wrong and both forms; of the value it has nothing."""
    with pytest.raises(InvalidArgument) as caught:
        read_registry_secret("my-login", text.encode(), registry)
    for part in ("'my-login'", problem, "user:password", '{"auths": …}'):
        assert part in caught.value.message
    assert "4711" not in caught.value.message


def test_a_directory_of_secrets(tmp_path: Path) -> None:
    """Each is read when it is asked for, without its line end; what is not there says where it would be."""
    directory = SecretDirectory(tmp_path, "SETTING")
    assert directory.get("key") is None
    assert directory.place("key") == f"{tmp_path}/key (SETTING)"
    (tmp_path / "key").write_text("value\n")
    assert directory.get("key") == b"value"
    (tmp_path / "key").unlink()
    (tmp_path / "key").mkdir()
    with pytest.raises(FailedPrecondition, match=r"'key' cannot be read: .*Is a directory.*SETTING"):
        directory.get("key")
    assert SecretDirectory(None, "SETTING").get("key") is None
    assert SecretDirectory(None, "SETTING").place("key") == "SETTING names no directory"
