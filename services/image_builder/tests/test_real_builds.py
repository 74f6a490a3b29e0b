"""Images for real: built by BuildKit in a Docker engine, started, looked through."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import pytest

import flyte
from hangar.core.v1 import failure_pb2
from hangar.image.v1 import image_build_pb2 as states
from hangar.image.v1 import image_service_pb2 as messages
from services.common.sdk_layer import SdkLayer
from services.image_builder.tests.real_builder import (
    FAILED,
    SUCCEEDED,
    Builder,
)

NASTY_COMMAND = "echo zw\u00f6lf 'it''s' >> /nasty\ncat >> /nasty <<'END'\n${a:b} \\ \"\nEND"
pytestmark = pytest.mark.timeout(300)


async def test_packages_variables_commands_in_one_image(builder: Builder) -> None:
    """A user without rights finds packages, the SDK, all compiled, variables to the letter, the working directory."""
    nasty = 'a "b" $HOME \\ c'
    build, lines = await builder.build(
        {"kind": "env", "vars": {"NASTY": nasty}},
        {"kind": "pip", "packages": ["iniconfig>=2", "flyte>=99"]},
        {"kind": "commands", "commands": ['printf %s "$NASTY" > /nasty', NASTY_COMMAND]},
        {"kind": "workdir", "path": "/my app"},
    )
    assert build.state == SUCCEEDED, lines
    assert build.size_bytes > 0
    program = (
        "import iniconfig, flyte, pydantic, cloudpickle, json, os\n"
        "print(os.getuid(), os.getcwd(), os.environ['NASTY'])\n"
        "print(open('/nasty').read())\n"
        "modules = [iniconfig, flyte, pydantic, cloudpickle, json]\n"
        "print([m.__name__ for m in modules if not os.path.exists(m.__cached__)])\n"
    )
    printed = await builder.run(build.reference, "python3", "-c", program, read_only=True)
    assert printed == f'65532 /my app {nasty}\n{nasty}zw\u00f6lf its\n${{a:b}} \\ "\n\n[]\n'
    assert await builder.run(build.reference, "python", "-c", "print(1)") == "1\n"
    labels = builder.engine.images.get(build.reference).labels
    assert labels["hangar.image"] == build.name
    assert labels["hangar.sdk"] == SdkLayer().digest


async def test_one_more_package_rebuilds_one_layer(builder: Builder) -> None:
    """What comes before the change is taken from the cache; the same definition is not built again."""
    first, _ = await builder.build({"kind": "pip", "packages": ["iniconfig"]})
    second, lines = await builder.build(
        {"kind": "pip", "packages": ["iniconfig"]}, {"kind": "pip", "packages": ["pluggy"]}
    )
    assert (first.state, second.state) == (SUCCEEDED, SUCCEEDED)
    at = lines.index("[5/6] layer 0: install iniconfig")
    assert lines[at + 1] == "cached"
    again, _ = await builder.build({"kind": "pip", "packages": ["iniconfig"]})
    assert (again.name, again.state) == (first.name, SUCCEEDED)
    assert len(builder.engine.images.list(filters={"label": f"hangar.image={first.name}"})) == 1


async def test_an_impossible_package_fails_with_the_words_of_the_installer(builder: Builder) -> None:
    """The layer, the exit code and what uv said are in the answer; nothing is left in the engine."""
    build, lines = await builder.build(
        {"kind": "env", "vars": {"A": "1"}}, {"kind": "pip", "packages": ["hangar-no-such-package-xyz"]}
    )
    assert build.state == FAILED
    assert (build.failure.kind, build.failure.code) == (failure_pb2.FAILURE_KIND_IMAGE, "InvalidPackage")
    assert (build.failed_layer, build.exit_code) == (1, 1)
    assert build.step == "layer 1: install hangar-no-such-package-xyz"
    assert "hangar-no-such-package-xyz was not found" in build.failure.message
    assert any("was not found" in line for line in lines)
    assert builder.engine.images.list(filters={"label": f"hangar.image={build.name}"}) == []


async def test_a_failing_command_is_named(builder: Builder) -> None:
    """Of several commands the one that failed, with its exit code and output."""
    build, _ = await builder.build({"kind": "commands", "commands": ["true", "echo oh no; exit 7", "true"]})
    assert (build.state, build.failed_layer, build.exit_code) == (FAILED, 0, 7)
    assert build.failure.message == "layer 0: run echo oh no; exit 7 failed (exit code 7):\noh no"


async def test_what_the_sdk_needs_cannot_be_broken(builder: Builder) -> None:
    """A pin that the SDK cannot live with fails when its layer is built, not when a task starts."""
    build, _ = await builder.build({"kind": "pip", "packages": ["pydantic==1.10.2"]})
    assert (build.state, build.failed_layer) == (FAILED, 0)
    assert "pydantic" in build.failure.message
    kept, _ = await builder.build({"kind": "pip", "packages": ["cloudpickle==3.0.0"]})
    assert kept.state == SUCCEEDED
    program = "import cloudpickle; print(cloudpickle.__version__)"
    assert await builder.run(kept.reference, "python3", "-c", program) == "3.0.0\n"


async def test_commands_cannot_hide_or_break_the_sdk(builder: Builder) -> None:
    """A flyte of a command is not found, a command that breaks the SDK is named, another Python gets it too."""
    where = """python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))'"""
    other = f'mkdir "$({where})/flyte" && echo "raise SystemExit(3)" > "$({where})/flyte/__init__.py"'
    hidden, lines = await builder.build({"kind": "commands", "commands": [other, "true"]})
    assert hidden.state == SUCCEEDED, lines
    found = await builder.run(hidden.reference, "python3", "-c", "import flyte; print(flyte.__file__)")
    assert found == "/usr/share/hangar/site-packages/flyte/__init__.py\n"
    broken, _ = await builder.build(
        {
            "kind": "commands",
            "commands": ["true", f'rm -r "$({where})/pydantic" "$({where})/"pydantic-*', "true"],
        }
    )
    assert (broken.state, broken.failed_layer, broken.exit_code) == (FAILED, 0, 1)
    assert broken.step.startswith("layer 0: run rm -r")
    assert "No module named 'pydantic'" in broken.failure.message
    another, lines = await builder.build(
        {"kind": "commands", "commands": ["python3 -m venv --without-pip /mine"]},
        {"kind": "env", "vars": {"PATH": "/mine/bin:/usr/local/bin:/usr/bin:/bin"}},
        {"kind": "pip", "packages": ["iniconfig==2.0.0"]},
    )
    assert another.state == SUCCEEDED, lines
    program = "import flyte, pydantic, iniconfig, sys; print(sys.prefix, iniconfig.__file__)"
    printed = await builder.run(another.reference, "python3", "-c", program)
    assert printed == "/mine /mine/lib/python3.11/site-packages/iniconfig/__init__.py\n"


async def test_base_images_that_cannot_be_used_are_refused(builder: Builder) -> None:
    """One whose registry does not answer, as it may later, and one without Python: each with what is wrong."""
    missing, _ = await builder.build(base={"kind": "image", "uri": "127.0.0.1:9/none/such:1"})
    assert (missing.state, missing.failure.code) == (FAILED, "BaseImageUnavailable")
    assert missing.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
    assert "base image 127.0.0.1:9/none/such:1 cannot be had" in missing.failure.message
    bare, _ = await builder.build(base={"kind": "image", "uri": "busybox:latest"})
    assert bare.state == FAILED
    assert "there is no python3 in this image: tasks need Python 3.10 or newer" in bare.failure.message


async def test_two_watch_a_build_live(builder: Builder) -> None:
    """Both see lines while it runs, the one who comes late from the start; ten requests make one build."""
    first = f"first {uuid.uuid4().hex}"  # not in the builder's cache: there it would print nothing
    request = messages.BuildImageRequest(
        definition_json=json.dumps(
            {
                "base": {"kind": "debian", "python": "3.11"},
                "layers": [{"kind": "commands", "commands": [f"echo {first}", "echo second"]}],
            }
        )
    )
    asked = [
        answer.build
        for answer in await asyncio.gather(*(builder.stub.BuildImage(request) for _ in range(10)))
    ]
    builder.built.add(asked[0].reference)
    watch = messages.WatchImageBuildRequest(name=asked[0].name)
    states_seen, early = [], []
    late = None
    async for update in builder.stub.WatchImageBuild(watch):
        states_seen.append(update.build.state)
        early += [(line.number, line.text) for line in update.lines]
        if late is None and any(text == first for _, text in early):
            late = asyncio.create_task(builder.watch(update.build))
    assert late is not None
    build, lines = await late
    assert build.state == SUCCEEDED
    assert states.IMAGE_BUILD_STATE_BUILDING in states_seen
    assert [text for _, text in early] == lines
    assert [number for number, _ in early] == list(range(len(lines)))
    assert {each.name for each in asked} == {build.name}
    listed = await builder.stub.ListImageBuilds(messages.ListImageBuildsRequest())
    assert [each.name for each in listed.builds] == [build.name]


async def test_a_dockerfile(builder: Builder, tmp_path: Path) -> None:
    """Its steps, stages and copies are as with `docker build`; the SDK comes on top; a failing step is named."""
    context = tmp_path / "context"
    context.mkdir()
    file = context / "Dockerfile"
    (context / "hello.py").write_text("print('hello from a dockerfile')\n")
    (context / ".dockerignore").write_text("*.bin\n")
    (context / "left.bin").write_text("x")
    base = f"{builder.repository}:3.11"
    file.write_text(
        f"FROM {base} AS first\nRUN echo made > /made\nFROM {base}\nCOPY --from=first /made /made\n"
        "WORKDIR /root\nCOPY . .\n"
    )
    image = flyte.Image.from_dockerfile(file)
    build, lines = await builder.build_image(image)
    assert build.state == SUCCEEDED, lines
    program = (
        "import flyte, os, runpy\nrunpy.run_path('hello.py')\n"
        "print(sorted(os.listdir('.')), open('/made').read())\n"
    )
    printed = await builder.run(build.reference, "python3", "-c", program)
    listed = "['.dockerignore', 'Dockerfile', 'hello.py'] made"
    assert printed.replace("'.bashrc', ", "").replace("'.profile', ", "") == (
        f"hello from a dockerfile\n{listed}\n\n"
    )
    label = f"hangar.base={build.base_image}"
    assert len(builder.engine.images.list(filters={"label": label})) == 2
    await builder.stub.DeleteImageBuild(messages.DeleteImageBuildRequest(name=build.name))
    assert builder.engine.images.list(filters={"label": label}) == []
    file.write_text(f"FROM {base}\nRUN echo oh no && exit 9\n")
    failed, _ = await builder.build_image(image)
    assert (failed.state, failed.exit_code, failed.step) == (
        FAILED,
        9,
        "Dockerfile: RUN echo oh no && exit 9",
    )
    assert failed.failure.message.endswith("oh no")
    file.write_text(f"FROM {base}\nRUNN true\n")
    wrong, _ = await builder.build_image(image)
    assert "unknown instruction: RUNN" in wrong.failure.message
    file.write_text(f"FROM {base}\nCOPY nothing /\n")
    absent, _ = await builder.build_image(image)
    assert '"/nothing"' in absent.failure.message


async def test_an_image_for_container_tasks(builder: Builder) -> None:
    """It is the base image as it is, with neither Python nor the SDK; it can be removed again."""
    image = flyte.Image.from_base("busybox:latest").without_sdk()
    build, lines = await builder.build_image(image)
    assert build.state == SUCCEEDED, lines
    assert await builder.run(build.reference, "id", "-u") == "0\n"
    await builder.stub.DeleteImageBuild(messages.DeleteImageBuildRequest(name=build.name))
    assert builder.engine.images.list(filters={"label": f"hangar.image={build.name}"}) == []


async def test_apt_packages(builder: Builder) -> None:
    """Debian packages are there, and neither their lists nor archives are in the image."""
    build, lines = await builder.build({"kind": "apt", "packages": ["hello"]})
    assert build.state == SUCCEEDED, lines
    assert await builder.run(build.reference, "hello") == "Hello, world!\n"
    left = await builder.run(
        build.reference,
        "find",
        "/var/lib/apt/lists",
        "/var/cache/apt",
        "-type",
        "f",
        "-size",
        "+8k",
        user="0",
    )
    assert left == ""
