"""What the engine says about a failed start, in words that say what to do."""

from pathlib import Path

import pytest

from services.executor.engines.base import (
    ImageFailedError,
    LaunchFailedError,
    PreparedImage,
    WorkerResources,
    WorkerSpec,
)
from services.executor.engines.docker.start_failures import start_failure

SPEC = WorkerSpec(
    1,
    "t",
    Path("/w"),
    PreparedImage("k", "image:1"),
    WorkerResources(memory_bytes=6291456),
    gpu_uuids=("GPU-1",),
)


@pytest.mark.parametrize(
    ("said", "kind", "told", "memory"),
    [
        ("No such image: image:1", LaunchFailedError, "image:1 is not in the engine any more", False),
        (
            'could not select device driver "" with capabilities: [[gpu]]',
            LaunchFailedError,
            "install the NVIDIA container toolkit",
            False,
        ),
        (
            "OCI runtime create failed: nvidia-container-cli: device error: GPU-1: unknown device",
            LaunchFailedError,
            "GPUs GPU-1 could not be given",
            False,
        ),
        (
            'OCI runtime create failed: exec: "python": executable file not found in $PATH: unknown',
            ImageFailedError,
            "no command `python3`",
            False,
        ),
        ("Minimum memory limit allowed is 6MB", LaunchFailedError, "6291456 bytes is too small", True),
        (
            "OCI runtime create failed: container init was OOM-killed (memory limit too low?)",
            LaunchFailedError,
            "too small",
            True,
        ),
        ("bind source path does not exist: /w", LaunchFailedError, "HANGAR_EXECUTOR_HOST_STATE", False),
        ("something else", LaunchFailedError, "something else", False),
    ],
)
def test_failures_are_explained(said: str, kind: type[Exception], told: str, memory: bool):
    """Each says what was wrong and what to do, with the engine's own words."""
    error = start_failure(SPEC, said)
    assert type(error) is kind
    assert told in str(error)
    assert said in str(error)
    assert getattr(error, "too_little_memory", False) is memory
