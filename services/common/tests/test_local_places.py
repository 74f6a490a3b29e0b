"""Places on disk are told from packages and addresses."""

from __future__ import annotations

import pytest

from services.common.local_places import place_of_requirement, places_of_arguments


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (".", "."),
        ("./pkg", "./pkg"),
        ("../pkg[extra] ; python_version > '3'", "../pkg[extra]"),
        ("/srv/pkg", "/srv/pkg"),
        ("~/pkg", "~/pkg"),
        ("pkg/sub", "pkg/sub"),
        ("pkg-1.0-py3-none-any.whl", "pkg-1.0-py3-none-any.whl"),
        ("file:///srv/pkg.whl", "file:///srv/pkg.whl"),
        ("git+file:///srv/repo", "git+file:///srv/repo"),
        ("pkg @ ./pkg", "./pkg"),
        ("pkg[a,b]@file:///srv/pkg", "file:///srv/pkg"),
        ("-r base.txt", "base.txt"),
        ("-rbase.txt", "base.txt"),
        ("--requirement=base.txt  # more", "base.txt"),
        ("-c /etc/hostname", "/etc/hostname"),
        ("-e .", "."),
        ("--find-links ./wheels", "./wheels"),
        ("", ""),
        ("# ./pkg", ""),
        ("six", ""),
        ("six~=1.0", ""),
        ("six[a]>=1 ; sys_platform == 'linux'  # see ./notes", ""),
        ("pkg @ https://h.example/pkg-1.0.zip", ""),
        ("git+https://git@h.example/pkg.git@v1", ""),
        ("https://h.example/pkg.tar.gz", ""),
        ("-r https://h.example/base.txt", ""),
        ("--index-url https://h.example/simple", ""),
        ("--pre", ""),
    ],
)
def test_a_place_on_disk_is_found(line: str, place: str) -> None:
    """Paths, archives, `file:` addresses, and files that options name; never a package or an address."""
    assert place_of_requirement(line) == place


def test_arguments_that_have_files_read_are_found() -> None:
    """Joined to their option or behind it, or without one; directories of packages are left alone."""
    words = "--find-links /wheels -f./wheels --pre -r /a -rb.txt -c c.txt --overrides=d.txt ./e six --seed 1"
    assert list(places_of_arguments(words.split())) == ["/a", "b.txt", "c.txt", "d.txt", "./e"]
