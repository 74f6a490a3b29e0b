"""Bases of authors that are really built on: the SDK comes first where they have Python, and else behind it."""

from __future__ import annotations

import uuid

import pytest

import flyte
from services.image_builder.tests.real_builder import FAILED, SUCCEEDED, Builder

pytestmark = pytest.mark.timeout(300)
COMES_LATER = "Python comes with the layers: the platform's SDK is installed behind them"


def base_of(builder: Builder) -> flyte.Image:
    """An image of an author's own, with Python."""
    return flyte.Image.from_base(f"{builder.repository}:3.11")


def made(lines: list[str]) -> list[str]:
    """Steps of a build that were not in the builder's cache."""
    starts = [number for number, line in enumerate(lines) if line.startswith("[")]
    return [
        lines[number].partition("] ")[2] for number in starts if lines[number + 1 : number + 2] != ["cached"]
    ]


async def version_of(builder: Builder, reference: str, package: str) -> str:
    """Version of an installed package, in an image where the SDK can be imported."""
    program = f"import flyte, importlib.metadata as m; print(m.version('{package}'))"
    return (await builder.run(reference, "python3", "-c", program)).strip()


async def test_the_authors_last_layer_is_made_alone(builder: Builder) -> None:
    """On a base with Python a changed last layer is all that is made, one that breaks the SDK fails by itself."""
    image = base_of(builder).with_commands(["mkdir -m 700 /closed"]).with_workdir("/closed")
    first, lines = await builder.build_image(image.with_commands([f"echo {uuid.uuid4()} > /last"]))
    assert first.state == SUCCEEDED, lines
    assert (
        await builder.run(first.reference, "python3", "-c", "import flyte, os; print(os.listdir())") == "[]\n"
    )
    last = f"echo {uuid.uuid4()} > /last"
    second, lines = await builder.build_image(image.with_commands([last]))
    assert second.state == SUCCEEDED, lines
    assert made(lines)[1:] == [f"layer 2: run {last}"]
    where = """python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))'"""
    broken, _ = await builder.build_image(image.with_commands([f'rm -r "$({where})/pydantic"', "true"]))
    assert (broken.state, broken.failed_layer, broken.exit_code) == (FAILED, 2, 1)
    assert "No module named 'pydantic'" in broken.failure.message
    library = """python3 -c 'import os; print(os.path.dirname(os.__file__))'"""
    for command, layer, message in (
        (f'rm -r "$({library})/sqlite3" "$({library})/json"', 2, "No module named 'json'"),
        ("rm -rf /usr/share/hangar/site-packages", 2, "this step removed files below /usr/share/hangar"),
        ("mv /usr/bin/python3 /gone", None, ". Layer 2 left none"),
    ):
        broken, _ = await builder.build_image(image.with_commands([command]))
        failed_layer = broken.failed_layer if broken.HasField("failed_layer") else None
        assert (broken.state, failed_layer) == (FAILED, layer), broken.failure
        assert message in broken.failure.message


async def test_a_layer_brings_python(builder: Builder) -> None:
    """The SDK follows it, before the author's packages, and stays there for all images that begin alike."""
    hidden = base_of(builder).without_sdk().with_commands(["mv /usr/bin/python3 /usr/bin/hidden"])
    base, lines = await builder.build_image(hidden)
    assert base.state == SUCCEEDED, lines
    image = (
        flyte.Image.from_base(base.reference)
        .with_commands(["true", "mv /usr/bin/hidden /usr/bin/python3"])
        .with_pip_packages("iniconfig==2.0.0")
    )
    found, lines = await builder.build_image(image)
    assert found.state == SUCCEEDED, lines
    assert lines.count(COMES_LATER) == 1
    assert await version_of(builder, found.reference, "iniconfig") == "2.0.0"
    last = f"echo {uuid.uuid4()} > /last"
    another, lines = await builder.build_image(image.with_commands([last]))
    assert another.state == SUCCEEDED, lines
    assert lines.count(COMES_LATER) == 1
    assert made(lines)[1:] == [f"layer 2: run {last}"]
    assert another.steps == 6
    without, _ = await builder.build_image(flyte.Image.from_base(base.reference).with_commands(["true"]))
    assert without.state == FAILED
    assert "there is no python3 in this image: tasks need Python 3.10 or newer" in without.failure.message
    hidden = base_of(builder).with_env_vars({"PATH": "/mine:$PATH"}).with_commands(["/bin/true"])
    without, _ = await builder.build_image(hidden)
    assert "Layer 0 sets PATH, word for word, to '/mine:$PATH'" in without.failure.message


async def test_a_layer_brings_another_python(builder: Builder) -> None:
    """A step behind which another Python runs, at a place that was in PATH, is followed by the SDK for that one."""
    image = (
        base_of(builder)
        .with_env_vars({"PATH": "/mine/bin:/usr/local/bin:/usr/bin:/bin"})
        .with_commands(["python3 -m venv --without-pip /mine"])
        .with_commands(["python3 -c 'import flyte, sys; print(sys.prefix)' > /prefix"])
    )
    build, lines = await builder.build_image(image)
    assert build.state == SUCCEEDED, lines
    assert COMES_LATER in lines
    assert await builder.run(build.reference, "cat", "/prefix") == "/mine\n"


async def test_packages_of_a_base_stay_where_they_can(builder: Builder) -> None:
    """The SDK takes what goes with the base's packages; what it cannot live with is replaced, and the log says so."""
    where = """python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))'"""
    own = f'mkdir "$({where})/flyte" && echo "raise SystemExit(3)" > "$({where})/flyte/__init__.py"'
    old = "python3 -m pip install --quiet --break-system-packages --root-user-action ignore pydantic==1.10.13"
    image = base_of(builder).without_sdk()
    kept, lines = await builder.build_image(
        image.with_pip_packages("typing-extensions==4.8.0").with_commands([own])
    )
    assert kept.state == SUCCEEDED, lines
    build, lines = await builder.build_image(flyte.Image.from_base(kept.reference))
    assert build.state == SUCCEEDED, lines
    assert await version_of(builder, build.reference, "typing-extensions") == "4.8.0"
    never = f"echo {uuid.uuid4()} > /unlike"  # not in the builder's cache: there nothing is printed
    replaced, lines = await builder.build_image(image.with_commands([old, never]))
    assert replaced.state == SUCCEEDED, lines
    build, lines = await builder.build_image(flyte.Image.from_base(replaced.reference))
    assert build.state == SUCCEEDED, lines
    at = lines.index("of what is installed some may have to be replaced by what the platform's SDK needs:")
    assert " - pydantic==1.10.13" in lines[at:]
    assert not (await version_of(builder, build.reference, "pydantic")).startswith("1.")
