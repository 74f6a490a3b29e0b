"""Images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys

import pytest

import flyte
from flyte import Image

BASE = Image.from_debian_base(python_version=(3, 12))
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
PIP = {"kind": "pip", "index_url": None, "extra_index_urls": [], "pre": False, "extra_args": None}

SEED_SCRIPT = """# /// script
# requires-python = "==3.13"
# dependencies = [
#    "flyte>=2.0.0b52",
#    "fastapi",
#    "uvicorn",
# ]
# ///

import flyte
"""


def definition(image: Image) -> dict:
    """The definition as data."""
    return json.loads(image.definition_json)


@pytest.mark.parametrize(
    ("image", "base"),
    [
        (Image.from_debian_base(), {"kind": "debian", "python": RUNNING}),
        (BASE, {"kind": "debian", "python": "3.12"}),
        (Image.from_debian_base("3.12"), {"kind": "debian", "python": "3.12"}),
        (Image.from_debian_base((3, 12, 4)), {"kind": "debian", "python": "3.12.4"}),
        (Image.from_debian_base((3, 12), name="ml"), {"kind": "debian", "python": "3.12", "name": "ml"}),
        (Image.from_base("python:3.12-slim"), {"kind": "image", "uri": "python:3.12-slim"}),
    ],
)
def test_bases(image, base):
    """Each constructor has a kind of its own."""
    assert definition(image) == {"base": base, "layers": []}


@pytest.mark.parametrize(
    ("image", "layer"),
    [
        (BASE.with_pip_packages("pandas", "scikit-learn"), {**PIP, "packages": ["pandas", "scikit-learn"]}),
        (
            BASE.with_pip_packages(
                "a", index_url="https://i", extra_index_urls="https://e", pre=True, extra_args="--no-deps"
            ),
            {
                "kind": "pip",
                "packages": ["a"],
                "index_url": "https://i",
                "extra_index_urls": ["https://e"],
                "pre": True,
                "extra_args": "--no-deps",
            },
        ),
        (BASE.with_env_vars({"B": "2", "A": "1"}), {"kind": "env", "vars": {"A": "1", "B": "2"}}),
        (BASE.with_apt_packages("ffmpeg"), {"kind": "apt", "packages": ["ffmpeg"]}),
        (BASE.with_commands(["true"]), {"kind": "commands", "commands": ["true"]}),
        (BASE.with_workdir("/app"), {"kind": "workdir", "path": "/app"}),
    ],
)
def test_layers(image, layer):
    """Each method records a layer of a kind of its own."""
    assert definition(image)["layers"] == [layer]


def test_layers_keep_the_authors_order():
    """Nothing is merged or sorted."""
    image = (
        BASE.with_env_vars({"A": "1"}).with_pip_packages("b").with_env_vars({"A": "2"}).with_pip_packages("a")
    )
    assert [layer["kind"] for layer in definition(image)["layers"]] == ["env", "pip", "env", "pip"]
    assert repr(image) == "Image(debian + env + pip + env + pip)"


def test_images_are_immutable_values():
    """Methods return new images; equal definitions are equal."""
    image = BASE.with_pip_packages("a")
    assert definition(BASE)["layers"] == []
    assert image == BASE.with_pip_packages("a")
    assert hash(image) == hash(BASE.with_pip_packages("a"))
    assert image != BASE.with_pip_packages("b")
    with pytest.raises(dataclasses.FrozenInstanceError):
        image._layers = ()  # type: ignore[misc]


def test_the_identity_is_the_digest_of_the_canonical_definition():
    """BLAKE2b-128 of compact JSON with sorted keys."""
    image = BASE.with_pip_packages("pandas")
    text = json.dumps(definition(image), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert image.definition_json == text
    assert image.digest == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    assert image.to_spec() == {"digest": image.digest, "definition_json": text}
    assert image.digest == BASE.with_pip_packages("pandas").digest != BASE.digest


def test_requirements_are_read_without_comments(tmp_path):
    """The lines count, not how they are laid out; they are read when the definition is needed."""
    file = tmp_path / "requirements.txt"
    image = BASE.with_requirements(file)
    file.write_text("# pinned\nnumpy==2.1  # fast\n\nscipy \\\n  >=1.14\n--pre\n")
    assert definition(image)["layers"] == [
        {"kind": "requirements", "name": "requirements.txt", "lines": ["numpy==2.1", "scipy >=1.14", "--pre"]}
    ]
    assert image.files == (file,)


@pytest.mark.parametrize(
    "line", ["-r base.txt", "-c pins.txt", "-e .", "--requirement=x.txt", "./package", "../p"]
)
def test_requirements_must_not_refer_to_other_files(tmp_path, line):
    """A worker's host does not have them."""
    file = tmp_path / "requirements.txt"
    file.write_text(line)
    with pytest.raises(ValueError, match="refers to another local file: write the packages out"):
        _ = BASE.with_requirements(file).definition_json


def test_missing_files_are_named(tmp_path):
    """The message has the path and the reason."""
    with pytest.raises(ValueError, match=r"image: .*gone.txt cannot be read: No such file"):
        _ = BASE.with_requirements(tmp_path / "gone.txt").definition_json
    with pytest.raises(ValueError, match=r"gone does not exist"):
        _ = BASE.with_source_folder(tmp_path / "gone").definition_json


def test_paths_are_relative_to_the_declaring_file_then_the_working_directory(tmp_path, monkeypatch):
    """A project can be started from anywhere."""
    assert BASE.with_source_file("test_image.py").definition_json
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.txt").write_text("numpy")
    assert definition(BASE.with_requirements("requirements.txt"))["layers"][0]["lines"] == ["numpy"]


def test_copied_files_are_identified_by_content(tmp_path):
    """Another content is another image."""
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("one")
    image = BASE.with_source_folder(folder, dst="/data").with_source_file(folder / "deep" / "a.txt")
    before = image.digest
    assert [layer["kind"] for layer in definition(image)["layers"]] == ["source_folder", "source_file"]
    (folder / "deep" / "a.txt").write_text("two")
    changed = BASE.with_source_folder(folder, dst="/data").with_source_file(folder / "deep" / "a.txt")
    assert changed.digest != before


def test_projects_and_dockerfiles_carry_their_text(tmp_path):
    """What an engine needs is in the definition."""
    for name in ("pyproject.toml", "uv.lock", "poetry.lock", "Dockerfile"):
        (tmp_path / name).write_text(f"# {name}")
    uv = definition(BASE.with_uv_project(tmp_path / "pyproject.toml"))["layers"][0]
    assert (uv["kind"], uv["lock"], uv["mode"]) == (
        "uv_project",
        {"name": "uv.lock", "text": "# uv.lock"},
        "dependencies_only",
    )
    poetry = definition(BASE.with_poetry_project(tmp_path / "pyproject.toml"))["layers"][0]
    assert poetry["lock"] == {"name": "poetry.lock", "text": "# poetry.lock"}
    image = Image.from_dockerfile(tmp_path / "Dockerfile", name="mine")
    assert definition(image)["base"] == {
        "kind": "dockerfile",
        "name": "mine",
        "dockerfile": {"name": "Dockerfile", "text": "# Dockerfile"},
    }
    with pytest.raises(ValueError, match="a Dockerfile takes no further layers"):
        image.with_pip_packages("a")


def test_the_seeds_script_header_becomes_packages(tmp_path):
    """Dependencies and Python version come from the PEP 723 header."""
    script = tmp_path / "hello_app.py"
    script.write_text(SEED_SCRIPT)
    assert definition(Image.from_uv_script(script, name="hello")) == {
        "base": {"kind": "debian", "python": "3.13", "name": "hello"},
        "layers": [{**PIP, "packages": ["flyte>=2.0.0b52", "fastapi", "uvicorn"]}],
    }
    assert definition(Image.from_uv_script(script, python_version=(3, 12)))["base"]["python"] == "3.12"


@pytest.mark.parametrize(
    ("required", "python"),
    [
        (f">={RUNNING}", RUNNING),
        (">=3.10", RUNNING),
        ("==3.13.*", "3.13"),
        (">=3.99,<4", "3.99"),
        ("~=3.99", "3.99"),
    ],
)
def test_a_script_runs_on_the_current_python_if_it_may(tmp_path, required, python):
    """Else on the version that its header names."""
    script = tmp_path / "s.py"
    script.write_text(f'# /// script\n# requires-python = "{required}"\n# ///\n')
    assert definition(Image.from_uv_script(script)) == {
        "base": {"kind": "debian", "python": python},
        "layers": [],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print(1)\n", "has no '# /// script' header"),
        ("# /// script\n# dependencies = [\n# ///\n", "header is no valid TOML"),
        ("# /// script\n# dependencies = 'numpy'\n# ///\n", "must be a list of strings"),
        ('# /// script\n# requires-python = "<3.5"\n# ///\n', "requires-python '<3.5' excludes"),
        ('# /// script\n# requires-python = "new"\n# ///\n', "requires-python 'new' cannot be read"),
    ],
)
def test_broken_script_headers_are_explained(tmp_path, text, message):
    """The message names the file and the problem."""
    script = tmp_path / "s.py"
    script.write_text(text)
    with pytest.raises(ValueError, match=f"image: .*{message}"):
        _ = Image.from_uv_script(script).definition_json


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Image.from_debian_base((2, 7)), ValueError, "too old: the SDK needs Python 3.10"),
        (lambda: Image.from_debian_base("three"), ValueError, "cannot be read: write"),
        (lambda: Image.from_debian_base((3,)), ValueError, "cannot be read"),
        (lambda: Image.from_debian_base(3.12), ValueError, "cannot be read"),  # type: ignore[arg-type]
        (lambda: Image.from_base(""), ValueError, "no address of an image"),
        (lambda: Image.from_base(3), TypeError, "takes the address of an image"),  # type: ignore[arg-type]
        (BASE.with_pip_packages, ValueError, "needs at least one value"),
        (lambda: BASE.with_pip_packages(""), ValueError, "'' is empty"),
        (lambda: BASE.with_pip_packages("a\nb"), ValueError, "more than one line"),
        (lambda: BASE.with_pip_packages(["a"]), TypeError, r"takes strings, not \['a'\]"),  # type: ignore[arg-type]
        (lambda: BASE.with_requirements("pyproject.toml"), ValueError, "takes a .txt file"),
        (lambda: BASE.with_commands("ls"), TypeError, r"takes a list: with_commands\(\['ls'\]\)"),
        (lambda: BASE.with_env_vars({"A": 1}), TypeError, "must be a dict of strings"),  # type: ignore[dict-item]
        (lambda: BASE.with_workdir(""), ValueError, "is empty"),
        (
            lambda: BASE.with_uv_project("p.toml", project_install_mode="all"),
            ValueError,
            "project_install_mode='all'",
        ),  # type: ignore[arg-type]
        (lambda: Image.from_base("a").clone(python_version=(3, 12)), ValueError, "needs a Debian base"),
    ],
)
def test_wrong_values_are_refused(make, error, message):
    """Every refusal says what was wrong and what to write."""
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Image.from_debian_base(registry="ghcr.io/team"),
        lambda: Image.from_debian_base(registry_secret="s"),
        lambda: Image.from_debian_base(platform=("linux/arm64",)),
        lambda: Image.from_debian_base(flyte_version="2.0"),
        lambda: Image.from_debian_base(install_flyte=False),
        lambda: Image.from_ref_name("gpu"),
        lambda: Image.from_uv_script("s.py", registry="r"),
        lambda: Image.from_dockerfile("Dockerfile", registry="r", name="n"),
        lambda: BASE.with_pip_packages("a", secret_mounts=["s"]),
        lambda: BASE.with_apt_packages("a", secret_mounts=["s"]),
        BASE.with_code_bundle,
        lambda: BASE.clone(registry="r"),
        lambda: BASE.clone(addl_layer=object()),
        lambda: BASE.clone(extendable=True),
        lambda: BASE.uri,
    ],
)
def test_what_is_not_built_yet_is_refused_by_name(make):
    """Never accepted and ignored."""
    with pytest.raises(
        flyte.errors.FeatureNotAvailableError, match=r"Image\.\w+.* is not available in this version: .+"
    ):
        make()


def test_clones_change_base_name_and_python():
    """The layers stay."""
    image = BASE.with_pip_packages("a")
    assert definition(image.clone(python_version=(3, 13), name="n"))["base"] == {
        "kind": "debian",
        "python": "3.13",
        "name": "n",
    }
    other = image.clone(base_image="python:3.12")
    assert definition(other)["base"] == {"kind": "image", "uri": "python:3.12"}
    assert definition(other)["layers"] == definition(image)["layers"]


def test_an_unchanged_image_has_its_address():
    """`uri` of a base image is the address itself."""
    assert Image.from_base("python:3.12").uri == "python:3.12"
