"""Build contexts: what BuildKit is told of files, in the order that it wants."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.image_builder.trees import Entry, Tree, stamp

DIRECTORY, LINK = 1 << 31, 1 << 27
NAMES = st.lists(st.sampled_from(["a", "a.b", "a-b", "b", "\u00e4"]), min_size=1, max_size=3).map("/".join)


def paths(entries: list[Entry]) -> list[str]:
    """Their paths."""
    return [entry.stat.path for entry in entries]


@given(st.dictionaries(NAMES, st.binary(max_size=3), max_size=8))
def test_directories_come_before_what_is_in_them(files: dict[str, bytes]) -> None:
    """In the order of a walk by names: "a", "a/b", "a-b". Each parent is there once."""
    folders = {
        "/".join(path.split("/")[:length]) for path in files for length in range(1, path.count("/") + 1)
    }
    files = {path: content for path, content in files.items() if path not in folders}
    entries = Tree(files).entries()
    found = paths(entries)
    assert found == sorted(found, key=lambda path: path.split("/"))
    assert len(found) == len(set(found))
    assert {entry.stat.path: entry.content for entry in entries if not entry.stat.mode & DIRECTORY} == files
    seen = set()
    for path in found:
        parent = path.rpartition("/")[0]
        assert not parent or parent in seen
        seen.add(path)


def test_what_is_told_of_files(tmp_path: Path) -> None:
    """Kinds and permissions as Go has them, links with their targets, nobody's files but the superuser's."""
    (tmp_path / "sub").mkdir(mode=0o750)
    (tmp_path / "sub" / "run").write_text("x" * 10)
    (tmp_path / "sub" / "run").chmod(0o755)
    (tmp_path / "link").symlink_to("/etc/none")
    told = {each.stat.path: each.stat for each in Tree({"m": b"123"}, {"d": tmp_path}).entries()}
    assert list(told) == ["d", "d/link", "d/sub", "d/sub/run", "m"]
    assert told["d/sub"].mode == DIRECTORY | 0o750
    assert (told["d/sub/run"].mode, told["d/sub/run"].size) == (0o755, 10)
    assert told["d/link"].mode & LINK
    assert told["d/link"].linkname == "/etc/none"
    assert (told["m"].mode, told["m"].size) == (0o644, 3)
    assert {(each.uid, each.gid) for each in told.values()} == {(0, 0)}


def test_times_follow_from_contents(tmp_path: Path) -> None:
    """Content of the same size has another time, in memory and in a directory; the same content has the same."""

    def time(entry: Entry) -> int:
        return entry.stat.mod_time

    [one], [other], [again] = (Tree({"a": content}).entries() for content in (b"1", b"2", b"1"))
    assert time(one) == time(again) != time(other)
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to("nowhere")
    stamp(tmp_path)
    assert time(Tree({}, {"": tmp_path}).entries()[0]) == time(one)
    assert 946_684_800 <= time(one) / 1e9 < 946_684_800 + 86_400


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([], ["a", "a/b", "a/bc", "d", "d/e", "f"]),
        (["a"], ["a", "a/b", "a/bc"]),
        (["/a/b/", "f"], ["a", "a/b", "f"]),
        ([".dockerignore"], []),
        (["a/b", "."], ["a", "a/b", "a/bc", "d", "d/e", "f"]),
        (["a/*"], ["a", "a/b", "a/bc", "d", "d/e", "f"]),
    ],
)
def test_what_is_wanted_is_enough(wanted: list[str], found: list[str]) -> None:
    """Of paths that are wanted those are told, with parents and content; patterns are not interpreted."""
    tree = Tree({"a/b": b"", "a/bc": b"", "d/e": b"", "f": b""})
    assert paths(tree.entries(wanted)) == found


def test_links_may_lead_anywhere(tmp_path: Path) -> None:
    """When a link is wanted, so is what it may lead to."""
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "target").write_text("")
    assert paths(Tree({}, {"": tmp_path}).entries(["target"])) == ["target"]
    assert paths(Tree({}, {"": tmp_path}).entries(["link"])) == ["link", "target"]
