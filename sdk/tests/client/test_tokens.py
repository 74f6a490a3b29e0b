"""Tokens: where they come from, where they go, and how a backend's refusal is told."""

import json
import subprocess

import pytest

import flyte
import flyte.remote
from flyte import config, errors
from flyte._client._channel import Endpoint
from flyte._initialize import require_session
from sdk.tests.client.fake_admin import FakeAdmin

TOKEN = "hgr_0123456789abcdefghij"


@pytest.fixture
def guarded(admin):
    """A backend that demands the token."""
    admin.token = TOKEN
    return admin


def projects() -> list[str]:
    """Asks the backend for something."""
    return [project.id for project in flyte.remote.Project.listall()]


def test_the_token_is_shown_with_every_call(guarded, monkeypatch, user_module):
    """`api_key` and FLYTE_API_KEY reach unary calls and streams; the argument wins."""
    module = user_module(
        "flow", "import flyte\nenv = flyte.TaskEnvironment(name='e')\n@env.task\ndef f(x: int): pass\n"
    )
    monkeypatch.setenv("FLYTE_API_KEY", "another one")
    flyte.init(endpoint=guarded.endpoint, insecure=True, api_key=TOKEN, root_dir=user_module.root)
    assert projects() == ["default"]
    monkeypatch.setenv("FLYTE_API_KEY", f"{TOKEN}\n")
    flyte.init_from_api_key(guarded.endpoint, insecure=True, root_dir=user_module.root)
    run = flyte.run(module.f, x=1)
    guarded.succeed(guarded.runs[run.name])
    run.wait()  # watches a stream
    assert "WatchActions" in guarded.calls


@pytest.mark.parametrize(("key", "code"), [(None, "TokenMissingError"), (TOKEN[:-1], "TokenWrongError")])
def test_a_refusal_is_an_error_of_its_own(guarded, key, code):
    """A missing or wrong token is an `AuthenticationError` that says what to do, and is not tried again."""
    flyte.init(endpoint=guarded.endpoint, insecure=True, api_key=key)
    with pytest.raises(errors.AuthenticationError, match="FLYTE_API_KEY") as caught:
        projects()
    assert caught.value.code == code
    assert guarded.calls == []


def test_ways_to_sign_in_are_refused_when_one_is_needed(guarded):
    """An authType is named when the backend demands a token and there is none; with a token it does not matter."""
    flyte.init(endpoint=guarded.endpoint, insecure=True, auth_type="Pkce")
    with pytest.raises(errors.AuthenticationError, match=r"authType 'Pkce' is not available.*FLYTE_API_KEY"):
        projects()
    flyte.init(endpoint=guarded.endpoint, insecure=True, auth_type="Pkce", api_key=TOKEN)
    assert projects() == ["default"]
    guarded.token = ""
    flyte.init(endpoint=guarded.endpoint, insecure=True, auth_type="DeviceFlow")
    assert projects() == ["default"]
    with pytest.raises(errors.InitializationError, match="auth_type = 'Magic' is not one of Pkce"):
        flyte.init(auth_type="Magic")


def test_a_token_does_not_go_over_plain_text_unasked(guarded):
    """http:// to another machine is refused with a token unless insecure=True says that it is meant."""
    flyte.init(endpoint="http://example.com:1", api_key=TOKEN)
    with pytest.raises(errors.InitializationError, match="in plain text") as caught:
        projects()
    assert TOKEN not in str(caught.value)
    flyte.init(endpoint=f"http://{guarded.endpoint}", api_key=TOKEN)  # this machine
    assert projects() == ["default"]


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost:1", True),
        ("127.0.0.2:1", True),
        ("[::1]:1", True),
        ("10.0.0.1:1", False),
        ("localhost.example", False),
    ],
)
def test_this_machine_is_recognised(address, local):
    """Loopback addresses and localhost are this machine, names that only look so are not."""
    assert Endpoint.parse(address).is_loopback is local


def test_the_token_is_shown_nowhere(monkeypatch, tmp_path):
    """Neither the session, the configuration, nor errors about it hold the token; a file with one is refused."""
    monkeypatch.setenv("FLYTE_API_KEY", TOKEN)
    flyte.init(endpoint="localhost:1", api_key=TOKEN)
    assert TOKEN not in repr(require_session())
    path = tmp_path / "config.yaml"
    path.write_text(f"admin: {{apiKey: {TOKEN}}}")
    with pytest.raises(errors.InitializationError, match=r"admin\.apiKey: .*FLYTE_API_KEY") as caught:
        config.load(path)
    assert TOKEN not in str(caught.value)
    with pytest.raises(errors.InitializationError, match="cannot be sent") as broken:
        flyte.init(api_key=f"{TOKEN} x")
    assert TOKEN not in str(broken.value)


def test_init_from_api_key_needs_one():
    """Without a token anywhere it says where to put it."""
    with pytest.raises(errors.InitializationError, match="FLYTE_API_KEY") as caught:
        flyte.init_from_api_key("localhost:1")
    assert caught.value.code == "ApiKeyMissingError"


def test_the_embedded_backends_token_is_found(guarded, tmp_path):
    """For the backend of this machine the token is read from the file that it names."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "data").mkdir()
    content = {
        "pid": 1,
        "grpc": guarded.endpoint,
        "http": "http://127.0.0.1:1",
        "token_file": str(tmp_path / "token"),
    }
    (tmp_path / "data" / "backend.json").write_text(json.dumps(content))
    flyte.init()
    assert projects() == ["default"]


def test_tls_with_a_certificate_of_ones_own(tmp_path, monkeypatch):
    """A backend with TLS is reached when its certificate is trusted by `ca_cert_file_path`, and only then."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", *ec, *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    backend = FakeAdmin()
    backend.token, backend.tls = TOKEN, (key.read_bytes(), certificate.read_bytes())
    with backend:
        address = f"localhost:{backend.port}"
        flyte.init(endpoint=address, api_key=TOKEN, ca_cert_file_path=str(certificate))
        assert projects() == ["default"]
        monkeypatch.setenv("FLYTE_ADMIN_CACERTFILEPATH", str(certificate))
        monkeypatch.setenv("FLYTE_ADMIN_ENDPOINT", f"dns:///{address}")
        monkeypatch.setenv("FLYTE_API_KEY", TOKEN)
        flyte.init_from_config()
        assert projects() == ["default"]
        flyte.init(endpoint=address, api_key=TOKEN)  # the system does not trust it
        with pytest.raises(errors.RuntimeSystemError, match="No backend answers"):
            projects()
    for path, words in ((tmp_path / "none", "cannot be read"), (key, "no certificate")):
        flyte.init(endpoint="localhost:1", ca_cert_file_path=str(path))
        with pytest.raises(errors.InitializationError, match=words):
            projects()
