"""A Docker command line that is a shell script, and an engine that is a directory."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from services.image_builder.engine import BuilderEngine, StoredImage

_SCRIPT = """#!/bin/sh
# Waits for the file `go`, fails when there is a file `fail`, and makes the image a file.
if [ "$2" = --help ]; then echo "{help}"; exit {help_code}; fi
for word in "$@"; do
    if [ "$before" = --tag ]; then tag="$word"; fi
    if [ "$before" = --platform ]; then platform="$word"; fi
    if [ "$before" = --label ]; then labels="$labels $word"; fi
    if [ "$before" = --secret ]; then secrets="$secrets ${{word#*src=}}"; fi
    before="$word"
done
if [ ! -d "$word" ]; then echo "no context at $word"; exit 1; fi
name="${{tag#hangar/}}"
echo "$name" >> {root}/started
echo "#1 [1/4] FROM base"
sleep 1000 &
child=$!
echo "$child" >> {root}/children
while [ ! -e {root}/go ]; do sleep 0.02; done
kill "$child"
echo "#2 [2/4] RUN check"
echo "#2 0.1 hello from $name"
if [ -e {root}/tell ]; then for file in $secrets; do sed "s/^/#2 0.1 /" "$file"; echo; done; fi
if [ -e {root}/fail ]; then
    echo "#2 0.2 it broke"
    echo "#2 ERROR: executor failed running [x]: exit code: 3"
    exit 1
fi
echo "$platform$labels" > {root}/images/"$name"
"""


class FakeDocker:
    """What builds and what is there, below one directory.

    Args:
        root: The directory.
        platform: Platform of its engine.
    """

    def __init__(self, root: Path, platform: str = "linux/amd64") -> None:
        self.root = root
        self.platform = platform
        (root / "images").mkdir(parents=True)
        self.cli = root / "docker"
        self.write_cli()

    def write_cli(self, help: str = "--secret stringArray", help_code: int = 0) -> None:
        """Writes the command line anew."""
        self.cli.write_text(_SCRIPT.format(root=self.root, help=help, help_code=help_code))
        self.cli.chmod(0o755)

    def go(self) -> None:
        """Lets builds end."""
        (self.root / "go").touch()

    def tell(self) -> None:
        """Makes builds print the secrets that they are given."""
        (self.root / "tell").touch()

    def fail(self) -> None:
        """Makes builds fail."""
        (self.root / "fail").touch()

    @property
    def started(self) -> list[str]:
        """Names of the images whose builds have begun, in order."""
        path = self.root / "started"
        return path.read_text().split() if path.exists() else []

    @property
    def children(self) -> list[int]:
        """Processes that builds have started."""
        path = self.root / "children"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


class FakeEngine(BuilderEngine):
    """An engine whose images are the files of a `FakeDocker`."""

    def __init__(self, docker: FakeDocker) -> None:
        super().__init__("")
        self._docker = docker

    async def platform(self) -> str:
        """That of its Docker."""
        return self._docker.platform

    async def image(self, reference: str) -> StoredImage | None:
        """An image whose file exists."""
        file = self._docker.root / "images" / reference.removeprefix("hangar/")
        if not file.exists():
            return None
        platform, *labels = file.read_text().split()
        pairs = dict(label.split("=", 1) for label in labels)
        return StoredImage("sha256:1", pairs, 5, datetime(2026, 1, 1, tzinfo=UTC), platform)

    async def read_file(self, reference: str, path: str) -> bytes:
        """Its images have no files."""
        return b""

    async def runs(self, platform: str) -> bool:
        """Its own platform, and one more."""
        return platform in {"linux/amd64", "linux/386"}

    async def labelled(self, label: str) -> list[StoredImage]:
        """Images with a label, or with one of a value."""
        names = sorted(path.name for path in (self._docker.root / "images").iterdir())
        found = [each for name in names if (each := await self.image(f"hangar/{name}")) is not None]
        name, _, value = label.partition("=")
        return [each for each in found if name in each.labels and value in {"", each.labels[name]}]

    async def remove(self, reference: str) -> None:
        """Removes the file."""
        (self._docker.root / "images" / reference.removeprefix("hangar/")).unlink(missing_ok=True)
