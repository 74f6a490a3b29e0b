"""Puts the platform's SDK into an image: the package `flyte`, compiled, in place of one that is there.

Arguments: directory of the package, file that says what is installed in the image.
"""

import compileall
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

_LOOK = """
import cloudpickle, pydantic, flyte
from pathlib import Path
print(Path(flyte.__file__).resolve().parent)
"""


def main(package: str, packages: str) -> None:
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
    open_directory(Path.cwd())
    write_packages(Path(packages))


def open_directory(directory: Path) -> None:
    """Lets tasks, which are no superusers, read the working directory: `/root` is closed in many images."""
    for path in [directory, *directory.parents]:
        path.chmod(path.stat().st_mode | 0o055)


def write_packages(path: Path) -> None:
    """Writes what is installed: Python packages, and Debian packages where there are any."""
    found = {("pypi", each.metadata["Name"], each.version, "") for each in metadata.distributions()}
    try:
        status = Path("/var/lib/dpkg/status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Debian
        status = ""
    for entry in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            found.add(("deb", fields["Package"], fields["Version"], fields.get("Architecture", "")))
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    names = ("type", "name", "version", "arch")
    path.write_text(json.dumps([dict(zip(names, each, strict=True)) for each in sorted(found)]))
    path.chmod(0o644)


def link_python() -> None:
    """Lets `python` be found where only `python3` is."""
    found = shutil.which("python3")
    if found and shutil.which("python") is None:
        Path(found).with_name("python").symlink_to("python3")


if __name__ == "__main__":
    main(*sys.argv[1:])
