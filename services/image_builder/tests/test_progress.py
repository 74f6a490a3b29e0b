"""What BuildKit tells is understood, that of Docker 20.10 and of later ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from hangar.buildkit.v1.buildkit_pb2 import BuildLog, BuildStatus, BuildVertex
from services.image_builder.dockerfile import Step
from services.image_builder.failures import failure_of
from services.image_builder.progress import Output, Progress

STEPS = (Step("base image debian"), Step("check Python"), Step("layer 0: install nope", 0))
BASE = "[1/3] FROM docker.io/library/debian:latest"
CHECK = '[2/3] RUN --mount=type=tmpfs,target=/run/hangar ["/bin/sh", "x"]'
INSTALL = '[3/3] RUN --mount=type=tmpfs,target=/run/hangar ["/bin/sh", "y"]'
METADATA = "[internal] load metadata for nope.example/none:1"
UNREACHABLE = 'failed to do request: Head "https://nope.example": no such host'


def said(name: str, *texts: str) -> BuildStatus:
    """A step begins, and its output comes in pieces."""
    vertex = BuildVertex(digest=name, name=name)
    vertex.started.FromMilliseconds(1000)
    return BuildStatus(
        vertexes=[vertex], logs=[BuildLog(vertex=name, stream=1, msg=text.encode()) for text in texts]
    )


def over(name: str, error: str = "", *, cached: bool = False) -> BuildStatus:
    """A step ends after a tenth of a second."""
    vertex = BuildVertex(digest=name, name=name, error=error, cached=cached)
    vertex.started.FromMilliseconds(1000)
    vertex.completed.FromMilliseconds(1100)
    return BuildStatus(vertexes=[vertex])


def feed(progress: Progress, told: Sequence[BuildStatus]) -> Iterator[Output]:
    """What people see of it."""
    for status in told:
        yield from progress.feed(status)


@pytest.mark.parametrize(
    ("prefix", "error"),
    [
        ("stage-0 ", "executor failed running [/bin/sh -c [ -f x ]: && echo\n]: exit code: 2"),
        ("", 'process "/bin/sh -c \\"y\\"" did not complete successfully: exit code: 2'),
    ],
    ids=["20.10", "later"],
)
def test_a_failing_step_is_named_with_its_layer(prefix: str, error: str) -> None:
    """The step, the layer, the exit code and the tool's own words are found."""
    base, check, install = (f"[{prefix}{name[1:]}" for name in (BASE, CHECK, INSTALL))
    progress = Progress(STEPS)
    internal = "[internal] load build definition from Dockerfile"
    lines = feed(
        progress,
        [
            over(internal),
            over(base, cached=True),
            said(check, "fi", "ne\n"),
            over(check),
            said(check, "at last"),
            said(install, "error: No solution found\n  cause: nope was not", " found"),
            over(base.replace("1/", "9/"), "context canceled"),
            over(install, error),
            over(install, error),
        ],
    )
    assert [(output.text, output.step) for output in lines] == [
        ("[1/3] base image debian", STEPS[0]),
        ("cached", STEPS[0]),
        ("[2/3] check Python", STEPS[1]),
        ("fine", STEPS[1]),
        ("done in 0.1s", STEPS[1]),
        ("at last", STEPS[1]),
        ("[3/3] layer 0: install nope", STEPS[2]),
        ("error: No solution found", STEPS[2]),
        ("  cause: nope was not found", STEPS[2]),
        ("failed with exit code 2", STEPS[2]),
    ]
    assert not progress.has_failed
    progress.fail(f"failed to solve: {error}")
    assert progress.has_failed
    failure = failure_of(progress, "linux/amd64")
    assert (failure.code, failure.step, failure.exit_code, failure.is_system) == (
        "ImageBuildError",
        STEPS[2],
        2,
        False,
    )
    assert failure.message == (
        "layer 0: install nope failed (exit code 2):\nerror: No solution found\n  cause: nope was not found"
    )


def test_what_moves_the_cursor_is_left_out() -> None:
    """Colours, bells and NULs of a tool reach nobody; of a line that was written over, the last state does."""
    progress = Progress(STEPS)
    list(progress.feed(said(CHECK)))
    for text, shown in (("\x1b[1;31mred\x1b[0m \x00\x07end", "red end"), (" 10%\r 100%\r", " 100%")):
        assert [output.text for output in progress.feed(said(CHECK, f"{text}\n"))] == [shown]


def test_lines_come_whole() -> None:
    """However it is cut into pieces, a character neither. One of a megabyte is its beginning, or its last state."""
    progress = Progress(STEPS)
    list(progress.feed(said(CHECK)))
    pieces = [BuildLog(vertex=CHECK, stream=1, msg=bytes([byte])) for byte in "eins\nzw\u00f6lf\n".encode()]
    lines = [output.text for output in progress.feed(BuildStatus(logs=pieces))]
    assert lines == ["eins", "zw\u00f6lf"]
    for piece, end, shown in (("x" * 50_000, "", "x" * 65536), (" 1%\r" * 20_000, "100%\r", "100%")):
        told = [said(CHECK, piece) for _ in range(21)]
        assert [output.text for output in feed(progress, [*told, said(CHECK, f"{end}\n")])] == [shown]


@pytest.mark.parametrize(
    ("told", "message", "code", "is_system", "words"),
    [
        ([over(METADATA, UNREACHABLE)], "", "BaseImageUnavailable", False, "no such host"),
        (
            [],
            "no active session for x: context deadline exceeded",
            "EngineUnavailable",
            True,
            "not reachable",
        ),
        (
            [],
            "rpc error: code = Unavailable desc = error reading from server",
            "EngineUnavailable",
            True,
            "server",
        ),
        (
            [said(CHECK, "OSError: No space left on device\n"), over(CHECK, "process: exit code: 1")],
            "",
            "DiskFull",
            True,
            "the disk of the Docker engine",
        ),
        (
            [
                said(CHECK, 'runc run failed: exec: "/bin/sh": stat /bin/sh: no such file or directory\n'),
                over(CHECK, "executor failed running [x]: exit code: 1"),
            ],
            "",
            "ImageBuildError",
            False,
            "base image debian has no /bin/sh",
        ),
        (
            [over(METADATA, UNREACHABLE.replace("no such", "lookup registry-1.docker.io: no such"))],
            "",
            "BaseImageUnavailable",
            True,
            "no such host",
        ),
        (
            [over(METADATA, "toomanyrequests: You have reached your pull rate limit")],
            "",
            "BaseImageUnavailable",
            True,
            "rate limit",
        ),
        (
            [over(METADATA, "rpc error: code = Unavailable desc = the credentials cannot be had")],
            "",
            "BaseImageUnavailable",
            True,
            "credentials",
        ),
        ([over(METADATA, 'Head "http://nope.example/": EOF')], "", "BaseImageUnavailable", True, "EOF"),
        ([], "Head https://registry.example/frontend: i/o timeout", "ImageBuildError", True, "frontend"),
        (
            [over(METADATA, "net/http: TLS handshake timeout")],
            "",
            "BaseImageUnavailable",
            True,
            "TLS handshake timeout",
        ),
        (
            [
                said(INSTALL, "runc run failed: unable to apply cgroup configuration: no such process\n"),
                over(INSTALL, "executor failed running [y]: exit code: 1"),
            ],
            "",
            "StepNotStarted",
            True,
            "could not run layer 0: install nope: runc run failed",
        ),
        (
            [
                over(
                    INSTALL,
                    "executor failed running [y]: failed to create endpoint x: no such network interface",
                )
            ],
            "",
            "StepNotStarted",
            True,
            "could not run layer 0: install nope",
        ),
        (
            [
                said(INSTALL, "error: Request failed after 3 retries\n"),
                said(INSTALL, "  cause: error sending request for url (https://index.example/index/six/)\n"),
                over(INSTALL, "executor failed running [y]: exit code: 2"),
            ],
            "",
            "PackagesUnavailable",
            True,
            "layer 0: install nope failed (exit code 2)",
        ),
        (
            [
                said(
                    INSTALL, "error: HTTP status client error (404 Not Found) for url (https://h.example/x)\n"
                ),
                over(INSTALL, "executor failed running [y]: exit code: 2"),
            ],
            "",
            "ImageBuildError",
            False,
            "404",
        ),
        (  # the command's own words mean nothing
            [over(INSTALL, "executor failed running [/bin/sh -c no space left on device\n]: exit code: 1")],
            "",
            "ImageBuildError",
            False,
            "layer 0: install nope failed (exit code 1):\nit printed nothing",
        ),
        ([], "dockerfile parse error on line 3", "ImageBuildError", False, "parse error on line 3"),
    ],
)
def test_failures_are_told_apart(
    told: list[BuildStatus], message: str, code: str, is_system: bool, words: str
) -> None:
    """Who is to blame is known: the definition, or the platform."""
    progress = Progress(STEPS)
    list(feed(progress, told))
    progress.fail(message or "failed to solve")
    error = failure_of(progress, "linux/amd64")
    assert (error.code, error.is_system) == (code, is_system)
    assert words in error.message


def test_digests_of_bases_are_noted() -> None:
    """Of images that came from a registry, whether a stage begins with them or copies from them."""
    digest = f"sha256:{'1' * 64}"
    progress = Progress(None)
    names = (
        f"[stage-0 1/3] FROM docker.io/library/debian:12@{digest}",
        "[build 1/2] FROM docker.io/library/local:latest",
        f"FROM 127.0.0.1:5000/tools:3@{digest}",
        f"resolve docker.io/library/other:1@{digest} done",
        f"[2/2] RUN echo FROM evil@{digest}",
    )
    list(feed(progress, [over(name) for name in names]))
    assert progress.bases == {"docker.io/library/debian:12": digest, "127.0.0.1:5000/tools:3": digest}
