"""Definitions become Dockerfiles: golden files, identity, and refusals that name layer, field and fix.

The golden files are rewritten when HANGAR_REWRITE_GOLDEN is set.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

import pytest

import flyte
from services.common.errors import InvalidArgument
from services.image_builder.dockerfile import (
    HOST_FILES,
    Recipe,
    SdkContent,
    Step,
    make_recipe,
    read_definition,
)
from services.image_builder.inside import prepare_python
from services.image_builder.pythons import AS_ASSUMED, ELSEWHERE, Pythons, Sightings

GOLDEN = Path(__file__).with_name("golden")
BASE = "python:{python}-slim-bookworm"
TOOLS = {
    "prepare_python.py": "# prepares\n",
    "compile_python.py": "# compiles\n",
    "install_sdk.py": "# installs\n",
}
SDK = SdkContent("5dc0", ("pydantic>=2.9", "cloudpickle>=3"), TOOLS)
DEBIAN = flyte.Image.from_debian_base(python_version=(3, 12))

FILES = Path(__file__).with_name("files")
IMAGES = {
    "default": None,
    "files": DEBIAN.with_pip_packages("torch", "rich", secret_mounts="INDEX_TOKEN")
    .with_source_folder(FILES, dst="data")
    .with_uv_project(FILES / "pyproject.toml", FILES / "lock.toml", project_install_mode="install_project"),
    "dockerfile": flyte.Image.from_dockerfile(FILES / "Dockerfile"),
    "pip": DEBIAN.with_pip_packages("pandas", "scikit-learn>=1.5", "flyte>=2.0"),
    "indexes": DEBIAN.with_pip_packages(
        "torch",
        index_url="https://index.example/simple",
        extra_index_urls=["more=https://more.example/simple"],
        pre=True,
        extra_args="--no-deps --only-binary ':all:'",
    ),
    "every_layer": flyte.Image.from_base("registry.example:5000/team/base:1.4")
    .with_apt_packages("python3", "ffmpeg")
    .with_env_vars({"GREETING": 'say "hi" to $HOME\\n', "EMPTY": ""})
    .with_commands(["echo 'one' > /one", "echo two > /two"])
    .with_workdir("/my app")
    .with_pip_packages("numpy")
    .with_pip_packages("pandas"),
}


def recipe(
    definition: str,
    base: str = BASE,
    sdk: SdkContent = SDK,
    platform: str = "linux/amd64",
    pythons: Pythons = AS_ASSUMED,
) -> Recipe:
    """What is made of a definition here."""
    return make_recipe(read_definition(definition), base, sdk, platform, pythons)


def shown(found: Recipe) -> str:
    """A recipe as a text: Dockerfile, files, steps."""
    parts = [("Dockerfile", found.dockerfile), *sorted(found.files.items())]
    steps = "".join(f"{number}. {step.text}\n" for number, step in enumerate(found.steps, 1))
    archives = "".join(f"{place} {archive.sha256}\n" for place, archive in found.archives.items())
    more = [("archives", archives)] if archives else []
    return "\n".join(f"=== {name}\n{text}" for name, text in [*parts, *more, ("steps", steps)])


@pytest.mark.parametrize("name", IMAGES)
def test_golden(name: str) -> None:
    """A definition gives this Dockerfile and these files, to the letter."""
    image = IMAGES[name]
    definition = '{"base":{"kind":"debian","python":"3.11"}}' if image is None else image.definition_json
    text = shown(recipe(definition))
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("HANGAR_REWRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_options_of_a_requirements_file_count_for_heavy_packages_too() -> None:
    """Their index may be the file's own; a part of what has to have hashes is not installed by itself."""
    lines = ["--extra-index-url https://x.example/cpu", "torch==2.1", "six"]
    found = recipe(layers({"kind": "requirements", "lines": lines}))
    assert found.files["layers/0/heavy/requirements.txt"] == "\n".join(lines[:2]) + "\n"
    assert found.files["layers/0/requirements.txt"] == "\n".join(lines) + "\n"
    alone = recipe(layers({"kind": "requirements", "lines": lines[:2]}))
    hashed = recipe(layers({"kind": "requirements", "lines": ["--require-hashes", *lines]}))
    for each in (alone, hashed):
        assert "layers/0/heavy/requirements.txt" not in each.files


def test_versions_of_debian_packages_may_have_wildcards() -> None:
    """As apt takes them; the shell does not see them."""
    found = recipe(layers({"kind": "apt", "packages": ["hello=2.*", "curl=7.88.1-10+deb12u?", "git/stable"]}))
    assert "recommends 'hello=2.*' 'curl=7.88.1-10+deb12u?' git/stable\n" in found.files["layers/0/run.sh"]


def test_a_date_counts_for_packages_that_have_none() -> None:
    """That of the host goes to the installer by its name, so that it is a part of the image's identity."""
    text = layers(
        {"kind": "pip", "packages": ["a"]},
        {"kind": "pip", "packages": ["a"], "exclude_newer": "2026-01-02"},
        {"kind": "pip", "packages": ["a"], "extra_args": "--exclude-newer=2026-01-03"},
    )
    found = make_recipe(read_definition(text).dated("2026-01-01"), BASE, SDK, "linux/amd64")
    for number in range(3):
        script = found.files[f"layers/{number}/run.sh"]
        assert re.findall(r"--exclude-newer[ =](\S+)", script) == [f"2026-01-0{number + 1}"]


def test_settings_of_uv_are_those_of_a_project_that_is_installed_from() -> None:
    """What a script's header says is a `[tool.uv]` table again, heavy packages included."""
    settings = {
        "index": [{"name": "x", "url": "https://x.example", "explicit": True}],
        "sources": {"torch": {"index": "x"}},
    }
    found = recipe(layers({"kind": "pip", "packages": ["torch", "six", "flyte"], "uv": settings}))
    for place, packages in (("heavy/", ["torch"]), ("", ["torch", "six"])):
        project = tomllib.loads(found.files[f"layers/0/{place}pyproject.toml"])
        assert project["project"]["dependencies"] == packages
        assert project["tool"] == {"uv": settings}


def test_equal_content_has_one_name() -> None:
    """What makes no difference to the image makes none to its name."""
    named = flyte.Image.from_debian_base(python_version=(3, 12), name="mine").with_pip_packages("pandas")
    plain = DEBIAN.with_pip_packages("pandas")
    assert recipe(named.definition_json).name == recipe(plain.definition_json).name


@pytest.mark.parametrize(
    "changed",
    [
        recipe(DEBIAN.with_pip_packages("b", "a").definition_json),
        recipe(DEBIAN.with_pip_packages("a", "b").definition_json, base="mirror.example/python:{python}"),
        recipe(
            DEBIAN.with_pip_packages("a", "b").definition_json,
            sdk=SdkContent("other", SDK.requirements, TOOLS),
        ),
        recipe(DEBIAN.with_pip_packages("a", "b").definition_json, platform="linux/arm64"),
        recipe(DEBIAN.with_pip_packages("a").with_pip_packages("b").definition_json),
    ],
    ids=["packages", "base", "sdk", "platform", "layers"],
)
def test_different_content_has_another_name(changed: Recipe) -> None:
    """Definition, order, base image setting, platform and SDK are all part of the identity."""
    assert changed.name != recipe(DEBIAN.with_pip_packages("a", "b").definition_json).name


def test_layers_keep_their_order_and_their_text() -> None:
    """Changing a later layer changes nothing before it, so that the builder's cache holds."""
    short = recipe(DEBIAN.with_pip_packages("numpy").definition_json)
    for image in (DEBIAN.with_pip_packages("pandas"), DEBIAN.with_env_vars({"PATH": "/mine/bin"})):
        (layer,) = json.loads(image.definition_json)["layers"]
        definition = json.loads(DEBIAN.with_pip_packages("numpy").definition_json)
        definition["layers"].append(layer)
        longer = recipe(json.dumps(definition))
        assert longer.dockerfile.startswith(short.dockerfile.partition("USER 65532")[0])
        assert {name: longer.files[name] for name in short.files} == short.files


FIRST = ["check Python", "install what the platform's SDK needs", "install the platform's SDK"]
AGAIN = "install the platform's SDK and what it needs"
OTHER = flyte.Image.from_base("team/base:1")
COMMANDS = OTHER.with_commands(["one"]).with_commands(["two"])
PIP = COMMANDS.with_pip_packages("numpy").with_commands(["three"])


@pytest.mark.parametrize(
    ("image", "pythons", "steps"),
    [
        (DEBIAN.with_commands(["one"]), AS_ASSUMED, [*FIRST, 0]),
        (COMMANDS, AS_ASSUMED, [*FIRST, 0, 1]),
        (OTHER, AS_ASSUMED, FIRST),
        (flyte.Image.from_dockerfile(FILES / "Dockerfile"), AS_ASSUMED, [AGAIN]),
        (DEBIAN.with_env_vars({"PATH": "/a"}).with_commands(["one"]), AS_ASSUMED, [*FIRST, AGAIN, 1]),
        (DEBIAN.with_workdir(str(PurePosixPath("/root", "mine"))), AS_ASSUMED, [*FIRST, 0, 0]),
        (PIP, Pythons(absent=frozenset({0})), [0, 1, AGAIN, 2, 3]),
        (COMMANDS, Pythons(absent=frozenset({0})), [0, 1, AGAIN]),
        (PIP, Pythons(moved=frozenset({2})), [*FIRST, 0, 1, AGAIN, 2, 3]),
        (PIP, Pythons(frozenset({0, 2}), frozenset({2, 4})), [0, 1, AGAIN, 2, 3, AGAIN]),
        (COMMANDS.without_sdk(), AS_ASSUMED, [0, 1]),
        (PIP.without_sdk(), AS_ASSUMED, [0, 1, "check Python", 2, 3]),
    ],
)
def test_the_sdk_is_installed_as_early_as_there_is_a_python(
    image: flyte.Image, pythons: Pythons, steps: list[object]
) -> None:
    """Nothing is made after the author's layers where Python is there before; the name is the same wherever it is."""
    found = recipe(image.definition_json, pythons=pythons)
    assert [step.text if step.layer is None else step.layer for step in found.steps[1:]] == steps
    assert found.name == recipe(image.definition_json).name


def test_steps_keep_the_sdk_but_for_those_that_bring_another_python() -> None:
    """Steps of a layer behind which another Python runs are not held to the SDK; those before and behind are."""
    lines = recipe(PIP.definition_json, pythons=Pythons(moved=frozenset({2}))).dockerfile.split("RUN ")
    words = (r"\none\n", r"\ntwo\n", "source=layers/2,", r"\nthree\n")
    assert [any(word in line and "step.sh" in line for line in lines) for word in words] == [
        True,
        False,
        True,
        True,
    ]


def test_commands_are_in_the_instruction() -> None:
    """Each byte, on one line of ASCII that is no here-document; what is too long or has a password is mounted."""
    for command in (
        "echo '$HOME' \"\\\\\" <<END\nzw\u00f6lf \U0001f40b\nEND \\\n",
        "echo \x7f\u2028\x1b",
        "x" * 64_000,
    ):
        *_, line, _ = recipe(layers({"kind": "commands", "commands": [command]})).dockerfile.splitlines()
        assert line.isascii()
        assert "<" not in line
        assert json.loads(line)[-1].endswith(f"set +eu\n{command}\n")
    for command in ("x" * 65_000, "\u00f6" * 11_000, "git clone https://me:hunter2@x.example/a"):
        found = recipe(layers({"kind": "commands", "commands": [command]}))
        assert found.files["layers/0/0/run.sh"].endswith(f"set +eu\n{command}\n")
        assert max(map(len, found.dockerfile.splitlines())) < 200
        assert "hunter2" not in found.dockerfile


def test_nothing_is_mounted_that_the_host_does_not_have() -> None:
    """Of its settings; what the author's layers mount stays, and so do all else and the image's name."""
    secret = {"kind": "commands", "commands": ["a", "b"], "secret_mounts": [{"key": "netrc"}]}
    found = recipe(layers(secret))
    assert found.dockerfile_on(HOST_FILES) == found.dockerfile
    for names in (set[str](), {"netrc"}, {"settings", "uv.toml"}):
        text = found.dockerfile_on(names)
        assert {name for name in HOST_FILES if f"id=hangar-{name}," in text} == names
        assert text.count("id=hangar-secret-netrc,") == 2
        assert re.findall(r'\["/.*', text) == re.findall(r'\["/.*', found.dockerfile)


def test_a_failed_step_shows_where_python_is() -> None:
    """Only what could make the next attempt another one counts, and it ends: a fact is learnt once."""
    first = recipe(PIP.definition_json)
    check, one = first.steps[1], next(step for step in first.steps if step.layer == 0)
    assert first.shown_by(check, 1) is None
    assert first.shown_by(None, ELSEWHERE) is None
    assert first.shown_by(check, ELSEWHERE) == Pythons(absent=frozenset({0}))
    assert first.shown_by(one, ELSEWHERE) == Pythons(moved=frozenset({1}))
    known = Pythons(frozenset({0}), frozenset({1}))
    second = recipe(PIP.definition_json, pythons=known)
    assert second.shown_by(one, ELSEWHERE) is None
    assert second.shown_by(Step(AGAIN, after=1), ELSEWHERE) == Pythons(frozenset({0, 1}), frozenset({1}))
    assert second.shown_by(Step(AGAIN, after=2), ELSEWHERE) is None  # packages come next: it is needed there
    assert recipe(COMMANDS.definition_json).shown_by(Step(AGAIN, after=2), ELSEWHERE) is None  # nothing comes


def test_a_python_that_is_too_old_may_be_followed_by_another() -> None:
    """It ends with the code that has the SDK installed behind a later layer, and says what is missing."""
    command = [sys.executable, prepare_python.__file__, "99", "0", "uv", "linux/amd64", "0", str(ELSEWHERE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == ELSEWHERE
    assert "is too old: tasks need Python 99.0 or newer" in done.stderr


def test_what_was_seen_counts_for_images_that_begin_alike() -> None:
    """The same base with the same layers up to there, whatever comes behind them."""
    seen, known = Sightings(), Pythons(frozenset({0}), frozenset({2}))
    seen.note("a", recipe(COMMANDS.definition_json).definition.layers, known)
    assert seen.of("a", recipe(PIP.definition_json).definition.layers) == known
    other = recipe(OTHER.with_commands(["one"]).with_commands(["other"]).definition_json).definition.layers
    assert seen.of("a", other) == Pythons(absent=frozenset({0}))
    assert seen.of("b", other) == AS_ASSUMED


def layers(*found: object) -> str:
    """A definition with these layers."""
    return json.dumps({"base": {"kind": "debian", "python": "3.12"}, "layers": list(found)})


@pytest.mark.parametrize(
    ("definition", "field", "words"),
    [
        ("{", "", "is no JSON"),
        ("[]", "", "has to be an object"),
        ('{"layers": {}}', "layers", "has to be a list"),
        ('{"base": {"kind": "debian", "python": "3.9"}}', "base.python", "tasks need Python 3.10 or newer"),
        ('{"base": {"kind": "debian", "python": "latest"}}', "base.python", "a version such as '3.12'"),
        ('{"base": {"kind": "image", "uri": "a b"}}', "base.uri", "the address of an image"),
        ('{"base": {"kind": "image", "uri": "scratch"}}', "base.uri", "use an image with Python"),
        ('{"base": {"kind": "dockerfile"}}', "base.dockerfile", "an object with a text"),
        (layers({"kind": "env", "vars": {}}, {"kind": "uv_project"}), "layers[1].pyproject", "with a text"),
        (layers({"kind": "source_file"}), "layers[0].archive", "the sha256 and the size of an uploaded"),
        (
            layers({"kind": "apt", "packages": ["a"], "secret_mounts": [{"key": "../x"}]}),
            "layers[0].secret_mounts[0]",
            "the key of a secret",
        ),
        ('{"base": {"kind": "debian", "registry": "http://x"}}', "base.registry", "a host and a path"),
        ('{"base": {"kind": "debian", "platform": ["arm"]}}', "base.platform[0]", "'linux/amd64'"),
        (layers({"kind": "magic"}), "layers[0].kind", "is not known: use one of apt, code_bundle"),
        (
            '{"base": {"kind": "built"}}',
            "base.kind",
            "the image is there already: hosts with the Docker engine take it",
        ),
        (layers({}), "layers[0]", 'an object with a "kind"'),
        (layers({"kind": "pip", "packages": ["a\nb"]}), "layers[0].packages[0]", "one line of text"),
        (layers({"kind": "pip", "packages": ["a"], "pre": 1}), "layers[0].pre", "true or false"),
        (layers({"kind": "pip", "extra_args": "'"}), "layers[0].extra_args", "mend the quotes"),
        (layers({"kind": "apt", "packages": []}), "layers[0].packages", "name at least one"),
        (
            layers({"kind": "apt", "packages": ["-o=x"]}),
            "layers[0].packages[0]",
            "the name of a Debian package",
        ),
        (layers({"kind": "env", "vars": {"A B": "1"}}), "layers[0].vars", "use letters, digits and _"),
        (layers({"kind": "env", "vars": {"A": "1\n2"}}), "layers[0].vars.A", "has a line break"),
        (layers({"kind": "env", "vars": {"A": "é" * 40_000}}), "layers[0].vars.A", "put it into a file"),
        ('{"unknown": 1}', "unknown", "leave it out"),
        ('{"base": {"kind": "debian", "pyton": "3.12"}}', "base.pyton", "is not known: leave it out"),
        (layers({"kind": "pip", "packages": ["a"], "package": ["b"]}), "layers[0].package", "is not known"),
        (
            layers({"kind": "pip", "packages": ["a"], "uv": []}),
            "layers[0].uv",
            "an object with settings of uv",
        ),
        (
            layers({"kind": "pip", "packages": ["a"], "uv": {"index": [None]}}),
            "layers[0].uv",
            "text, numbers",
        ),
        (
            layers({"kind": "pip", "packages": ["a"], "index_url": "https://me:hunter2@x.example/simple"}),
            "layers[0].index_url",
            "a password in the address https://****@x.example: ",
        ),
        (
            layers({"kind": "requirements", "lines": ["a @ git+https://ghp_0123456789012345@x.example/a"]}),
            "layers[0].lines",
            "git+https://****@x.example",
        ),
        (layers({"kind": "env", "vars": {"A": 1}}), "layers[0].vars.A", "has to be text"),
        (layers({"kind": "workdir", "path": "app"}), "layers[0].path", "use an absolute path"),
        (layers({"kind": "commands", "commands": "ls"}), "layers[0].commands", "has to be a list"),
        (layers({"kind": "commands", "commands": ["\ud83d"]}), "", "replace what is no character"),
    ],
)
def test_wrong_definitions_are_refused(definition: str, field: str, words: str) -> None:
    """The message says where it is wrong and what to do; programs find the field in the metadata."""
    with pytest.raises(InvalidArgument) as caught:
        recipe(definition)
    assert words in caught.value.message
    assert field in caught.value.message
    assert caught.value.metadata["field"] == f"definition_json.{field}".rstrip(".")
