"""`image.builder: local`: images are built on the author's machine, and hosts take them as they are."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from integration_tests.backend import Backend
from integration_tests.components.registry import Registry
from integration_tests.polling import until
from integration_tests.processes import of_directory
from integration_tests.workspace import Workspace

SECONDS = 300
SCRIPT = """
    import os
    import flyte

    small = flyte.Resources(cpu="100m", memory="256Mi")
    image = (
        flyte.Image.from_debian_base()
        .with_pip_packages("iniconfig==2.0.0")
        .with_source_file("data.txt", dst="/data")
        .with_commands([f"sleep {os.environ.get('NAP')}; echo {os.environ.get('MARK')}"])
    )
    inner = flyte.TaskEnvironment("inner", image=image, resources=small)
    env = flyte.TaskEnvironment("outer", depends_on=[inner], resources=small)

    @inner.task
    def version() -> str:
        import importlib.metadata
        import pathlib

        return importlib.metadata.version("iniconfig") + pathlib.Path("/data/data.txt").read_text()

    @env.task
    def main() -> str:
        return version()
"""


class Author(Workspace):
    """Somebody whose configuration has `builder: local`, with a script whose image nobody has.

    Args:
        directory: His directory.
        backend: The backend that his configuration names.
        docker_url: The engine of his machine.
    """

    def __init__(self, directory: Path, backend: Backend, docker_url: str) -> None:
        super().__init__(directory, backend.grpc)
        self.backend = backend
        self.engine = docker.DockerClient(docker_url)
        self.environ |= {"DOCKER_HOST": docker_url, "MARK": uuid.uuid4().hex, "NAP": "0"}
        self.data = Path(self.environ["HANGAR_DATA_DIR"]) / "local-builder"
        self.write("flow.py", SCRIPT)
        self.write("data.txt", "!")
        self.configure()

    def configure(self, **image: str) -> None:
        """Writes the configuration."""
        admin = {"endpoint": self.backend.grpc, "insecure": True}
        content = {"admin": admin, "image": {"builder": "local", **image}}
        (self.directory / "config.yaml").write_text(yaml.safe_dump(content))

    def run(self, task: str = "version") -> tuple[str, str]:
        """Runs a task to its end, and returns the name of the run and what was said of images."""
        done = self.flyte("run", "flow.py", task, seconds=SECONDS)
        assert done.lines[-1] == "2.0.0!", done
        return done.lines[0], done.err

    def record(self, run: str) -> str:
        """The image that the ledger has on record for the task, by itself or called by another one."""
        [called] = [each.id.name for each in self.backend.api.actions(run) if each.short_name == "version"]
        return self.backend.api.action(run, called).attempts[0].image

    def images(self, builder: str = "local") -> list[dict[str, Any]]:
        """What a builder has on record."""
        environ = self.environ | {"FLYTE_IMAGE_BUILDER": builder}
        self.environ, before = environ, self.environ
        try:
            found: list[dict[str, Any]] = json.loads(self.flyte("-of", "json", "get", "image").out)
        finally:
            self.environ = before
        return found

    def builder(self) -> int:
        """Process id of the builder of his machine."""
        return int(json.loads((self.data / "backend.json").read_text())["pid"])

    def close(self) -> None:
        """Removes what was built, and ends the builder."""
        self.configure()
        for image in self.images():
            with contextlib.suppress(docker.errors.NotFound):
                self.engine.api.remove_image(image["image"].partition("@")[0], force=True)
        os.kill(self.builder(), signal.SIGTERM)
        self.engine.close()
        until(lambda: not of_directory(self.data), "the builder has ended", 30)


@pytest.fixture(scope="module")
def author(shared_docker_backend: Backend, place: Path, docker_url: str) -> Iterator[Author]:
    """The author of all tests here."""
    found = Author(place / "users" / "author" / "work", shared_docker_backend, docker_url)
    yield found
    found.close()


def test_an_author_builds_for_the_engine_that_he_shares(author: Author) -> None:
    """A run uses just what was built here, also for tasks of other environments; then nothing is built any more."""
    run, said = author.run()
    assert "image of inner: built in" in said
    name = re.fullmatch(r"hangar/([0-9a-f]{32})@sha256:[0-9a-f]{64}", author.record(run))
    assert name is not None
    assert [each["name"] for each in author.images()] == [name[1]]
    assert name[1] not in [each["name"] for each in author.images("remote")]
    builder = author.builder()
    again, said = author.run("main")
    assert "image of inner: cached" in said
    assert author.record(again) == author.record(run)
    assert author.builder() == builder


def test_what_an_author_deploys_has_his_images(author: Author) -> None:
    """Deployed tasks run in what was built here, called by others and by themselves; the same again is no change."""

    def deploy(said: str) -> str:
        done = author.flyte("deploy", "--all", "flow.py", seconds=SECONDS)
        assert f"image of inner: {said}" in done.err
        return done.lines[-1]

    def record(task: str) -> str:
        done = author.flyte("run", "deployed-task", task, seconds=SECONDS)
        assert done.lines[-1] == "2.0.0!", done
        return author.record(done.lines[0])

    assert "2 tasks of 2 environments" in deploy("cached")
    reference = record("outer.main").partition("@")[0]
    assert [each["image"].partition("@")[0] for each in author.images()] == [reference]
    assert deploy("cached").endswith("(nothing changed)")
    author.engine.api.remove_image(reference, force=True)
    deploy("built in")
    assert record("inner.version").partition("@")[0] == reference


def test_what_was_built_goes_to_a_registry(author: Author, registry: Registry) -> None:
    """With `image.registry` hosts pull the digest that was pushed, here into an engine that has lost the image."""
    author.configure(registry=f"{registry.address}/team")
    build = author.flyte("-of", "json", "build", "flow.py", "inner", seconds=SECONDS)
    [built] = json.loads(build.out)
    uri, _, digest = built["image"].partition("@")
    for reference in (uri, f"hangar/{uri.rpartition(':')[2]}"):
        author.engine.api.remove_image(reference, force=True)
    run, said = author.run()
    assert "image of inner: cached" in said
    assert author.record(run) == f"{registry.address}/team/hangar@{digest}"
    author.engine.api.remove_image(author.record(run), force=True)


def test_a_command_that_is_killed_leaves_nothing(author: Author) -> None:
    """After `kill -9` in the middle of a build no process of it lives, and the next command builds what it wants."""
    author.configure()
    author.environ |= {"NAP": "600", "MARK": uuid.uuid4().hex}
    command = author.popen("run", "flow.py", "version")
    try:
        assert command.stderr is not None
        assert any("sleep 600" in line for line in command.stderr)
    finally:
        command.kill()
        command.communicate()
    until(lambda: not of_directory(author.data), "nothing is left of the build", 30)
    author.environ["NAP"] = "0"
    assert "image of inner: built in" in author.run()[1]
    assert sorted({each["state"] for each in author.images()}) == ["cancelled", "succeeded"]
