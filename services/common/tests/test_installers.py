"""Whether a package is to blame when packages cannot be installed."""

from __future__ import annotations

import pytest

from services.common.installers import failure_code

BUILD, PACKAGE = "ImageBuildError", "InvalidPackage"


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("  × No solution found when resolving dependencies:\n  ╰─▶ Because granite was not found", PACKAGE),
        ("ERROR: No matching distribution found for granite==9", PACKAGE),
        ("E: Unable to locate package granite", PACKAGE),
        ("E: Package 'granite' has no installation candidate", PACKAGE),
        ("E: Version '9' for 'hello' was not found", PACKAGE),
        ("error: Failed to fetch: `https://nowhere.example/index/granite/`", BUILD),
        ("Temporary failure resolving 'packages.example'", "PackagesUnavailable"),
        ("", BUILD),
    ],
)
def test_the_words_of_installers_tell_who_is_to_blame(output: str, code: str) -> None:
    """A package that does not exist or does not fit has a code of its own; networks and the rest have not."""
    assert failure_code(output) == code
