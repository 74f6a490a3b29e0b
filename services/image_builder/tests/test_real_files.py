"""Files of authors in images for real: what is copied, and as what, is what `docker build` copies."""

from __future__ import annotations

import asyncio
import os
import shlex
import uuid
from pathlib import Path

import flyte
from services.image_builder.tests.real_builder import SUCCEEDED, Builder

ROOT = Path(__file__).parents[3]
_LIST = "find /c /d -printf '%y %p %l\\n' | sort; cat /mounted"


async def test_a_context_is_that_of_docker(builder: Builder, tmp_path: Path, docker_url: str) -> None:
    """The same files, links and empty directories as of plain `docker build`, ignored by the same patterns."""
    context = tmp_path / "context"
    for name in (
        "keep",
        "a.log",
        "sub/secret",
        "sub/deep/x.md",
        "b/keep.md",
        "b/c/a.txt",
        "src/.env",
        "src/a.py",
    ):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(name)
    (context / "empty" / "deep").mkdir(parents=True)
    for name, target in (("dir", "src"), ("file", "src/a.py"), ("broken", "none"), ("out", "/etc/hostname")):
        (context / name).symlink_to(target)
    (context / ".dockerignore").write_text(
        "# all but these\n*\n!keep\n!src\n**/.env\n!b/c/\n!/empty\n!dir\n!file\n!broken\n!out\n"
    )
    (context / "Dockerfile.dockerignore").write_text((context / ".dockerignore").read_text())
    (context / ".dockerignore").write_text("src\n")  # one of its own goes before it
    file = context / "Dockerfile"
    file.write_text(
        f"FROM {builder.repository}:3.11\nCOPY . /c\nCOPY empty dir /d/\n"
        "RUN --mount=target=/m,type=bind ls /m > /mounted\n"
    )
    build, lines = await builder.build_image(flyte.Image.from_dockerfile(file))
    assert build.state == SUCCEEDED, lines
    tag = f"hangar-test-{uuid.uuid4().hex}"
    plain = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f". deploy/docker.sh && docker_build --tag {tag} {shlex.quote(str(context))}",
        cwd=ROOT,
        env={**os.environ, "DOCKER_HOST": docker_url},
    )
    assert await plain.wait() == 0
    builder.built.add(tag)
    ours = await builder.run(build.reference, "sh", "-c", _LIST)
    assert ours == await builder.run(tag, "sh", "-c", _LIST)
    assert "d /c/empty/deep" in ours
    assert "l /c/out /etc/hostname" in ours
    assert "/c/src/a.py" in ours
    assert ".env" not in ours


async def test_folders_keep_links_at_any_destination(builder: Builder, tmp_path: Path) -> None:
    """Quotes, variables and backslashes of a destination are its name; links lead where they lead in the image."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    (folder / "link").symlink_to("a")
    (folder / "out").symlink_to("/etc/debian_version")
    place = '/data/it\'s $HOME "x" \\y'
    base = flyte.Image.from_debian_base(python_version=(3, 11))
    build, lines = await builder.build_image(base.with_source_folder(folder, dst=place))
    assert build.state == SUCCEEDED, lines
    program = (
        "import os, sys; os.chdir(sys.argv[1])\n"
        "print(open('link').read(), os.readlink('out'), open('out').read())"
    )
    printed = await builder.run(build.reference, "python3", "-c", program, f"{place}/folder")
    assert printed.startswith("1 /etc/debian_version 12")


async def test_a_file_that_changes_without_its_size_is_the_new_one(builder: Builder, tmp_path: Path) -> None:
    """BuildKit keeps what it was sent, and looks at sizes and times: in folders and in contexts of Dockerfiles."""
    file, dockerfile = tmp_path / "file", tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM {builder.repository}:3.11\nCOPY file /copied\n")
    for content in ("one\n", "two\n"):
        file.write_text(content)
        folder = flyte.Image.from_debian_base(python_version=(3, 11)).with_source_file(file, dst="/copied")
        for image in (flyte.Image.from_dockerfile(dockerfile), folder):
            build, lines = await builder.build_image(image)
            assert build.state == SUCCEEDED, lines
            assert (
                await builder.run(
                    build.reference, "sh", "-c", "test -f /copied && cat /copied || cat /copied/file"
                )
                == content
            )
