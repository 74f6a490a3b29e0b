"""Settings of the host reach builds, for uv and pip alike, and passwords are not shown."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from shutil import which

import certifi
import pytest

from services.common.errors import FailedPrecondition
from services.image_builder.host_settings import HostSettings, read_host_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with nothing in it; system-wide files are left aside."""
    monkeypatch.setattr("sys.prefix", str(tmp_path / "none"))
    return tmp_path


def read(home: Path, index_url: str = "", **environ: str) -> tuple[dict[str, str], HostSettings]:
    """What builds get on a host with this environment; pip's files of this machine are left aside."""
    environ = {"HOME": str(home), "PIP_CONFIG_FILE": "/dev/null", **environ}
    settings = read_host_settings(environ, index_url)
    lines = settings.files.get("settings", b"").decode().partition("return 0\n")[0].splitlines()
    pairs = (line.removeprefix("export ").partition("=") for line in lines)
    return {name: value.strip("'") for name, _, value in pairs}, settings


def test_nothing_gives_nothing(home: Path) -> None:
    """A host without settings gives builds no secret at all."""
    variables, settings = read(home, PATH="/bin", HANGAR_X="1", PIP_VERBOSE="1")
    assert variables == {}
    assert settings.files == {}


def test_pip_settings_count_for_uv(home: Path) -> None:
    """Pip's index, extra indexes and trusted hosts are uv's too; the environment wins over the file."""
    path = home / "pip.conf"
    path.write_text(
        "[global]\nindex-url = https://a.example\nextra-index-url =\n    https://b.example\n    https://c.example\n"
    )
    variables, _ = read(
        home, PIP_CONFIG_FILE=str(path), PIP_TRUSTED_HOST="a.example", PIP_INDEX_URL="https://d.example"
    )
    assert variables["PIP_INDEX_URL"] == variables["UV_DEFAULT_INDEX"] == "https://d.example"
    assert variables["PIP_EXTRA_INDEX_URL"] == variables["UV_INDEX"] == "https://b.example https://c.example"
    assert variables["UV_INSECURE_HOST"] == "a.example"


def test_uv_has_the_last_word_on_itself(home: Path) -> None:
    """Settings of uv are taken as they are."""
    variables, _ = read(
        home, PIP_INDEX_URL="https://p.example", UV_INDEX_URL="https://u.example", UV_CACHE_DIR="/c"
    )
    assert variables == {"PIP_INDEX_URL": "https://p.example", "UV_INDEX_URL": "https://u.example"}


def test_the_operators_index_wins(home: Path) -> None:
    """The setting of the image builder stands over those of its host."""
    variables, _ = read(
        home, "https://mine.example", PIP_INDEX_URL="https://p.example", UV_INDEX_URL="https://u.example"
    )
    assert variables == {"PIP_INDEX_URL": "https://mine.example", "UV_DEFAULT_INDEX": "https://mine.example"}


def test_places_on_disk_are_left_out_and_said(home: Path) -> None:
    """A directory of this host is no index inside a build: each is left out with one note."""
    variables, settings = read(
        home, PIP_EXTRA_INDEX_URL="file:///srv/simple https://b.example", PIP_FIND_LINKS="/wheels"
    )
    assert variables == {"PIP_EXTRA_INDEX_URL": "https://b.example", "UV_INDEX": "https://b.example"}
    assert sorted(note.partition(", which")[0].rpartition(" ")[2] for note in settings.notes) == [
        "/wheels",
        "file:///srv/simple",
    ]


@pytest.mark.parametrize("shell", [each for each in ("sh", "bash", "busybox sh") if which(each.split()[0])])
def test_proxies_and_certificates(home: Path, shell: str) -> None:
    """Proxies are passed on in both spellings; one file is the shell's, and the bundle of certificates."""
    variables, settings = read(home, HTTPS_PROXY="http://p:1", no_proxy="x", SSL_CERT_FILE=certifi.where())
    assert variables["HTTPS_PROXY"] == "http://p:1"
    assert variables["no_proxy"] == "x"
    assert variables["SSL_CERT_FILE"] == variables["PIP_CERT"] == "/dev/hangar/host/settings"
    file = home / "settings"
    file.write_bytes(settings.files["settings"])
    script = f'set -eu; . {file}; echo "$no_proxy $PIP_CERT"'
    said = subprocess.run([*shell.split(), "-c", script], capture_output=True, text=True, check=True, env={})
    assert (said.stdout, said.stderr) == ("x /dev/hangar/host/settings\n", "")
    found, wanted = (ssl.create_default_context(cafile=str(path)) for path in (file, certifi.where()))
    assert found.get_ca_certs() == wanted.get_ca_certs() != []


def test_passwords_are_hidden(home: Path) -> None:
    """Passwords of addresses, of variables, of netrc and of the definition do not show in texts."""
    (home / ".netrc").write_text("machine h login me password netrcsecret\n")
    _, settings = read(home, PIP_INDEX_URL="https://me:p%40ss@h.example", UV_INDEX_CORP_PASSWORD="corpsecret")
    redaction = settings.redaction.hiding_addresses("uv --index https://you:defsecret@x.example/simple")
    text = "https://me:p%40ss@h p@ss corpsecret netrcsecret defsecret"
    assert redaction.redact(text) == "https://me:****@h **** **** **** ****"


def test_files_that_cannot_be_used_are_named(home: Path) -> None:
    """A bundle that is not there, or is too large for a build secret, is refused with its path."""
    with pytest.raises(
        FailedPrecondition, match=r"/none\.pem cannot be handed to image builds: No such file"
    ):
        read(home, SSL_CERT_FILE="/none.pem")
    (home / "big.pem").write_bytes(b"x" * 600_000)
    with pytest.raises(FailedPrecondition, match="has 600000 bytes, and builds take up to 512000"):
        read(home, SSL_CERT_FILE=str(home / "big.pem"))
