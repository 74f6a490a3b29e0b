import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from services.common.errors import InvalidArgument
from services.common.settings import ServiceSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="HANGAR_TEST_")

    http_port: int = 8080
    name: str = ""


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("HANGAR_", "OTEL_")):
            monkeypatch.delenv(name)


def test_the_environment_and_the_caller_are_read(monkeypatch):
    """Own names have the prefix, shared ones have not, and what the caller gives wins; None is not given."""
    monkeypatch.setenv("HANGAR_TEST_HTTP_PORT", "1234")
    monkeypatch.setenv("HANGAR_TEST_NAME", "there")
    monkeypatch.setenv("HANGAR_DATA_DIR", "/data")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    settings = Settings.load(name="here", http_port=None, log_level="debug")
    assert (settings.http_port, settings.name, settings.data_dir) == (1234, "here", Path("/data"))
    assert (settings.otlp_endpoint, settings.log_level) == ("http://127.0.0.1:1", "debug")


def test_unknown_names_are_refused_with_what_was_meant(monkeypatch):
    """A name below the prefix that is no setting is refused with the nearest names; others are left."""
    monkeypatch.setenv("HANGAR_OTHER_THING", "1")
    assert Settings.load().http_port == 8080
    monkeypatch.setenv("HANGAR_TEST_HTP_PORT", "1")
    with pytest.raises(InvalidArgument, match=r"HANGAR_TEST_HTP_PORT .* did you mean HANGAR_TEST_HTTP_PORT"):
        Settings.load()


def test_wrong_values_are_refused_by_name(monkeypatch):
    """Every wrong value is named with its variable, in one message."""
    monkeypatch.setenv("HANGAR_TEST_HTTP_PORT", "many")
    monkeypatch.setenv("HANGAR_LOG_LEVEL", "loud")
    with pytest.raises(InvalidArgument) as caught:
        Settings.load()
    assert "HANGAR_TEST_HTTP_PORT is 'many'" in caught.value.message
    assert "HANGAR_LOG_LEVEL is 'loud'" in caught.value.message
    with pytest.raises(InvalidArgument, match="colour is not a setting"):
        Settings.load(colour="red")


def test_settings_are_frozen():
    """Settings cannot be changed."""
    with pytest.raises(ValidationError):
        Settings.load().name = "other"
