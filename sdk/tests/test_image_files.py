"""Local files of images: which are taken, and as what."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from flyte import Image, _image_files, _image_files_known
from flyte._dockerignore import Dockerignore
from flyte._image_files import Archive
from flyte._image_files_known import _are_local
from flyte._image_layers import Setting, reads_context

BASE = Image.from_debian_base(python_version=(3, 12))

FILES = [
    "keep",
    "sub/secret",
    "sub/.env",
    "sub/deep/x.md",
    "b/a.txt",
    "b/keep.md",
    "b/c/a.txt",
    "b/c/keep.md",
]


def packed(image: Image) -> dict[str, tuple[bytes, str]]:
    """Type and target of what its first archive has, by name."""
    [archive, *_] = image.resolve(Setting()).archives
    content = io.BytesIO()
    archive.write(content)
    content.seek(0)
    with tarfile.open(fileobj=content) as found:
        return {entry.name: (entry.type, entry.linkname) for entry in found}


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["*", "!keep"], ["keep"]),
        (["b/*", "!b/keep.md"], ["keep", "sub/secret", "sub/.env", "sub/deep/x.md", "b/keep.md"]),
        (["*", "!b/c"], ["b/c/a.txt", "b/c/keep.md"]),
        (["b", "sub", "!b/c/keep.md"], ["keep", "b/c/keep.md"]),
        (["b", "**/*.md"], ["keep", "sub/secret", "sub/.env"]),
        (["/sub/", "./b/../b/c"], ["keep", "b/a.txt", "b/keep.md"]),
        (["!b", "b", "sub"], ["keep"]),
        (["b", "# sub", "  sub  "], ["keep"]),
        (["s*", "!sub/.env", "b/[a-b]*", "b/c"], ["keep", "sub/.env", "b/keep.md"]),
        (["sub/**", "b/c/**", "!b/c/keep.md"], ["keep", "b/a.txt", "b/keep.md", "b/c/keep.md"]),
        (["**", "!sub/deep"], ["sub/deep/x.md"]),
        (["*/*/*", "?eep", "b/[^k]*", ".", "/"], ["sub/secret", "sub/.env", "b/keep.md"]),
        (["\ufeffb", "sub/\\.env", "b\\\\*"], ["keep", "sub/secret", "sub/deep/x.md"]),
    ],
)
def test_patterns_leave_out_what_docker_leaves_out(patterns, kept):
    """The last pattern that matches a path or what is above it decides; the outcomes are those of `docker build`."""
    ignored = Dockerignore(patterns)
    assert [name for name in FILES if not ignored.leaves_out(name)] == kept
    directories = {name.rpartition("/")[0] for name in FILES} - {""}
    skipped = [each for each in directories if ignored.leaves_out_all_below(each)]
    assert not [name for name in kept if name.startswith(tuple(f"{each}/" for each in skipped))]


@pytest.mark.parametrize("pattern", ["a[", "!", "[a-", "[]a]", "a\\", "[b-a]", "\\a"])
def test_patterns_that_docker_refuses_are_refused(pattern):
    """With the line that they are in."""
    with pytest.raises(ValueError, match=r"\.dockerignore, line 2: "):
        Dockerignore(["*.md", pattern])


def test_no_pattern_brings_back_what_never_goes_in():
    """Neither repositories nor compiled files, wherever they are."""
    ignored = Dockerignore(["!.git", "!**/*.pyc", "!__pycache__"])
    left = [".git", ".git/config", "sub/.git/HEAD", "a/__pycache__", "a/x.pyc", "a/.DS_Store"]
    assert all(ignored.leaves_out(name) for name in left)
    assert not ignored.leaves_out(".gitignore")


def test_links_and_empty_directories_are_copied_as_they_are(tmp_path):
    """Wherever a link leads, as with `docker build`: what is outside of the folder stays outside."""
    folder = tmp_path / "data"
    (folder / "real").mkdir(parents=True)
    (folder / "empty" / "deep").mkdir(parents=True)
    (folder / "real" / "a").write_text("1")
    for name, target in (("dir", "real"), ("file", "real/a"), ("broken", "none"), ("out", "/etc/hostname")):
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    expected = {
        "broken": (tarfile.SYMTYPE, "none"),
        "dir": (tarfile.SYMTYPE, "real"),
        "empty/deep": (tarfile.DIRTYPE, ""),
        "file": (tarfile.SYMTYPE, "real/a"),
        "out": (tarfile.SYMTYPE, "/etc/hostname"),
        "real/a": (tarfile.REGTYPE, ""),
    }
    assert packed(BASE.with_source_folder(folder, copy_contents_only=True)) == expected
    (tmp_path / "Dockerfile").write_text("FROM a\nCOPY data /data\n")
    found = packed(Image.from_dockerfile(tmp_path / "Dockerfile"))
    assert found == {
        "Dockerfile": (tarfile.REGTYPE, ""),
        **{f"data/{name}": entry for name, entry in expected.items()},
    }
    (tmp_path / "nothing").mkdir()
    assert packed(BASE.with_source_folder(tmp_path / "nothing")) == {"nothing": (tarfile.DIRTYPE, "")}
    assert packed(BASE.with_source_file(folder / "file")) == {"file": (tarfile.REGTYPE, "")}


def test_directories_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    """They are not skipped."""
    (tmp_path / "data" / "closed").mkdir(parents=True)
    scan = os.scandir

    def guarded(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(ValueError, match=r"image: .*/data/closed cannot be read: Permission denied"):
        _ = BASE.with_source_folder(tmp_path / "data").definition_json


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("FROM a\nRUN --mount=source=src,target=/s true", True),
        ("FROM a\nRUN --mount=target=/s,type=bind true", True),
        ("FROM a\nRUN --mount=type=cache,target=/c --mount=type=bind,source=src,target=/s true", True),
        ("FROM a\nRUN --network=none \\\n  # note\n\n  --mount='type=bind,target=/s' true", True),
        ("# escape=`\nFROM a\nRUN `\n --mount=target=/s true", True),
        ("FROM a\nRUN echo `date`\nCOPY . /a", True),
        ("FROM a\nONBUILD ADD x /x", True),
        ("FROM a\nCOPY --from=b /x /x\nCOPY --chown=1 y /y", True),
        ("FROM a\nRUN --mount=type=cache,target=/c --mount=type=secret,id=b true && add copy", False),
        ("FROM a\nRUN --mount=from=b,target=/s --mount=type=bind,from=c,target=/t true", False),
        ("FROM a\nCOPY --link \\\n  --from=b /x /x\nRUN true # COPY\n# COPY . /\n", False),
    ],
)
def test_whether_a_dockerfile_needs_its_directory(dockerfile, expected):
    """Copies and bind mounts do, however they are written, unless they take from another image or stage."""
    assert reads_context(dockerfile) is expected


def test_a_command_reads_files_once(tmp_path, monkeypatch):
    """What is unchanged is not read again for a second definition; what changed a moment ago is, whatever its size."""
    (tmp_path / "a").write_text("1")
    image = BASE.with_source_folder(tmp_path)
    written = []
    write = Archive.write
    monkeypatch.setattr(Archive, "write", lambda self, file: written.append(1) or write(self, file))
    assert image.digest == image.digest
    assert len(written) == 2  # it may change again within the tick of the file system's clock
    monkeypatch.setattr(_image_files, "_SETTLED", -1_000_000_000)
    first = [image.digest, image.digest]
    assert (len(written), len(set(first))) == (3, 1)
    (tmp_path / "a").write_text("2")
    os.utime(tmp_path / "a", (1, 1))
    assert image.digest != first[0]
    assert len(written) == 4


@pytest.fixture
def reads(tmp_path, monkeypatch):
    """Archives that are read, by the number of their files; all are worth a record, and nothing changed just now."""
    monkeypatch.setenv("HANGAR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(_image_files, "_SETTLED", -1_000_000_000)
    monkeypatch.setattr(_image_files_known, "_WORTHWHILE_FILES", 0)
    monkeypatch.setattr(_image_files_known, "_are_local", lambda devices: True)
    monkeypatch.setattr(_image_files_known, "_known", {})
    write, seen = Archive.write, []
    monkeypatch.setattr(Archive, "write", lambda self, file: seen.append(1) or write(self, file))
    return seen


def later(folder):
    """The digest of an image of a folder, in a later command."""
    _image_files_known._known.clear()
    return BASE.with_source_folder(folder).digest


def test_a_later_command_reads_what_has_changed_only(tmp_path, reads):
    """Not what is as it was; but content of equal size and times, a mode, a link, a file more, and damaged records."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    (folder / "link").symlink_to("a")
    first = later(folder)
    assert [later(folder), later(folder), len(reads)] == [first, first, 1]
    status = (folder / "a").stat()

    def same_times():
        while (
            folder / "a"
        ).stat().st_ctime_ns == status.st_ctime_ns:  # until the file system's clock has ticked
            (folder / "a").write_text("2")
            os.utime(folder / "a", ns=(status.st_atime_ns, status.st_mtime_ns))

    def relink():
        (folder / "link").unlink()
        (folder / "link").symlink_to("bb")

    seen = {first}
    for number, change in enumerate(
        (same_times, lambda: (folder / "a").chmod(0o755), relink, (folder / "b").touch), 2
    ):
        change()
        seen.add(later(folder))
        assert (len(seen), len(reads)) == (number, number)
    for record in (tmp_path / "data" / "image-files").iterdir():
        record.write_text("0" * 64)
    assert later(folder) in seen
    assert len(reads) == 6


def test_what_may_have_changed_unseen_is_read_again(tmp_path, reads, monkeypatch):
    """While it is read, a moment before, and on file systems that others write to: no record is made or believed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    write = Archive.write

    def meanwhile(self, file):
        write(self, file)
        (folder / "a").write_text("22")

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "write", meanwhile)
        torn = later(folder)
    changed = later(folder)
    assert (changed != torn, len(reads)) == (True, 2)
    assert (later(folder), len(reads)) == (changed, 2)
    monkeypatch.setattr(_image_files_known, "_are_local", _are_local)
    monkeypatch.setattr(_image_files_known, "_LOCAL", frozenset())
    assert (later(folder), len(reads)) == (changed, 3)
    monkeypatch.setattr(_image_files_known, "_are_local", lambda devices: True)
    monkeypatch.setattr(_image_files, "_SETTLED", 2_000_000_000)
    (folder / "a").write_text("3")
    for number in (4, 5):
        later(folder)
        assert len(reads) == number


def test_which_file_systems_are_this_machines():
    """That of processes is none that files are kept on; a device that nobody knows is none either."""
    kinds = {Path("/proc").stat().st_dev, 0xFFFF}
    assert not any(_are_local(frozenset({device})) for device in kinds)
    assert _are_local(frozenset())
