"""Base images in an engine: pulled where there is a registry, else made from Debian packages."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from integration_tests.components.lacking import lacking

BUSYBOX = "busybox:latest"
PYTHON = "python:3.11-slim-bookworm"
ARM64_PYTHON = f"arm64v8/{PYTHON}"
"""The same for arm64, under the name that it has in its registry."""
BASE_IMAGES = (BUSYBOX, PYTHON)
CACHE = Path(__file__).parents[2] / ".cache" / "images"
"""Archives of the images, kept from run to run."""

_SCRIPT = Path(__file__).parents[1] / "tools" / "base_image.sh"


def provide(client: docker.DockerClient, reference: str) -> None:
    """Makes an image present in an engine; does nothing when it is."""
    try:
        client.images.get(reference)
    except ImageNotFound:
        archive = make_archive(reference)
        if archive is None:
            _pull(client, reference)
        else:
            load(client, archive, reference, "arm64" if reference == ARM64_PYTHON else "")
            client.images.get(reference)


def load(client: docker.DockerClient, archive: Path, reference: str, architecture: str = "") -> None:
    """Makes an image of a root file system.

    Args:
        client: The engine.
        archive: The root file system as a tar file.
        reference: Name of the image.
        architecture: What the image says that it is for; empty for what the engine itself is.
    """
    if not architecture:
        repository, _, tag = reference.partition(":")
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
        return
    with archive.open("rb") as file:
        layer = hashlib.file_digest(file, "sha256").hexdigest()
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{layer}"]}
    config = json.dumps(
        {"os": "linux", "architecture": architecture, "config": {}, "rootfs": rootfs}
    ).encode()
    names = {"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}
    with tempfile.TemporaryFile() as whole:
        with tarfile.open(fileobj=whole, mode="w") as tar:
            for name, content in (("config.json", config), ("manifest.json", json.dumps([names]).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            tar.add(archive, "layer.tar")
        whole.seek(0)
        client.images.load(whole)


def make_archive(reference: str) -> Path | None:
    """Root file system of an image as a tar file, made once; None when the programs that make it are missing."""
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"{reference.replace(':', '-').replace('/', '-')}.tar"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            done = subprocess.run(
                [_SCRIPT, reference, archive], capture_output=True, text=True, check=False, timeout=600
            )
            if done.returncode == 3:
                return None
            assert done.returncode == 0, f"{_SCRIPT.name} {reference}: {done.stdout}{done.stderr}"
    return archive


def _pull(client: docker.DockerClient, reference: str) -> None:
    repository, _, tag = reference.partition(":")
    try:
        client.images.pull(repository, tag=tag)
    except APIError as error:
        lacking(
            f"image {reference} can neither be made here (mmdebstrap, busybox-static) nor pulled: {error}"
        )


def main() -> None:
    """Makes the base images present in the local engine."""
    client = docker.from_env(timeout=600)
    try:
        for reference in (*BASE_IMAGES, ARM64_PYTHON):
            provide(client, reference)
    finally:
        client.close()


if __name__ == "__main__":
    main()
