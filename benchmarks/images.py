"""Measures image builds next to `docker build` of a Dockerfile that an expert would write, in the same run.

    python -m benchmarks.images               # three rounds
    python -m benchmarks.images --rounds 1

Both make the same layers in the same order: what tasks need and the SDK, the author's packages, his last step. Each
round begins with layers of the author that no earlier one has built, then changes the last one, then nothing; the same
is done on a base of the author's. Both have base image and SDK in their caches, and may use what their caches have of
packages: the Dockerfile mounts a cache of its own for `uv`. Once per run both also build everything anew. What is in an
image is noted after a build, and not while the other is measured. The environment of twenty packages is made by the
process engine, of packages that `uv` has in its cache.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from functools import cache
from pathlib import Path

import uv

import flyte
from benchmarks import available
from benchmarks.processes import running, until, workspace
from benchmarks.protocol import IMAGES
from benchmarks.systems.hangar import program
from services.common.package_settings import certificates_file, pip_settings
from services.executor.environments import Environments

PACKAGES = ("pandas==2.2.3", "rich==13.9.4")
TWENTY = (
    "attrs", "certifi", "charset-normalizer", "click", "idna", "iniconfig", "itsdangerous", "jinja2", "markupsafe",
    "numpy", "packaging", "pluggy", "pygments", "python-dateutil", "pytz", "requests", "rich", "six", "urllib3",
    "werkzeug",
)  # fmt: skip
DOCKERFILE = """FROM {base}
COPY uv /usr/local/bin/uv
COPY ca.pem /etc/ca.pem
{certificates}
ENV UV_SYSTEM_PYTHON=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN {mounts} {uv} pydantic cloudpickle
COPY flyte {site}/flyte
RUN python3 -m compileall -q {site}/flyte
RUN echo {first} > /first
RUN {mounts} {uv} {packages}
RUN echo {last} > /last
"""
BASE = "python:3.11-slim-bookworm"
OWN_BASE = "hangar-bench-base:1"
"""The same image under a name of the author's."""
DEBIAN = flyte.Image.from_debian_base("3.11")


def timed(action) -> float:  # type: ignore[no-untyped-def]
    """Seconds that a call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@cache
def builder() -> str:
    """Docker's command line with BuildKit."""
    find = ". deploy/docker.sh && docker_builder"
    root = Path(__file__).parent.parent
    return subprocess.run(
        ["bash", "-c", find], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()


def expert(folder: Path, first: str, last: str, *, anew: bool = False) -> float:
    """Seconds of `docker build`: what tasks need to run, the author's steps and packages, as with Hangar."""
    certificates = certificates_file(os.environ, pip_settings(os.environ))
    (folder / "ca.pem").write_bytes(Path(certificates).read_bytes() if certificates else b"")
    text = DOCKERFILE.format(
        base=BASE,
        uv="UV_CACHE_DIR=/var/cache/uv uv pip install --break-system-packages",
        mounts="--mount=type=cache,id=bench-uv,target=/var/cache/uv",
        certificates="ENV SSL_CERT_FILE=/etc/ca.pem" if certificates else "",
        packages=" ".join(PACKAGES),
        first=first,
        last=last,
        site="/usr/local/lib/python3.11/site-packages",
    )
    (folder / "Dockerfile").write_text(text)
    environ = {**os.environ, "DOCKER_BUILDKIT": "1"}
    command = [
        builder(),
        "build",
        "--quiet",
        "--network",
        "host",
        "--tag",
        f"bench:{first}",
        str(folder),
        *(["--no-cache"] if anew else []),
    ]

    def build() -> None:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"docker build failed:\n{done.stderr[-2000:]}")

    return timed(build)


def ours(first: str, last: str, base: flyte.Image = DEBIAN, *, anew: bool = False) -> float:
    """Seconds of the same by `flyte.build`."""
    image = (
        base.with_commands([f"echo {first} > /first"])
        .with_pip_packages(*PACKAGES)
        .with_commands([f"echo {last} > /last"])
    )
    started = time.perf_counter()
    build = flyte.build(image, force=anew)
    seconds = time.perf_counter() - started
    build.attestation()  # waits for what would go on while the other is measured
    return seconds


def round_of_builds(folder: Path) -> dict[str, float]:
    """One round, each measure by both in turn."""
    first, last, other, third, fourth = (uuid.uuid4().hex for _ in range(5))
    own = flyte.Image.from_base(OWN_BASE)
    return {
        "docker_cold": expert(folder, first, last),
        "hangar_cold": ours(first, last),
        "docker_last": expert(folder, first, other),
        "hangar_last": ours(first, other),
        "docker_same": expert(folder, first, other),
        "hangar_same": ours(first, other),
        "docker_base_cold": expert(folder, third, last),
        "hangar_base_cold": ours(third, last, own),
        "docker_base_last": expert(folder, third, fourth),
        "hangar_base_last": ours(third, fourth, own),
    }


def builds(rounds: int) -> dict[str, float]:
    """Seconds of builds by both, medians over rounds: `docker_cold`, `hangar_cold` and so on."""
    found = []
    with workspace("hangar-images") as (folder, log), tempfile.TemporaryDirectory() as place:
        context = Path(place, "context")
        context.mkdir()
        data = folder / "data"
        variables = {
            "HANGAR_DATA_DIR": str(data),
            "HANGAR_EXECUTOR_ENGINE": "docker",
            "HANGAR_IMAGE_BUILDER_NETWORK": "host",
        }
        subprocess.run(["cp", "-r", str(Path(flyte.__file__).parent), f"{context}/flyte"], check=True)
        subprocess.run(["cp", uv.find_uv_bin(), f"{context}/uv"], check=True)
        subprocess.run([builder(), "tag", BASE, OWN_BASE], check=True)
        with running([program("hangar"), "up"], log, variables):
            file = data / "backend.json"
            until(lambda: file.exists() or None, "hangar up")
            flyte.init(endpoint=json.loads(file.read_text())["grpc"], insecure=True)
            round_of_builds(context)  # packages and base layers are in the caches of both
            first = uuid.uuid4().hex
            anew = {
                "docker_anew": expert(context, first, first, anew=True),
                "hangar_anew": ours(first, first, anew=True),
            }
            for _ in range(rounds):
                found.append(round_of_builds(context))
    return anew | {key: statistics.median(each[key] for each in found) for key in found[0]}


def environment() -> float:
    """Seconds of an environment of twenty packages from a warm cache."""
    layers = [{"kind": "pip", "packages": [*TWENTY]}]

    async def make() -> float:
        with tempfile.TemporaryDirectory() as directory:
            environments = Environments(Path(directory))
            await environments.ensure(json.dumps({"layers": layers}), lambda line: None)
        with tempfile.TemporaryDirectory() as directory:
            environments = Environments(Path(directory))
            started = time.perf_counter()
            await environments.ensure(json.dumps({"layers": layers}), lambda line: None)
            return time.perf_counter() - started

    return asyncio.run(make())


def main() -> int:
    """Measure and print medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"environment of 20 packages, warm cache     {environment():6.2f} s", flush=True)
    lacking = available.engine()
    if lacking:
        print(f"builds are left out: {lacking}", file=sys.stderr)
        return 0
    middle = builds(options.rounds)
    for key, title in IMAGES.items():
        docker, hangar = middle[f"docker_{key}"], middle[f"hangar_{key}"]
        print(
            f"{title:<27} docker build {docker:7.3f} s   flyte.build {hangar:7.3f} s   {hangar / docker:5.2f}x"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
