"""Images."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import sys
import tarfile
from types import SimpleNamespace

import pytest

import flyte
from flyte import Image
from flyte._client._images import given_secrets
from flyte._image_layers import Setting

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
        (BASE.with_commands(["a\n\tb\n"]), {"kind": "commands", "commands": ["a\n\tb"]}),
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
    assert definition(BASE.with_source_file("test_image.py"))["layers"][0]["names"] == ["test_image.py"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.txt").write_text("numpy")
    assert definition(BASE.with_requirements("requirements.txt"))["layers"][0]["lines"] == ["numpy"]


def test_copied_files_are_identified_by_content(tmp_path):
    """Names and contents count, and nothing else: not times, not owners, not what is no source."""
    folder = tmp_path / "data"
    (folder / "deep" / "__pycache__").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("one")
    image = BASE.with_source_folder(folder, dst="/data").with_source_file(folder / "deep" / "a.txt")
    before = image.digest
    assert [layer["kind"] for layer in definition(image)["layers"]] == ["source_folder", "source_file"]
    os.utime(folder / "deep" / "a.txt", (1, 1))
    (folder / "deep" / "__pycache__" / "a.pyc").write_bytes(b"1")
    assert image.digest == before
    (folder / "deep" / "a.txt").write_text("two")
    assert image.digest != before


def test_archives_are_what_definitions_say(tmp_path):
    """The archive that is sent has the digest and the size of the definition, and the files by their names."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "models" / "run.sh").chmod(0o755)
    resolved = BASE.with_source_folder(tmp_path / "models").resolve(Setting())
    [archive] = resolved.archives
    content = io.BytesIO()
    archive.write(content)
    said = json.loads(resolved.definition_json)["layers"][0]["archive"]
    assert said == {
        "sha256": hashlib.sha256(content.getvalue()).hexdigest(),
        "size": len(content.getvalue()),
    }
    # The digest is that of every machine and Python version: it must never change.
    assert said["sha256"] == "66221705a436e03fb01bdbcc3a7559da1590add7667f2896c5c38e7091ce62da"
    content.seek(0)
    with tarfile.open(fileobj=content) as found:
        assert [(entry.name, entry.mode, entry.mtime) for entry in found] == [("models/run.sh", 0o755, 0)]


def test_dockerignore_leaves_files_out(tmp_path):
    """Patterns count as Docker counts them: from the top, and a later one wins."""
    for name in ("keep.py", "drop.log", "logs/x.log", "logs/keep.log", "deep/drop.log"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("# comment\n*.log\nlogs\n!logs/keep.log\n")
    image = BASE.with_dockerignore(tmp_path / ".dockerignore").with_source_folder(
        tmp_path / "src", copy_contents_only=True
    )
    [archive] = image.resolve(Setting()).archives
    assert [name for name, _ in archive.entries] == ["deep/drop.log", "keep.py", "logs/keep.log"]


def test_a_dockerfile_takes_what_it_copies(tmp_path):
    """Without a COPY nothing is sent; with one its directory, but for what `.dockerignore` names."""
    (tmp_path / "Dockerfile").write_text("FROM a\nCOPY --from=b /x /x\nRUN true\n")
    assert Image.from_dockerfile(tmp_path / "Dockerfile").resolve(Setting()).archives == ()
    (tmp_path / "Dockerfile").write_text("FROM a\nCOPY . /app\n")
    (tmp_path / "app.py").write_text("")
    (tmp_path / "big.bin").write_text("")
    (tmp_path / ".dockerignore").write_text("*.bin\n")
    [archive] = Image.from_dockerfile(tmp_path / "Dockerfile").resolve(Setting()).archives
    assert [name for name, _ in archive.entries] == [".dockerignore", "Dockerfile", "app.py"]


def test_code_is_baked_in_when_it_is_not_sent(tmp_path):
    """With a code bundle of the run the layer is left out, so that changed code changes no image."""
    (tmp_path / "main.py").write_text("x = 1\n")
    image = BASE.with_code_bundle("all", dst="src")
    assert definition(image)["layers"] == []
    [layer] = json.loads(image.resolve(Setting(root=tmp_path, bakes_code=True)).definition_json)["layers"]
    assert (layer["kind"], layer["dst"]) == ("code_bundle", "src")
    with pytest.raises(ValueError, match="needs the code of a run"):
        image.resolve(Setting(bakes_code=True))


def test_named_images_come_from_the_configuration():
    """`from_ref_name` is the address that the configuration has; without one the error says where to put it."""
    image = Image.from_ref_name("gpu").with_env_vars({"A": "1"})
    found = json.loads(image.resolve(Setting(refs={"gpu": "ghcr.io/team/gpu:1"})).definition_json)
    assert found["base"] == {"kind": "image", "uri": "ghcr.io/team/gpu:1"}
    with pytest.raises(ValueError, match=r"Image name 'gpu' not found in config .*--image gpu=ADDRESS"):
        image.resolve(Setting(refs={"cpu": "x"}))


def test_secrets_are_named_and_never_held():
    """A definition has keys and variables; the value is the caller's."""
    secret = SimpleNamespace(key="pip-token", group=None, as_env_var=None, mount=None)
    image = BASE.with_pip_packages("a", secret_mounts=secret).with_commands(["true"], secret_mounts="KEY")
    assert [layer["secret_mounts"] for layer in definition(image)["layers"]] == [
        [{"key": "pip-token", "env": "PIP_TOKEN"}],
        [{"key": "KEY", "env": "KEY"}],
    ]
    assert [mount.source for mount in image.secrets] == ["PIP_TOKEN", "KEY"]
    mounted = SimpleNamespace(key="netrc", group="pypi", as_env_var=None, mount="/etc/flyte/secrets")
    layer = definition(BASE.with_commands(["true"], secret_mounts=[mounted]))["layers"][0]
    assert layer["secret_mounts"] == [{"key": "pypi_netrc"}]


def test_registry_and_platform_are_part_of_the_definition():
    """They say where an image goes and for which hosts it is made."""
    image = Image.from_debian_base((3, 12), registry="ghcr.io/team", name="ml", platform=("linux/amd64",))
    assert definition(image)["base"] == {
        "kind": "debian",
        "python": "3.12",
        "name": "ml",
        "registry": "ghcr.io/team",
        "platform": ["linux/amd64"],
    }
    assert definition(BASE.clone(registry="r:5000"))["base"]["registry"] == "r:5000"
    assert json.loads(BASE.without_sdk().definition_json)["sdk"] is False
    with pytest.raises(ValueError, match="takes no further layers"):
        BASE.clone(extendable=False).with_env_vars({})


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
    assert definition(Image.from_uv_script(script, python_version=(3, 13, 1)))["base"]["python"] == "3.13.1"
    for image in (
        Image.from_uv_script(script, python_version=(3, 12)),
        Image.from_uv_script(script).clone(python_version="3.12"),
    ):
        with pytest.raises(ValueError, match=r"requires-python '==3.13' excludes python_version='3.12'"):
            _ = image.definition_json
    assert definition(Image.from_uv_script(script).clone(base_image="a"))["base"]["kind"] == "image"


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


def test_settings_of_uv_in_a_header_count(tmp_path):
    """Those that say what is installed are in the definition; those of the author's machine are not."""
    script = tmp_path / "s.py"
    settings = (
        '# exclude-newer = 2026-01-31\n# cache-dir = "/c"\n# prerelease = "allow"\n'
        "# exclude-newer-package = { six = 2026-01-01T00:00:00Z }\n"
        '# index = [{ name = "x", url = "https://x.example", explicit = true }]\n# sources.six.index = "x"\n'
    )
    script.write_text(f"# /// script\n# dependencies = ['six']\n# [tool.uv]\n{settings}# ///\n")
    [layer] = definition(Image.from_uv_script(script, python_version="3.12"))["layers"]
    assert layer == {
        **PIP,
        "packages": ["six"],
        "exclude_newer": "2026-01-31",
        "uv": {
            "exclude-newer-package": {"six": "2026-01-01 00:00:00+00:00"},
            "index": [{"name": "x", "url": "https://x.example", "explicit": True}],
            "prerelease": "allow",
            "sources": {"six": {"index": "x"}},
        },
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "pip.strict = true",
            r"\[tool.uv\] pip in the script's header does not count in images: leave it out",
        ),
        ("sources.six.path = '../six'", r"sources.six.path names '../six', a place on this machine"),
        ("sources.six = [{ workspace = true }]", "sources.six.workspace names 'True'"),
        ("index = [{ url = './wheels' }]", "index names './wheels', a place on this machine"),
        ("find-links = ['https://x.example', 'file:///wheels']", "find-links names 'file:///wheels'"),
        (
            "index = [{ url = 'https://me:pass@x.example/simple' }]",
            r"the address https://\*\*\*\*@x.example: ",
        ),
    ],
)
def test_settings_of_uv_that_images_cannot_have_are_refused(tmp_path, setting, message):
    """By their key: nothing is left out in silence."""
    script = tmp_path / "s.py"
    script.write_text(f"# /// script\n# dependencies = ['six']\n# [tool.uv]\n# {setting}\n# ///\n")
    with pytest.raises(ValueError, match=message):
        _ = Image.from_uv_script(script).definition_json


@pytest.mark.parametrize(
    ("secret", "is_refused"),
    [
        ("me:hunter2", True),
        ("ghp_0123456789012345678901234567890123", True),
        ("git", False),
        ("oauth2accesstoken", False),
        ("${USER_OF_INDEX}:${PASSWORD_OF_INDEX}", False),
    ],
)
def test_passwords_of_indexes_are_in_no_definition(tmp_path, secret, is_refused):
    """Wherever an address stands; a user without password and variables of the environment are none."""
    requirements = tmp_path / "requirements.txt"
    address = f"https://{secret}@x.example/simple"
    requirements.write_text(f"--extra-index-url {address}\nsix\n")
    for image in (
        BASE.with_pip_packages("six", index_url=address),
        BASE.with_pip_packages("six", extra_args=f"--index {address}"),
        BASE.with_pip_packages(f"six @ git+{address}"),
        BASE.with_requirements(requirements),
    ):
        if is_refused:
            with pytest.raises(ValueError, match="UV_INDEX_CORP_PASSWORD") as caught:
                _ = image.definition_json
            assert secret not in str(caught.value)
        else:
            assert secret in image.definition_json
    _ = BASE.with_commands([f"curl {address}"]).definition_json  # the author's own text


def test_folders_that_a_lock_file_names_are_sent(tmp_path):
    """Path dependencies and members of a workspace, and nothing else of the project; others are refused by name."""
    package = '[[package]]\nname = "{}"\nversion = "1"\nsource = {{ {} }}\n'
    for name in ("pyproject.toml", "app.py", "libs/a/pyproject.toml", "libs/a/a.py", "libs/ab/ab.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}")
    lock = tmp_path / "uv.lock"
    own = package.format("app", 'virtual = "."') + package.format("six", 'registry = "https://x.example"')
    image = BASE.with_uv_project(tmp_path / "pyproject.toml")
    lock.write_text(own)
    assert "local" not in definition(image)["layers"][0]
    lock.write_text(own + package.format("a", 'editable = "libs/a"'))
    [archive] = image.resolve(Setting()).archives
    assert [name for name, _ in archive.entries] == ["libs/a/a.py", "libs/a/pyproject.toml"]
    assert definition(image)["layers"][0]["local"] == archive.definition()
    for source in ('directory = "../b"', 'path = "/b/b.whl"', 'registry = "../wheels"'):
        lock.write_text(own + package.format("b", source))
        with pytest.raises(
            ValueError, match=r"uv.lock takes b from '.+', and images have what is below the project"
        ):
            _ = image.definition_json
    member = BASE.with_uv_project(tmp_path / "libs/a/pyproject.toml", lock)
    with pytest.raises(ValueError, match="for a member of its workspace extra_args='--package NAME'"):
        _ = member.definition_json
    (tmp_path / "poetry.lock").write_text('[package.source]\ntype = "directory"\nurl = "../b"\n')
    with pytest.raises(ValueError, match=r"poetry.lock takes a package from '../b', a place on this machine"):
        _ = BASE.with_poetry_project(tmp_path / "pyproject.toml").definition_json


def test_platforms_have_one_name_each():
    """Whatever the order and the spelling, the definition is the same, and the task's spec says where it may run."""
    image = Image.from_debian_base((3, 12), platform=("linux/x86_64", "Linux/aarch64", "linux/amd64"))
    same = BASE.clone(platform=["linux/arm64/v8", "linux/amd64"])
    assert image.definition_json == same.definition_json
    assert image.to_spec()["platforms"] == ["linux/amd64", "linux/arm64"]
    moved = Image.from_base("a").clone(platform="linux/arm").clone(name="n").clone(base_image="b")
    assert moved.to_spec()["platforms"] == ["linux/arm/v7"]
    assert "platforms" not in BASE.to_spec()
    assert "platforms" not in BASE.with_env_vars({"A": '"platform":'}).to_spec()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Image.from_debian_base(registry="http://x"),
            ValueError,
            "registry='http://x' cannot be read",
        ),
        (lambda: Image.from_debian_base(platform="arm"), ValueError, "platform 'arm' cannot be read"),
        (lambda: BASE.clone(platform=()), ValueError, "platform is empty: name at least one"),
        (lambda: BASE.clone(platform=64), TypeError, "not 64"),  # type: ignore[arg-type]
        (lambda: BASE.clone(platform=["linux/amd64", 7]), TypeError, "not 7"),  # type: ignore[list-item]
        (lambda: BASE.with_apt_packages("a", secret_mounts=[1]), TypeError, "secret_mounts takes keys"),
        (lambda: BASE.with_code_bundle("some"), ValueError, "copy_style='some'"),  # type: ignore[arg-type]
        (lambda: BASE.with_source_file([]), ValueError, "needs at least one file"),
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
        (
            lambda: Image.from_debian_base(registry_secret=3),
            TypeError,
            "registry_secret takes keys, or objects",
        ),
        (
            lambda: BASE.clone(registry_secret="a/b"),
            ValueError,
            "registry_secret: 'a/b' is no key of a secret",
        ),
    ],
)
def test_wrong_values_are_refused(make, error, message):
    """Every refusal says what was wrong and what to write."""
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Image.from_debian_base(flyte_version="2.0"),
    ],
)
def test_what_is_not_built_yet_is_refused_by_name(make):
    """Never accepted and ignored."""
    with pytest.raises(
        flyte.errors.FeatureNotAvailableError, match=r"Image\.\w+.* is not available in this version: .+"
    ):
        make()


def test_credentials_of_a_registry_are_named_and_not_held(monkeypatch, tmp_path):
    """The definition has the key of the secret, in whatever way it is given; its value goes along with the request."""
    script = tmp_path / "s.py"
    script.write_text("# /// script\n# dependencies = []\n# ///\n")
    monkeypatch.setenv("TEAM_LOGIN", "me:4711")
    secret = SimpleNamespace(key="login", group="team", as_env_var=None)
    for image in (
        Image.from_debian_base(registry="ghcr.io/team", registry_secret="team_login"),
        Image.from_uv_script(script, registry_secret=secret),
        BASE.clone(registry_secret="team_login").clone(base_image="other", name="n").with_pip_packages("a"),
    ):
        assert definition(image)["base"]["registry_secret"] == "team_login"
        assert given_secrets([image]) == {"team_login": b"me:4711"}
        assert "4711" not in image.definition_json
    assert "registry_secret" not in definition(BASE)["base"]


def test_clones_take_layers_of_others():
    """They come behind the image's own, as if they were declared there; the other image's base does not count."""
    other = Image.from_base("a").with_pip_packages("b").with_env_vars({"C": "1"})
    clone = BASE.with_pip_packages("a").clone(addl_layer=other, name="n")
    same = BASE.with_pip_packages("a").with_pip_packages("b").with_env_vars({"C": "1"}).clone(name="n")
    assert clone.definition_json == same.definition_json
    assert BASE.clone(addl_layer=other._layers[0]).digest == BASE.with_pip_packages("b").digest
    for wrong, error, message in (
        ("pandas", TypeError, "takes a flyte.Image"),
        (Image.from_debian_base(), ValueError, "has no layers"),
    ):
        with pytest.raises(error, match=message):
            BASE.clone(addl_layer=wrong)
    with pytest.raises(ValueError, match="extendable=False"):
        BASE.clone(extendable=False).clone(addl_layer=other)


def test_the_version_of_the_platform_is_the_only_one():
    """It changes nothing; the refusal of another one says which there is."""
    assert Image.from_debian_base(flyte_version=flyte.__version__) == Image.from_debian_base()
    with pytest.raises(
        flyte.errors.FeatureNotAvailableError, match=f"leave it out, or give '{flyte.__version__}'"
    ):
        Image.from_debian_base(flyte_version="2.0")


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
