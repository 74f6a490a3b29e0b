"""What runs inside of images does not mind what it finds there."""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import py_compile
import sys
from pathlib import Path

import pytest

from services.image_builder.inside import compile_python, install_sdk


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


def test_compiling_gives_what_python_compiles(tmp_path: Path) -> None:
    """The same code: at first, from what is kept, of a changed source, and when what is kept is broken; tests aside."""
    package, store = tmp_path / "package", tmp_path / "store"
    package.mkdir()
    store.mkdir()
    source, other = package / "a.py", package / "b.py"
    broken, lost = package / "c.py", package / "d.py"
    source.write_text("def f(x):\n    return [x, 'one']\n")
    other.write_bytes("# -*- coding: latin-1 -*-\nnames = 'äöü'\n".encode("latin-1"))
    broken.write_text("print 'for another Python'\n")
    lost.symlink_to(tmp_path / "nothing")

    def compiled() -> list[tuple[bytes, object]]:
        compile_python.compile_files(list(compile_python.find(package, {"tests"})), store)
        assert not Path(importlib.util.cache_from_source(str(broken))).exists()
        return [split(Path(importlib.util.cache_from_source(str(path)))) for path in (source, other)]

    def expected() -> list[tuple[bytes, object]]:
        return [split(Path(py_compile.compile(str(path), doraise=True) or "")) for path in (source, other)]

    def split(path: Path) -> tuple[bytes, object]:
        content = path.read_bytes()
        path.unlink()
        return content[:16], marshal.loads(content[16:])

    (package / "tests").mkdir()
    (package / "tests" / "test_a.py").write_text("")
    assert expected() == compiled()
    kept = sorted(store.iterdir())
    assert len(kept) == 2
    before = [path.stat().st_mtime_ns for path in kept]
    os.utime(source, (1, 1))  # another build: the same content of another time
    assert expected() == compiled()
    assert [path.stat().st_mtime_ns for path in kept] == before, "nothing was compiled again"
    source.write_text("def f(x):\n    return [x, 'two']\n")
    assert expected() == compiled()
    for path in store.iterdir():
        path.write_bytes(bytes(100))
    assert expected() == compiled()
