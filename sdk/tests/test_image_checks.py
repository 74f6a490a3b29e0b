"""What is wrong with an image is said where it is declared, by its name."""

from __future__ import annotations

import pytest

from flyte import Image

BASE = Image.from_debian_base(python_version=(3, 12))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BASE.with_pip_packages("a", extra_index_urls=5), TypeError, r"extra_index_urls=….* not 5"),
        (lambda: BASE.with_pip_packages("a", pre="no"), TypeError, r"pre=….* takes True or False, not 'no'"),
        (lambda: BASE.with_pip_packages("a", extra_args="'x"), ValueError, "mend the quotes"),
        (lambda: BASE.with_poetry_project("p", extra_args="'x"), ValueError, "mend the quotes"),
        (lambda: Image.from_debian_base(install_flyte="no"), TypeError, r"install_flyte=….* not 'no'"),
        (lambda: Image.from_debian_base("4.0"), ValueError, "'4.0' cannot be read"),
        (lambda: BASE.with_commands(None), TypeError, r"takes a list of strings, not None"),
        (lambda: BASE.with_source_file(5), TypeError, "takes a file or several, not 5"),
        (lambda: BASE.with_source_file([5]), TypeError, "a path must be text"),
        (lambda: BASE.with_source_folder(5), TypeError, "a path must be text"),
        (lambda: BASE.with_source_folder("/"), ValueError, "has no name: give copy_contents_only=True"),
        (lambda: BASE.with_workdir("app"), ValueError, "'app' must be an absolute path"),
        (lambda: BASE.with_apt_packages("curl git"), ValueError, "give several as an argument each"),
        (lambda: BASE.with_env_vars({"A-B": "1"}), ValueError, "'A-B' is no name"),
        (lambda: BASE.with_env_vars({"A": "1\n2"}), ValueError, "A has a line break"),
        (
            lambda: Image.from_debian_base(registry="r.example").clone(name="BAD NAME"),
            ValueError,
            "cannot be a name in a registry",
        ),
    ],
)
def test_wrong_values_are_refused_where_they_are_given(make, error, message):
    """Not by a raw error, and not by the backend first."""
    with pytest.raises(error, match=message):
        make()


def test_a_header_has_text_for_its_python(tmp_path):
    """A number there is refused with the file's name."""
    script = tmp_path / "s.py"
    script.write_text("# /// script\n# requires-python = 3\n# ///\n")
    with pytest.raises(ValueError, match=r"s.py: requires-python in the script's header must be text, not 3"):
        _ = Image.from_uv_script(script).definition_json


LOCAL = [
    "-rbase.txt",
    "-cbase.txt",
    "--constraint x",
    "--find-links ./x",
    "-f x",
    "--find-links=/x",
    "-i file:///x",
]
LOCAL += [
    "foo @ ./x",
    "foo[a] @ file:///x",
    "foo@x.whl",
    "git @ git+file:///x",
    "file:///x",
    ".",
    ".[a]",
    "../p",
]
LOCAL += ["x.whl", "dist/x-1.0.tar.gz", "~/p", "-e ."]
REACHABLE = [
    "numpy",
    "foo[a]>=1 ; python_version < '3.13'",
    "foo @ https://h/x.tar.gz",
    "foo @ git+https://h/x@main",
]
REACHABLE += [
    "https://h/x.tar.gz",
    "--find-links https://h/x",
    "--index-url $INDEX",
    "--pre",
    "a==1 --hash=sha256:00",
]
REACHABLE += [
    "--extra-index-url=https://h/simple",
    "--no-binary :all:",
    "zope.interface==5.0",
    "--only-binary=x",
]


@pytest.mark.parametrize("line", [*LOCAL, *REACHABLE])
def test_places_on_this_machine_are_refused(tmp_path, line):
    """In files and in packages: an image cannot reach them; addresses and options go through."""
    file = tmp_path / "requirements.txt"
    file.write_text(line)
    for make in (lambda: BASE.with_requirements(file).definition_json, lambda: BASE.with_pip_packages(line)):
        if line in REACHABLE:
            make()
            continue
        with pytest.raises(ValueError, match="refers to another local file: write the packages out"):
            make()


def test_a_folder_has_its_own_name_where_the_name_counts(tmp_path):
    """A path that ends above is the directory that it leads to; of contents alone the name is no part."""
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "a").write_text("1")
    above, itself = (BASE.with_source_folder(tmp_path / "one" / end) for end in ("deep/..", "."))
    assert above.digest == itself.digest != BASE.with_source_folder(tmp_path / "two").digest
    one, two = (BASE.with_source_folder(tmp_path / name, copy_contents_only=True) for name in ("one", "two"))
    assert one.digest == two.digest != above.digest
