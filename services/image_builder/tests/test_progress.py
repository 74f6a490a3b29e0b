"""What the builder prints is understood, of Docker 20.10 and of buildx."""

from __future__ import annotations

import pytest

from services.image_builder.buildkit import _failure
from services.image_builder.dockerfile import Step
from services.image_builder.progress import Progress

STEPS = (Step("base image debian"), Step("check Python"), Step("layer 0: install nope", 0))
OLD = """#1 [internal] load build definition from Dockerfile
#1 sha256:0c6454d32d767d8dc2d2561573da51dc5b19745776d2525d71cd3ef63c07f079
#1 transferring dockerfile: 411B done
#1 DONE 0.0s

#4 [stage-0 1/3] FROM docker.io/library/debian
#4 sha256:952df0ccbe7dd6076e0f963a0e6647c3f46d47509f5c87ecf7ee9d4f44297c17
#4 CACHED

#5 [stage-0 2/3] RUN --mount=type=tmpfs,target=/run/hangar ["/bin/sh", "x"]
#5 sha256:952df0ccbe7dd6076e0f963a0e6647c3f46d47509f5c87ecf7ee9d4f44297c17
#5 0.069 fine
#5 DONE 0.1s

#6 [stage-0 3/3] RUN --mount=type=tmpfs,target=/run/hangar ["/bin/sh", "y"]
#6 0.249 error: No solution found
#6 0.250   cause: nope was not found
#6 ERROR: executor failed running [/bin/sh y]: exit code: 2
------
 > [stage-0 3/3] RUN --mount=type=tmpfs,target=/run/hangar ["/bin/sh", "y"]:
------
executor failed running [/bin/sh y]: exit code: 2
"""
NEW = """#0 building with "default" instance using docker driver
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 1.2kB done
#4 [1/3] FROM docker.io/library/debian:latest
#4 CACHED
#5 [2/3] RUN --mount=type=tmpfs,target=/run/hangar ["/bin/sh", "x"]
#5 0.069 fine
#5 DONE 0.1s
#6 [3/3] RUN --mount=type=tmpfs,target=/run/hangar ["/bin/sh", "y"]
#6 0.249 error: No solution found
#6 0.250   cause: nope was not found
#6 ERROR: process "/bin/sh y" did not complete successfully: exit code: 2
------
 > [3/3] RUN --mount=type=tmpfs,target=/run/hangar ["/bin/sh", "y"]:
0.249 error: No solution found
------
Dockerfile:12
--------------------
  12 |     RUN --mount
--------------------
ERROR: failed to solve: process "/bin/sh y" did not complete successfully: exit code: 2
"""

MISSING = """#3 [internal] load metadata for nope.example/none:1
#3 ERROR: failed to do request: Head "https://nope.example": no such host
failed to solve with frontend dockerfile.v0: no such host
"""

NO_SHELL = """#5 [2/3] RUN x
#5 0.1 runc run failed: exec: "/bin/sh": stat /bin/sh: no such file or directory
#5 ERROR: executor failed running [x]: exit code: 1
"""


def read(text: str) -> tuple[Progress, list[tuple[str, Step | None]]]:
    """What is known after an output, and the lines for people."""
    progress = Progress(STEPS)
    return progress, [(out.text, out.step) for line in text.splitlines() for out in progress.feed(line)]


@pytest.mark.parametrize("text", [OLD, NEW], ids=["20.10", "buildx"])
def test_a_failing_step_is_named_with_its_layer(text: str) -> None:
    """The step, the layer, the exit code and the tool's own words are found."""
    progress, lines = read(text)
    assert lines == [
        ("[1/3] base image debian", STEPS[0]),
        ("cached", STEPS[0]),
        ("[2/3] check Python", STEPS[1]),
        ("fine", STEPS[1]),
        ("done in 0.1s", STEPS[1]),
        ("[3/3] layer 0: install nope", STEPS[2]),
        ("error: No solution found", STEPS[2]),
        ("  cause: nope was not found", STEPS[2]),
        ("failed with exit code 2", STEPS[2]),
    ]
    error = _failure(progress, 1, "linux/amd64")
    assert (error.code, error.step, error.exit_code, error.is_system) == (
        "ImageBuildError",
        STEPS[2],
        2,
        False,
    )
    assert error.message == (
        "layer 0: install nope failed (exit code 2):\nerror: No solution found\n  cause: nope was not found"
    )


def test_what_moves_the_cursor_is_left_out() -> None:
    """Colours, bells and NULs of a tool reach nobody; of a line that was written over, the last state does."""
    progress = Progress(STEPS)
    list(progress.feed("#5 [2/3] RUN x"))
    for said, shown in (("\x1b[1;31mred\x1b[0m \x00\x07end", "red end"), (" 10%\r 100%\r", " 100%")):
        assert [output.text for output in progress.feed(f"#5 0.1 {said}")] == [shown]


@pytest.mark.parametrize(
    ("text", "code", "is_system", "words"),
    [
        (
            MISSING,
            "BaseImageUnavailable",
            False,
            "no such host",
        ),
        (
            "failed to dial gRPC: cannot connect to the Docker daemon. Is 'docker daemon' running?",
            "EngineUnavailable",
            True,
            "not reachable",
        ),
        (
            "rpc error: code = Unavailable desc = error reading from server: EOF",
            "EngineUnavailable",
            True,
            "EOF",
        ),
        (
            "#5 [2/3] RUN x\n#5 1.0 OSError: No space left on device\n#5 ERROR: process: exit code: 1",
            "DiskFull",
            True,
            "the disk of the Docker engine",
        ),
        (
            NO_SHELL,
            "ImageBuildError",
            False,
            "base image debian has no /bin/sh",
        ),
        (
            MISSING.replace("nope.example", "registry-1.docker.io").replace(
                "no such", "lookup registry-1.docker.io: no such"
            ),
            "BaseImageUnavailable",
            True,
            "no such host",
        ),
        (
            MISSING.replace("no such host", "toomanyrequests: You have reached your pull rate limit"),
            "BaseImageUnavailable",
            True,
            "rate limit",
        ),
        (
            MISSING.replace("no such host", "net/http: TLS handshake timeout"),
            "BaseImageUnavailable",
            True,
            "TLS handshake timeout",
        ),
        (
            (
                "#6 [3/3] RUN y\n#6 0.2 runc run failed: unable to apply cgroup configuration: no such process\n"
                "#6 ERROR: executor failed running [y]: exit code: 1"
            ),
            "StepNotStarted",
            True,
            "could not run layer 0: install nope: runc run failed",
        ),
        (
            (
                "#6 [3/3] RUN y\n#6 0.2 error: Request failed after 3 retries\n"
                "#6 0.2   cause: error sending request for url (https://index.example/simple/six/)\n"
                "#6 ERROR: executor failed running [y]: exit code: 2"
            ),
            "PackagesUnavailable",
            True,
            "layer 0: install nope failed (exit code 2)",
        ),
        (
            (
                "#6 [3/3] RUN y\n#6 0.2 error: HTTP status client error (404 Not Found) for url (https://h.example/x)\n"
                "#6 ERROR: executor failed running [y]: exit code: 2"
            ),
            "ImageBuildError",
            False,
            "404",
        ),
        ("ERROR: dockerfile parse error on line 3", "ImageBuildError", False, "parse error on line 3"),
    ],
)
def test_failures_are_told_apart(text: str, code: str, is_system: bool, words: str) -> None:
    """Who is to blame is known: the definition, or the platform."""
    progress, _ = read(text)
    error = _failure(progress, 1, "linux/amd64")
    assert (error.code, error.is_system) == (code, is_system)
    assert words in error.message


def test_digests_of_bases_are_noted() -> None:
    """Of images that came from a registry, whether a stage begins with them or copies from them."""
    digest = f"sha256:{'1' * 64}"
    progress = Progress(None)
    for line in (
        f"#4 [stage-0 1/3] FROM docker.io/library/debian:12@{digest}",
        "#5 [build 1/2] FROM docker.io/library/local:latest",
        f"#6 FROM 127.0.0.1:5000/tools:3@{digest}",
        f"#4 resolve docker.io/library/other:1@{digest} done",
        f"#7 [2/2] RUN echo FROM evil@{digest}",
    ):
        list(progress.feed(line))
    assert progress.bases == {"docker.io/library/debian:12": digest, "127.0.0.1:5000/tools:3": digest}
