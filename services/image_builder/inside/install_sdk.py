"""Puts the platform's SDK into an image: the package `flyte`, compiled, in place of one that is there.

Argument: directory of the package.
"""

import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

_LOOK = """
import cloudpickle, pydantic, flyte
from pathlib import Path
print(Path(flyte.__file__).resolve().parent)
"""


def main(package: str) -> None:
    """Copies, compiles, and finds out whether this Python imports what was copied."""
    os.umask(0o022)
    target = Path(sysconfig.get_path("purelib"), "flyte")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(package, target)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    if not compileall.compile_dir(target, quiet=1):
        sys.exit(f"the platform's SDK cannot be compiled by Python {sys.version}")
    command = [sys.executable, "-B", "-c", _LOOK]
    looked = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", check=False
    )
    if looked.returncode:
        sys.exit(f"the platform's SDK cannot be imported in this image:\n{looked.stdout}")
    found = (looked.stdout.strip().splitlines() or [""])[-1]
    if found != str(target.resolve()):
        sys.exit(
            f"another package flyte hides the platform's SDK: it is imported from {found} instead of {target}. "
            "Remove it from the base image"
        )
    link_python()


def link_python() -> None:
    """Lets `python` be found where only `python3` is."""
    found = shutil.which("python3")
    if found and shutil.which("python") is None:
        Path(found).with_name("python").symlink_to("python3")


if __name__ == "__main__":
    main(sys.argv[1])
