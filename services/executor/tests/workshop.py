"""Environments of tests, made of wheels in a directory."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from services.common.sdk_layer import SdkLayer
from services.executor.environments import Environment, Environments
from services.executor.tests.wheels import write_wheel


class Workshop:
    """Makes environments of wheels in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wheels = root / "wheels"
        self.lines: list[str] = []
        package = root / "sdk" / "flyte"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("ORIGIN = 'host'\n")
        write_wheel(self.wheels, "pebble")
        self.sdk = SdkLayer(package, requirements=("pebble",))
        self.environments = self.another()

    def another(self) -> Environments:
        """What another process would use."""
        return Environments(
            self.root / "environments",
            SdkLayer(self.sdk.package, self.sdk.requirements),
            (self.root / "blobs").as_uri(),
        )

    def archive(self, **files: str) -> dict[str, Any]:
        """Uploads files of an author."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(name.replace("__", "/"))
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        digest = hashlib.sha256(content.getvalue()).hexdigest()
        place = self.root / "blobs" / "contexts" / f"{digest}.tar"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.getvalue())
        return {"sha256": digest, "size": len(content.getvalue())}

    def definition(self, *packages: str, **more: Any) -> str:
        layer = {
            "kind": "pip",
            "packages": list(packages),
            "extra_args": f"--no-index --find-links {self.wheels}",
        }
        return json.dumps({"base": {"kind": "debian"}, "layers": [layer, *more.get("layers", [])]})

    async def make(self, *packages: str, **more: Any) -> Environment:
        return await self.environments.ensure(self.definition(*packages, **more), self.lines.append)

    def leftovers(self) -> list[str]:
        usual = {"locks", ".empty"}
        return [path.name for path in (self.root / "environments").iterdir() if path.name not in usual]


def run(environment: Environment, code: str) -> str:
    """What a program prints in an environment."""
    done = subprocess.run([environment.python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
