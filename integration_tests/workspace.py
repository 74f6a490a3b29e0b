"""A user's directory: scripts, a configuration, and the commands that are run in it."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

import yaml

from integration_tests.backend import BIN, clean_environ

_SECONDS = 120


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines of its standard output."""
        return self.out.splitlines()

    def __str__(self) -> str:
        return f"{' '.join(self.arguments)}\nexit code {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


class Workspace:
    """A directory with a `config.yaml` that names a backend.

    Args:
        directory: The directory; made when it does not exist.
        address: Host and port of the backend's gRPC port; empty for no configuration.
    """

    def __init__(self, directory: Path, address: str) -> None:
        self.directory = directory
        home = directory.with_name("home")
        self.environ = clean_environ(HOME=str(home), HANGAR_DATA_DIR=str(home / "no-backend"))
        for each in (directory, home):
            each.mkdir(parents=True, exist_ok=True)
        if address:
            content = {"admin": {"endpoint": address, "insecure": True}}
            (directory / "config.yaml").write_text(yaml.safe_dump(content))

    def write(self, name: str, text: str) -> Path:
        """Writes a file; the indentation that all its lines share is taken off."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def share_notes(self) -> None:
        """Makes `from notes import …` work in scripts: how tasks and tests tell each other things."""
        shutil.copy(Path(__file__).with_name("notes.py"), self.directory)

    def flyte(self, *arguments: object, code: int | None = 0, seconds: float = _SECONDS) -> Finished:
        """Runs `flyte …` and checks its exit code; None for any."""
        return self._run([str(BIN / "flyte"), *map(str, arguments)], code, seconds)

    def python(self, *arguments: object, code: int | None = 0, seconds: float = _SECONDS) -> Finished:
        """Runs `python …` and checks its exit code; None for any."""
        return self._run([str(BIN / "python"), *map(str, arguments)], code, seconds)

    def launch(self, file: object, task: str, *arguments: object) -> str:
        """Runs `flyte run --detach …` and returns the name of the run."""
        return self.flyte("run", "--detach", file, task, *arguments).lines[0]

    def popen(self, *arguments: object) -> subprocess.Popen[str]:
        """Starts `flyte …` with its outputs in pipes, and does not wait for it."""
        return subprocess.Popen(
            [str(BIN / "flyte"), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory,
            env=self.environ,
        )

    def _run(self, arguments: list[str], code: int | None, seconds: float) -> Finished:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=self.directory,
            env=self.environ,
            check=False,
        )
        finished = Finished(
            (Path(arguments[0]).name, *arguments[1:]), done.returncode, done.stdout, done.stderr
        )
        assert code is None or done.returncode == code, f"expected exit code {code}\n{finished}"
        return finished
