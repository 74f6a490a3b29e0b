"""Base images: what is on record of them, which have moved, and which of them a forced build takes anew."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from services.common.errors import InvalidArgument, Unavailable
from services.image_builder import bases
from services.image_builder.bases import (
    bases_of,
    check_bases,
    current_digest,
    digests_of_bases,
    refresh_bases,
)
from services.image_builder.dockerfile import Recipe, SdkContent, make_recipe, read_definition
from services.image_builder.engine import BuilderEngine, StoredImage
from services.image_builder.progress import Output

PLATFORM = "linux/amd64"


class Engine(BuilderEngine):
    """An engine with images, and the registries behind it."""

    def __init__(self, held: dict[str, StoredImage], registry: dict[str, str]) -> None:
        super().__init__("")
        self.held = held
        self.registry = registry
        self.pulled: list[str] = []
        self.silent = False

    async def image(self, reference: str) -> StoredImage | None:
        """What it holds."""
        return self.held.get(reference)

    async def registry_digest(self, reference: str, secret: object = None) -> str:
        """What the registry says, which may take for ever."""
        if self.silent:
            await asyncio.Event().wait()
        return self.registry.get(reference, "")

    async def pull(self, reference: str, platform: str, secret: object = None) -> None:
        """Notes it."""
        self.pulled.append(f"{reference} {platform}")


def held(identity: str, *digests: str, platform: str = PLATFORM) -> StoredImage:
    """An image that an engine holds."""
    return StoredImage(identity, {}, 1, datetime(2026, 1, 1, tzinfo=UTC), platform, digests)


def recipe(dockerfile: str = "", python: str = "3.12") -> Recipe:
    """How to make an image from Debian, or from a Dockerfile."""
    base = f'{{"kind":"debian","python":"{python}"}}'
    if dockerfile:
        base = f'{{"kind":"dockerfile","dockerfile":{{"text":{json.dumps(dockerfile)}}}}}'
    definition = read_definition(f'{{"base":{base}}}')
    return make_recipe(definition, "python:{python}", SdkContent("0", (), {}), PLATFORM)


DOCKERFILE = (
    "ARG BASE=x\nFROM a.example/one:1 AS first\nFROM $BASE\nFROM two\nCOPY --from=first /a /a\n"
    "COPY --from=team/three:2 /b /b\nFROM four@sha256:4\nFROM other\n"
)


def test_bases_of_a_dockerfile() -> None:
    """Those that it takes anything from, as it writes them; of what is behind a variable nothing is known."""
    assert bases_of(recipe()) == ("python:3.12",)
    expected = ("a.example/one:1", "two", "team/three:2", "four@sha256:4", "other")
    assert bases_of(recipe(DOCKERFILE)) == expected


@pytest.mark.parametrize(
    "dockerfile",
    [
        "from evil",
        "FROM python:3 AS a\nFROM a\nCOPY --link --from=evil /a /a",
        "FROM python:3\nRUN --mount=type=bind,from=python:3,target=/a --mount=type=bind,from=evil,target=/b true",
        "# escape=`\nFROM python:3\nCOPY `\n  --from=evil /a /a",
        "FROM python:3\nCOPY\t\\\n\t--from=evil /a /a",
        "FROM python:3\nCOPY \\\n\n  # note\n--from=evil /a /a",
        "FROM python:3\nCO\\\nPY --from=evil /a /a",
        "# syntax=evil/frontend\nFROM python:3",
        "#comment\n//SYNTAX = evil\nFROM python:3",
        '{"syntax": "evil"}\nFROM python:3',
        "FROM python:3 AS evil\nONBUILD COPY --from=evil /a /a",
        "FROM python:3\nONBUILD RUN --mount=from=evil,target=/a true",
        "ARG BASE=evil\nFROM ${BASE}",
        'FROM "evil"',
        "FROM --platform='linux/amd64 x' evil",
        "FROM python:3\nCOPY --chown='a b' --fr\"om\"=evil /a /a",
        'FROM python:3\nRUN --mount="type=bind,from=evil" true',
        "FROM python:3\nRUN --mount=$MORE,target=/a true",
        'FROM python:3\nRUN <<"E\\"\nE\\\nFROM evil',
        "FROM python:3\nRUN <<E\nFROM python:3 AS evil\nE\nCOPY --from=evil /a /a",
        "FROM python:3\nRUN true \\\nFROM python:3 AS evil\nCOPY --from=evil /a /a",
        "FROM python:3\nRUN --mount=from=0,target=/a true",
        "\ufeffFROM evil\r\n",
        "FROM python:5000/evil",
    ],
)
def test_no_image_gets_past_the_operators_list(dockerfile: str) -> None:
    """However it is written; what cannot be told is refused."""
    with pytest.raises(InvalidArgument, match=r"not allowed here|cannot be told"):
        check_bases(recipe(dockerfile), ("python:*",))


def test_what_is_no_image_is_no_base() -> None:
    """Stages, scratch, numbers of stages, comments, and Python in a here-document."""
    text = (
        "# FROM a\nARG X=1\nFROM --platform=$BUILDPLATFORM python:3@sha256:1 AS First\nFROM scratch\nFROM first\n"
        "COPY --from=0 --chown=$X:$X /a /a\nCOPY --from=FIRST a /b\nADD --chown='a b' https://x/y /y\n"
        "RUN --mount=type=cache,target=/c --mount=from=first,target=/d true \\\n  # from=x\n && echo FROM\n"
        "RUN echo `date`\nFROM python:3 AS other\nCOPY --from=other /a /a\nRUN python <<E\nfrom os import path\nE\n"
    )
    check_bases(recipe(text), ("python:*",))
    assert bases_of(recipe(text)) == ("python:3@sha256:1", "python:3")


async def test_the_digest_of_each_base_is_on_record() -> None:
    """What the builder took from a registry, what the address says, or what the engine holds for that platform."""
    engine = Engine(
        {
            "two": held("sha256:20", "elsewhere.example/two@sha256:22", "two@sha256:21"),
            "team/three:2": held("sha256:30", "elsewhere.example/three@sha256:32"),
            "other": held("sha256:50", platform="linux/arm64"),
        },
        {},
    )
    printed = {"a.example/one:1": "sha256:10", "docker.io/library/unrelated:latest": "sha256:9"}
    assert await digests_of_bases(engine, recipe(DOCKERFILE), printed, PLATFORM) == {
        "a.example/one:1": "sha256:10",
        "two": "sha256:21",
        "four@sha256:4": "sha256:4",
        "other": "",
        "team/three:2": "sha256:30",
    }
    official = {"docker.io/library/python:3.12": "sha256:7"}
    assert await digests_of_bases(engine, recipe(), official, PLATFORM) == {"python:3.12": "sha256:7"}


@pytest.mark.parametrize(
    ("image", "registry", "current"),
    [
        (None, "sha256:2", "sha256:2"),
        (held("sha256:9", "python@sha256:1"), "sha256:2", "sha256:2"),
        (held("sha256:9"), "sha256:2", "sha256:9"),
        (held("sha256:9", "mirror.example/python@sha256:1"), "", "sha256:9"),
        (held("sha256:9", "python@sha256:1"), "", ""),
        (None, "", ""),
    ],
)
async def test_what_is_behind_an_address_now(image: StoredImage | None, registry: str, current: str) -> None:
    """The registry says it, but of an image that was made at the engine; where it says nothing, it is not known."""
    found = Engine({"python:3.12": image} if image else {}, {"python:3.12": registry} if registry else {})
    assert await current_digest(found, "python:3.12", "sha256:1") == current


async def test_registries_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that is silent nor an engine that is away fails the question."""
    monkeypatch.setattr(bases, "_REGISTRY_SECONDS", 0.05)
    engine = Engine({}, {})
    engine.silent = True
    assert await current_digest(engine, "python:3.12", "sha256:1") == ""
    assert await current_digest(engine, "python@sha256:1", "sha256:1") == "sha256:1"

    async def away(reference: str) -> StoredImage | None:
        raise Unavailable("the engine is away", reason="ENGINE_UNAVAILABLE")

    monkeypatch.setattr(engine, "image", away)
    assert await current_digest(engine, "python:3.12", "sha256:1") == ""


@pytest.mark.parametrize(
    ("image", "registry", "pulled", "said"),
    [
        (held("sha256:9", "python@sha256:1"), "sha256:2", ["python:3.12 linux/amd64"], "has moved"),
        (held("sha256:9", "python@sha256:1"), "sha256:1", [], ""),
        (held("sha256:9", "python@sha256:1"), "", [], "does not say what it has"),
        (held("sha256:9"), "sha256:2", [], ""),
        (held("sha256:9", "python@sha256:1", platform="linux/arm64"), "sha256:2", [], ""),
        (None, "sha256:2", [], ""),
    ],
)
async def test_a_forced_build_takes_newer_bases(
    image: StoredImage | None, registry: str, pulled: list[str], said: str
) -> None:
    """One that the engine has from a registry which has a newer one is pulled; one that was made there stays."""
    engine = Engine({"python:3.12": image} if image else {}, {"python:3.12": registry})
    lines: list[Output] = []
    await refresh_bases(engine, recipe(), PLATFORM, None, lines.append)
    assert engine.pulled == pulled
    assert said in " ".join(line.text for line in lines)
    assert bool(lines) == bool(said)
