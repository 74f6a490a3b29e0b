"""Code bundles: what is in them, and that they depend on content only."""

from __future__ import annotations

import importlib
import io
import os
import sys
import tarfile

import pytest

from flyte._bundle import _archive, _bundle
from flyte._bundle._bundle import make_bundle
from flyte._bundle._modules import module_name, python_path
from flyte._bundle._root import check_root, detect_root
from flyte._bundle._select import select_files
from flyte.errors import CodeBundleError, ModuleLoadError


@pytest.fixture
def root(tmp_path):
    """An empty directory for code, outside of any repository."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write(root, files):
    """Writes files by name."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def names(root, style="all", include=()):
    """Names of the files that are selected."""
    return [path.relative_to(root).as_posix() for path in select_files(root, style, include)]


def test_same_content_is_the_same_bundle(tmp_path):
    """Neither times, nor places, nor the order of creation change the digest; content and names do."""
    digests = []
    for order, (place, stamp) in enumerate([("a", 1), ("b/c", 10**9)]):
        root = tmp_path / place
        files = {"x.py": "1", "pkg/y.py": "2"}
        write(root, dict(reversed(files.items())) if order else files)
        for name in files:
            os.utime(root / name, (stamp, stamp))
        digests.append(make_bundle(root, "all").digest)
    assert digests[0] == digests[1]
    write(tmp_path / "a", {"x.py": "3"})
    assert make_bundle(tmp_path / "a", "all").digest != digests[0]


def test_archive_tells_nothing_of_this_machine(root):
    """Entries have no owner and no time, and keep the executable bit."""
    write(root, {"run.sh": "#!/bin/sh", "x.py": ""})
    (root / "run.sh").chmod(0o755)
    archive = make_bundle(root, "all").archive
    assert archive[4:8] == b"\0\0\0\0"  # gzip's time
    with tarfile.open(fileobj=io.BytesIO(archive)) as content:
        entries = {entry.name: entry for entry in content}
    assert {(entry.uid, entry.gid, entry.mtime, entry.uname) for entry in entries.values()} == {(0, 0, 0, "")}
    assert (entries["run.sh"].mode, entries["x.py"].mode) == (0o755, 0o644)


def test_unchanged_files_are_not_packed_again(root, monkeypatch):
    """A second bundle of unchanged files costs no packing; a changed one does."""
    packed = []
    monkeypatch.setattr(
        _bundle, "make_archive", lambda *args: packed.append(1) or _archive.make_archive(*args)
    )
    write(root, {"x.py": "1"})
    first = make_bundle(root, "all")
    assert make_bundle(root, "all") is first
    write(root, {"x.py": "22"})
    assert make_bundle(root, "all").digest != first.digest
    assert len(packed) == 2


def test_loaded_modules_are_those_imported_below_the_root(root, monkeypatch):
    """Imported modules and their packages are in; what is not imported, and what is installed, is not."""
    write(
        root,
        {
            "loaded_main.py": "import json\nfrom loaded_pkg import part\n",
            "loaded_pkg/__init__.py": "",
            "loaded_pkg/part.py": "",
            "loaded_pkg/other.py": "",
            "data.csv": "1",
        },
    )
    monkeypatch.syspath_prepend(str(root))
    importlib.invalidate_caches()
    importlib.import_module("loaded_main")
    try:
        expected = ["loaded_main.py", "loaded_pkg/__init__.py", "loaded_pkg/part.py"]
        assert names(root, "loaded_modules") == expected
    finally:
        for name in [name for name in sys.modules if name.startswith("loaded_")]:
            del sys.modules[name]


def test_all_honours_ignore_files(root):
    """.gitignore and .flyteignore count at every level; a negation brings back; environments stay out."""
    write(
        root,
        {
            ".gitignore": "*.log\n/build/\nsecret*\n!secret.txt\n",
            ".flyteignore": "*.csv\n",
            "a.py": "",
            "a.log": "",
            "data.csv": "",
            "build/x.py": "",
            "pkg/build/x.py": "",
            "secret.env": "",
            "secret.txt": "",
            "pkg/.gitignore": "!keep.log\n",
            "pkg/keep.log": "",
            "pkg/drop.log": "",
            "pkg/__pycache__/a.pyc": "",
            ".git/config": "",
            "env/pyvenv.cfg": "",
            "env/lib/x.py": "",
        },
    )
    kept = [name for name in names(root) if "ignore" not in name]
    assert kept == ["a.py", "pkg/build/x.py", "pkg/keep.log", "secret.txt"]


def test_ignore_files_of_the_repository_count(root):
    """A root inside of a repository obeys the .gitignore files above it."""
    write(root, {".git/config": "", ".gitignore": "*.tmp\n/sub/hidden.py\n"})
    write(root, {"sub/a.py": "", "sub/b.tmp": "", "sub/hidden.py": ""})
    assert names(root / "sub") == ["a.py"]


def test_included_files_are_added(root):
    """`include` adds files and directories, even those that are ignored; wrong ones are named."""
    write(root, {"a.py": "", "data.yaml": "", "templates/x.html": "", ".gitignore": "*"})
    files = names(root, "loaded_modules", [root / "data.yaml", root / "templates"])
    assert files == ["data.yaml", "templates/x.html"]
    with pytest.raises(CodeBundleError, match=r"nope\.txt does not exist"):
        names(root, "all", [root / "nope.txt"])
    outside = root.parent / "outside.txt"
    outside.write_text("")
    with pytest.raises(CodeBundleError, match="not below the code's root directory"):
        names(root, "all", [outside])


def test_root_is_the_place_that_a_module_is_imported_from(root):
    """A script's directory, or the directory around the outermost package."""
    write(root, {"run.py": "", "pkg/__init__.py": "", "pkg/sub/__init__.py": "", "pkg/sub/a.py": ""})
    assert detect_root(root / "run.py") == root
    assert detect_root(root / "pkg" / "sub" / "a.py") == root


def test_home_and_the_file_system_are_no_roots(tmp_path, monkeypatch):
    """Nobody bundles a home directory by accident."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(CodeBundleError, match="your home directory"):
        check_root(tmp_path)
    with pytest.raises(CodeBundleError, match="the whole file system"):
        check_root(tmp_path.__class__("/"))


def test_too_large_bundles_are_refused_naming_the_largest_files(root, monkeypatch):
    """The message names the largest files and what to do; nearly as large ones are warned about."""
    monkeypatch.setattr(_archive, "WARN_BYTES", 1000)
    monkeypatch.setattr(_archive, "MOST_BYTES", 3000)
    warning = _archive.check_size({"a": 900, "big.bin": 1100}, root)
    assert warning is not None
    assert "big.bin" in warning
    with pytest.raises(CodeBundleError, match=r"Largest: big\.bin.*\.flyteignore"):
        _archive.check_size({"a": 900, "big.bin": 2200}, root)
    assert _archive.check_size({"a": 999}, root) is None


def test_entries_of_sys_path_are_mirrored(root, monkeypatch):
    """Entries below the root are kept in their order; the root itself is always there."""
    write(root, {"src/a.py": "", "lib/b.py": ""})
    monkeypatch.setattr(
        sys, "path", [str(root / "src"), "/elsewhere", str(root / "lib"), str(root / "missing")]
    )
    assert python_path(root) == ("src", "lib", ".")
    assert python_path(root, mirrored=False) == (".",)


def test_module_names(root):
    """A file has the name that it is imported by, given what is on sys.path."""
    write(root, {"run.py": "", "src/app.py": "", "pkg/__init__.py": "", "pkg/a.py": "", "my-flow.py": ""})
    assert module_name(root / "run.py", root, (".",)) == "run"
    assert module_name(root / "src" / "app.py", root, ("src", ".")) == "app"
    assert module_name(root / "src" / "app.py", root, (".",)) == "src.app"
    assert module_name(root / "pkg" / "a.py", root, ("pkg", ".")) == "pkg.a"
    assert module_name(root / "pkg" / "__init__.py", root, (".",)) == "pkg"
    assert module_name(root / "my-flow.py", root, (".",)) == "my-flow"
    with pytest.raises(ModuleLoadError, match="'my_script'"):
        module_name(root / "my.script.py", root, (".",))
