"""Fixtures of the client's tests: a backend in this process, user code in files, a clean session."""

from __future__ import annotations

import importlib
import sys
import tempfile
import textwrap

import pytest

from flyte._initialize import uninstall
from sdk.tests.client.fake_admin import FakeAdmin


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
