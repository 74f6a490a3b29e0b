"""What runs inside of images does not mind what it finds there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from services.image_builder.inside import install_sdk


@pytest.mark.parametrize("content", [None, "", "Name: y\n", "Version: 1\n"])
def test_packages_without_a_name_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    """A package whose metadata is missing or broken breaks no list; the others are in it."""
    fine, broken = tmp_path / "fine-1.0.dist-info", tmp_path / "x-1.0.dist-info"
    for place, text in ((fine, "Name: fine\nVersion: 1.0\n"), (broken, content)):
        place.mkdir()
        if text is not None:
            (place / "METADATA").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    install_sdk.write_packages(tmp_path / "packages.json")
    found = json.loads((tmp_path / "packages.json").read_text())
    python = [each for each in found if each["type"] == "pypi"]
    assert python == [{"type": "pypi", "name": "fine", "version": "1.0", "arch": ""}]
