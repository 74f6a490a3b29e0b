"""`image.builder: local`: the builder of this machine builds, and runs get what it has built."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile

import pytest

import flyte
from flyte._client._local_builder import LocalBuilder, builder_directory
from flyte._client._loop import LOOP
from flyte._client._programs import process_exists
from flyte.errors import ImageBuildError, InitializationError, RuntimeUserError
from sdk.tests.client.fake_admin import FakeAdmin
from sdk.tests.client.fake_images import (
    DIGEST,
    IMAGE_ID,
    SDK,
    FakeImages,
    builder_of_this_machine,
    is_used,
)

FLOW = """
    import flyte

    inner = flyte.TaskEnvironment("inner", image=flyte.Image.from_debian_base().with_source_file("data.txt"))
    env = flyte.TaskEnvironment("env", image=flyte.Image.from_debian_base(python_version="3.12"), depends_on=[inner])

    @inner.task
    def deep() -> str:
        return "deep"

    @env.task
    def top() -> str:
        return deep()
"""


@pytest.fixture
def ours():
    """The builder of this machine."""
    with builder_of_this_machine(FakeImages()) as images:
        yield images


@pytest.fixture
def flow(user_module):
    """A task of one environment that calls one of another."""
    (user_module.root / "data.txt").write_text("data")
    return user_module("flow_of_two", FLOW)


def use(backend, tmp_path, registry=""):
    """Makes a configuration with `builder: local` the current one."""
    path = tmp_path / "config.yaml"
    image = {"builder": "local", **({"registry": registry} if registry else {})}
    path.write_text(json.dumps({"admin": {"endpoint": backend.endpoint, "insecure": True}, "image": image}))
    flyte.init_from_config(path)


def in_bundle(backend):
    """The definitions in the code that was sent last."""
    [key] = [key for key in backend.puts if key.startswith("code/")][-1:]
    with tarfile.open(fileobj=io.BytesIO(backend.blobs[key])) as archive:
        file = archive.extractfile(".flyte/images.json")
        return json.load(file)


def test_runs_get_what_was_built(ours, flow, tmp_path):
    """Spec and bundle name images by identity, SDK and platform; files go to the builder; a second run asks nothing."""
    with FakeAdmin(lambda admin, run: admin.succeed(run), images=FakeImages()) as backend:
        use(backend, tmp_path)
        first = flyte.run(flow.top)
        assert len(ours.asked) == 2
        name = hashlib.blake2b(ours.asked[0].definition_json.encode(), digest_size=16).hexdigest()
        wanted = {"kind": "built", "uri": IMAGE_ID, "name": name, "platform": ["linux/amd64"], "sdk": SDK}
        found = in_bundle(backend)
        assert wanted in [json.loads(text)["base"] for text in found.values()]
        task = backend.runs[first.name].request.task
        assert (task.image.definition_json, list(task.image.platforms)) == (found["env"], ["linux/amd64"])
        assert task.image.digest == hashlib.blake2b(found["env"].encode(), digest_size=16).hexdigest()
        [archive] = (builder_directory() / "blobs" / "contexts").iterdir()
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == archive.stem
        assert not any(key.startswith("contexts/") for key in backend.puts)
        flyte.run(flow.top)
        assert len(ours.asked) == 2
        assert not is_used()


def test_a_registry_takes_images_to_other_machines(ours, flow, tmp_path):
    """With `image.registry` a run names repository and digest there, and the backend may have no builder at all."""
    with FakeAdmin(lambda admin, run: admin.succeed(run)) as backend:
        use(backend, tmp_path, "reg.example:5000/team")
        flyte.run(flow.top)
        uris = {json.loads(text)["base"]["uri"] for text in in_bundle(backend).values()}
        assert uris == {f"reg.example:5000/team/hangar@{DIGEST}"}


@pytest.mark.parametrize(
    ("theirs", "code", "words"),
    [
        (
            FakeImages(environments=True),
            "DockerNeededError",
            ["tasks as processes", "HANGAR_EXECUTOR_ENGINE=docker"],
        ),
        (FakeImages(sdk="6d" * 16), "SdkMismatchError", ["5d5d5d5d5d5d", "6d6d6d6d6d6d", "hangar==9.9"]),
        (
            FakeImages(engine="there"),
            "RegistryMissingError",
            ["image of env, inner", "image.registry", "registry="],
        ),
        (None, "RegistryMissingError", ["FLYTE_IMAGE_REGISTRY"]),
    ],
)
def test_what_the_backend_cannot_run_is_not_built(ours, flow, tmp_path, theirs, code, words):
    """A backend of processes, with another SDK or another engine is found out before anything is built."""
    with FakeAdmin(images=theirs) as backend:
        use(backend, tmp_path)
        with pytest.raises(RuntimeUserError) as caught:
            flyte.run(flow.top)
        assert (caught.value.code, ours.asked) == (code, [])
        assert [word for word in words if word not in str(caught.value)] == []


def test_a_failed_build_is_the_same_error(ours, flow, tmp_path):
    """What the tool said arrives as ImageBuildError, and no run is made."""
    ours.failure = "layer 0: no such package"
    with FakeAdmin(images=FakeImages()) as backend:
        use(backend, tmp_path)
        with pytest.raises(ImageBuildError, match="no such package"):
            flyte.run(flow.top)
        assert backend.runs == {}


def test_building_by_itself_needs_no_backend(ours, flow, tmp_path):
    """`flyte.build` asks no backend; without waiting it keeps the builder as long as this process lives."""
    flyte.init(image_builder="local", endpoint="127.0.0.1:1", insecure=True)
    assert flyte.build(flow.env.image).uri.startswith("hangar/")
    assert set(flyte.build_images(flow.env)) == {"env", "inner"}
    assert not is_used()
    flyte.build(flow.env.image, wait=False)
    assert is_used()
    LOOP.close()
    assert not is_used()


def test_a_dry_run_builds_nothing(ours, flow, tmp_path):
    """A dry run shows the definitions as they are written."""
    with FakeAdmin() as backend:
        use(backend, tmp_path)
        found = flyte.with_runcontext(dry_run=True).run(flow.top)
    assert json.loads(found.task_spec["image"]["definition_json"])["base"]["kind"] == "debian"
    assert ours.asked == []


def test_what_is_not_installed_is_named(python_without_hangar):
    """Without `hangar` the error has the command to install and the other builder."""
    flyte.init(image_builder="local")
    with pytest.raises(InitializationError) as caught:
        flyte.build(flyte.Image.from_debian_base())
    assert caught.value.code == "ImageBuilderNotInstalledError"
    assert [word for word in ("pip install hangar", "remote") if word not in str(caught.value)] == []


def test_one_builder_serves_all_with_the_same_settings(hangar, monkeypatch):
    """It is started once, found again, and one with other settings takes its place when nobody uses it any more."""

    async def use_two():
        async with LocalBuilder().client() as first, LocalBuilder().client() as second:
            assert first.endpoint == second.endpoint
            pid = json.loads((builder_directory() / "backend.json").read_text())["pid"]
            monkeypatch.setenv("PIP_INDEX_URL", "https://other.example/simple")
            waiting = asyncio.create_task(use_one())
            await asyncio.wait([waiting], timeout=0.3)
            assert not waiting.done()
        assert await waiting != pid
        return pid

    async def use_one():
        async with LocalBuilder().client():
            return json.loads((builder_directory() / "backend.json").read_text())["pid"]

    assert not process_exists(LOOP.run(use_two()))
