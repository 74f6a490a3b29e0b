"""config.yaml: where it is looked for, what it may say, what overrides it."""

from __future__ import annotations

import logging

import pytest

import flyte
from flyte import config
from flyte._initialize import require_session
from flyte.errors import InitializationError

GOOD = """
admin:
  endpoint: dns:///flyte.example.com
  insecure: true
task:
  project: digits
  domain: staging
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test works in an empty directory."""
    work = tmp_path / "repo" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    return work


def write(path, text):
    """Writes a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_reads_every_section(here):
    """What the file says is in the configuration."""
    found = config.load(write(here / "config.yaml", GOOD))
    assert found.admin == config.AdminConfig("dns:///flyte.example.com", insecure=True)
    assert found.task == config.TaskConfig("digits", "staging")


def test_who_builds_images(here, monkeypatch):
    """File, environment and `init` say what builds images, and where they go."""
    path = write(here / "config.yaml", "image: {builder: local, registry: ghcr.io/team/}")
    assert config.load(path).image == config.ImageConfig(builder="local", registry="ghcr.io/team")
    flyte.init_from_config(path, image_builder="remote")
    assert not require_session().builds_locally
    flyte.init(image_builder="local")
    assert require_session().builds_locally
    with pytest.raises(InitializationError, match="image_builder = 'docker' is not one of local, remote"):
        flyte.init(image_builder="docker")
    monkeypatch.setenv("FLYTE_IMAGE_BUILDER", "local")
    monkeypatch.setenv("FLYTE_IMAGE_REGISTRY", "localhost:5000")
    assert config.load(None).image == config.ImageConfig(builder="local", registry="localhost:5000")


def test_defaults_without_any_file():
    """Without a file: the embedded backend, project default, domain development."""
    found = config.auto()
    assert (found.admin.endpoint, found.task.project, found.task.domain) == (None, "default", "development")
    assert found.source is None


def test_search_order(here, monkeypatch, tmp_path):
    """Each place wins over the ones that come after it."""
    (here.parent / ".git").mkdir()
    home = tmp_path / "home"
    monkeypatch.setenv("UCTL_CONFIG", str(tmp_path / "uctl.yaml"))
    monkeypatch.setenv("FLYTECTL_CONFIG", str(tmp_path / "flytectl.yaml"))
    places = [
        here / "config.yaml",
        here / ".flyte" / "config.yaml",
        here.parent / ".flyte" / "config.yaml",
        tmp_path / "uctl.yaml",
        tmp_path / "flytectl.yaml",
        home / ".union" / "config.yaml",
        home / ".flyte" / "config.yaml",
    ]
    for place in reversed(places):
        write(place, GOOD)
        assert config.find_file() == place


def test_environment_overrides_the_file(here, monkeypatch):
    """FLYTE_<SECTION>_<KEY> wins over the file."""
    write(here / "config.yaml", GOOD)
    monkeypatch.setenv("FLYTE_ADMIN_ENDPOINT", "localhost:1")
    monkeypatch.setenv("FLYTE_ADMIN_INSECURE", "no")
    found = config.auto()
    assert found.admin == config.AdminConfig("localhost:1", insecure=False)
    assert found.task.project == "digits"
    assert found.overrides == ("FLYTE_ADMIN_ENDPOINT", "FLYTE_ADMIN_INSECURE")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("admin: {endpint: x}", ["admin.endpint", "'endpoint'"]),
        ("admn: {endpoint: x}", ["'admn'", "'admin'"]),
        ("admin: {insecure: maybe}", ["admin.insecure", "'maybe'", "true or false"]),
        ("admin: {endpoint: 5}", ["admin.endpoint", "5", "a text"]),
        ("admin: x", ["section admin", "'x'"]),
        ("- a", ["must contain sections", "list"]),
        ("admin: {", ["not valid YAML"]),
        ("admin: {authType: Magic}", ["admin.authType", "'Magic'", "Pkce, ClientSecret"]),
        ("admin: {clientId: x}", ["admin.clientId", "'x'", "FLYTE_API_KEY"]),
        ("image: {builder: docker}", ["image.builder", "'docker'", "local, remote"]),
        ("image: {registry: ghcr.io/team}", ["image.registry", "'ghcr.io/team'", "image.builder to local"]),
        (
            "image: {builder: local, registry: 'https://x'}",
            ["image.registry", "'https://x'", "without a scheme"],
        ),
        ("task: {org: acme}", ["task.org", "'acme'"]),
    ],
)
def test_wrong_content_is_named(here, text, words):
    """An error names the file's key and value, and the nearest valid name or what to do."""
    path = write(here / "config.yaml", text)
    with pytest.raises(InitializationError) as caught:
        config.load(path)
    for word in words:
        assert word in str(caught.value)


def test_wrong_override_is_named(monkeypatch):
    """An error names the variable and its value."""
    monkeypatch.setenv("FLYTE_ADMIN_INSECURE", "maybe")
    with pytest.raises(InitializationError, match="FLYTE_ADMIN_INSECURE = 'maybe' is not true or false"):
        config.auto()


def test_missing_explicit_file_has_its_code(here):
    """A file that was named and is missing is an error with a code of its own."""
    with pytest.raises(InitializationError, match="does not exist") as caught:
        flyte.init_from_config("nowhere.yaml")
    assert caught.value.code == "ConfigFileNotFoundError"


async def test_init_from_config_has_a_twin(here):
    """The configuration is used after `await flyte.init_from_config.aio()`, with overrides by argument."""
    write(here / "config.yaml", GOOD)
    await flyte.init_from_config.aio(project="other")
    session = require_session()
    assert (session.project, session.domain) == ("other", "staging")
    assert session.config.admin.endpoint == "dns:///flyte.example.com"


def test_init_refuses_what_is_not_built():
    """A documented parameter without its feature is refused by name."""
    with pytest.raises(flyte.errors.FeatureNotAvailableError, match="headless=True"):
        flyte.init(headless=True)
    with pytest.raises(flyte.errors.FeatureNotAvailableError, match="client_credentials_secret") as caught:
        flyte.init(client_credentials_secret="hush")
    assert "hush" not in str(caught.value)
    with pytest.raises(TypeError, match=r"flyte\.storage\.S3"):
        flyte.init_from_config(storage=object())


def test_init_chooses_how_the_sdk_logs(capfd, monkeypatch):
    """`log_format` holds from `init` on; what is no format is refused."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of the test runner
    try:
        flyte.init(log_format="json")
        flyte.logger.info("as an object")
    finally:
        flyte.init_from_config(log_format="console")
    assert '"message": "as an object"' in capfd.readouterr().err
    with pytest.raises(ValueError, match="log_format='xml' must be"):
        flyte.init(log_format="xml")


@pytest.mark.parametrize("endpoint", ["", "dns:///", "a b", "host:port", "http://"])
def test_init_refuses_what_is_no_address(endpoint):
    """An endpoint that is no address is refused with its value."""
    with pytest.raises(InitializationError, match="is not an address"):
        flyte.init(endpoint=endpoint)


def test_init_refuses_a_root_that_is_no_directory(here):
    """A root directory that does not exist is refused with its value."""
    with pytest.raises(InitializationError, match="'nowhere' is not a directory"):
        flyte.init(root_dir="nowhere")


def test_init_in_cluster_is_for_tasks_or_names_a_backend(monkeypatch):
    """In a task it does nothing; elsewhere it needs an endpoint, and is then as init."""
    with pytest.raises(flyte.errors.InitializationError, match="no task of the platform") as caught:
        flyte.init_in_cluster()
    assert caught.value.code == "NotInClusterError"
    flyte.init_in_cluster(endpoint="localhost:1", insecure=True, project="p")
    assert require_session().project == "p"
    monkeypatch.setattr("flyte._initialize.in_worker", lambda: True)
    flyte.init_in_cluster(project="other")
    assert require_session().project == "p"
