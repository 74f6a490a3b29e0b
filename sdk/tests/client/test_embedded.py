"""The embedded backend: found, started, stopped."""

from __future__ import annotations

import pytest

import flyte
from flyte._client import _embedded, _programs
from flyte._client._addresses import data_directory, read_backend_file
from flyte._client._loop import LOOP
from flyte.errors import InitializationError


def test_without_hangar_the_error_says_which_commands_help(python_without_hangar):
    """The message has the command to connect and the command to install."""
    with pytest.raises(InitializationError) as caught:
        LOOP.run(_embedded.ensure_backend())
    assert "flyte create config --endpoint" in str(caught.value)
    assert "pip install" in str(caught.value)


def test_starts_is_found_and_stops(hangar):
    """It is started once, said so with its address and how to stop it, found again, and stopped."""
    said = []
    first = LOOP.run(_embedded.ensure_backend(said.append))
    assert _programs.process_exists(first.pid)
    assert first.grpc in said[-1]
    assert "flyte stop" in said[-1]
    assert LOOP.run(_embedded.ensure_backend(said.append)) == first
    assert len(said) == 2
    stopped = LOOP.run(_embedded.stop_backend())
    assert stopped is not None
    assert not _programs.process_exists(first.pid)
    assert LOOP.run(_embedded.stop_backend()) is None


def test_init_without_configuration_uses_it(hangar, tmp_path, monkeypatch, capsys):
    """With no configuration at all, the first call starts it, and says so on standard error."""
    monkeypatch.chdir(tmp_path)
    flyte.init_from_config()
    assert [project.id for project in flyte.remote.Project.listall()] == ["default"]
    captured = capsys.readouterr()
    assert "flyte stop" in captured.err
    assert captured.out == ""


def test_a_start_that_fails_shows_what_it_said(hangar, monkeypatch):
    """The message has the exit code and the backend's own words."""
    monkeypatch.setenv("FAKE_HANGAR_FAILS", "1")
    with pytest.raises(InitializationError, match=r"exit code 3.*\n.*database is newer") as caught:
        LOOP.run(_embedded.ensure_backend(lambda _: None))
    assert caught.value.code == "BackendStartError"


def test_a_data_directory_that_cannot_be_written_is_named(hangar, tmp_path, monkeypatch):
    """The message names the directory and the variable that moves it."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HANGAR_DATA_DIR", str(tmp_path / "file" / "data"))
    with pytest.raises(InitializationError, match="HANGAR_DATA_DIR"):
        LOOP.run(_embedded.ensure_backend(lambda _: None))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "grpc": "a", "http": "b"}'])
def test_half_written_files_are_no_backend(content):
    """A file that is not whole is as good as none."""
    data_directory().mkdir(parents=True)
    (data_directory() / "backend.json").write_text(content)
    assert read_backend_file(data_directory()) is None
    assert LOOP.run(_embedded.find_backend()) is None


def test_a_file_of_a_dead_process_is_no_backend(admin):
    """What a killed backend left behind does not count, even when something else answers there."""
    data_directory().mkdir(parents=True)
    content = f'{{"pid": 4194304, "grpc": "{admin.endpoint}", "http": "x"}}'
    (data_directory() / "backend.json").write_text(content)
    assert LOOP.run(_embedded.find_backend()) is None
