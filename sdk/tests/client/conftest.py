"""Fixtures of the client's tests: a backend in this process, user code in files, a clean session."""

from __future__ import annotations

import importlib
import os
import stat
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from flyte._client import _embedded
from flyte._client._local_builder import builder_directory
from flyte._client._loop import LOOP
from flyte._initialize import uninstall
from sdk.tests.client.fake_admin import FakeAdmin

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No configuration of the machine takes part, and no session survives."""
    for name in (
        "UCTL_CONFIG",
        "FLYTECTL_CONFIG",
        "FLYTE_ADMIN_ENDPOINT",
        "FLYTE_TASK_PROJECT",
        "FLYTE_API_KEY",
    ):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HANGAR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    uninstall()
    yield
    uninstall()


@pytest.fixture
def admin():
    """A backend whose runs stay queued until the test moves them."""
    with FakeAdmin() as running:
        yield running


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """Makes modules of user code: ``user_module(name, text)`` imports one from a directory of its own."""
    root = tmp_path / "code"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    made = []

    def make(name, text):
        path = root.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
        importlib.invalidate_caches()
        made.append(name)
        return importlib.import_module(name)

    make.root = root
    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture
def python_without_hangar(tmp_path, monkeypatch):
    """A Python whose directory has no hangar command."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def hangar(python_without_hangar):
    """A hangar command next to this Python; stopped at the end."""
    real = Path(sys.base_prefix, "bin", "python3")
    packages = os.pathsep.join(path for path in sys.path if path)
    command = python_without_hangar / "hangar"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT}{os.pathsep}{packages} exec {real} -m sdk.tests.client.fake_hangar "$@"\n'
    )
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    yield command
    LOOP.run(_embedded.stop_backend())
    LOOP.run(_embedded.stop_backend(builder_directory()))
