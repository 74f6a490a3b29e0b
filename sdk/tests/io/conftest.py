"""A directory for bulk data of each test's own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def raw_data(tmp_path, monkeypatch):
    """Where local mode puts data, empty at first."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path / "flyte" / "raw_data"
