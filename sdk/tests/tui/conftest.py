"""Fixtures of the text interface's tests: a store of local runs."""

from __future__ import annotations

import pytest

from flyte._local._store import LocalStore


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store, results and records of runs, of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return LocalStore(tmp_path / "local")
