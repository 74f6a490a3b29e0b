"""Puts the platform's SDK into an image, in a directory of its own, and looks after it while steps of the author run.

Arguments: directory that the image keeps for the platform; then, to install, the an archive of the package `flyte`.
Without the second it says whether this Python still runs the SDK, and writes down anew what is installed.
"""

import compileall
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

_LOOK = """
import cloudpickle, pydantic, flyte
from pathlib import Path
print(Path(flyte.__file__).resolve().parent)
"""
_DPKG = "/var/lib/dpkg/status"
_STEP = """# Runs a step of the author, and looks at what it installed. Nothing was installed: nothing to look at.
/bin/sh "$1" || exit
changed=
for place in {places}; do
    if [ "$place" -nt {packages} ]; then changed=1; fi
done
if [ -z "$changed" ] && [ "$(command -v python3)" = {python} ]; then exit 0; fi
exec python3 -I -B {tool} {home}
"""


def main(home: str, package: str = "") -> None:
    """Installs, if there is something to install, and checks."""
    os.umask(0o022)
    if package:
        install(Path(home), package)
    check(Path(home))


def install(home: Path, package: str) -> None:
    """Copies and compiles the package, and makes this Python find it before any other of its name."""
    target = home / "site-packages" / "flyte"
    shutil.rmtree(target, ignore_errors=True)
    with zipfile.ZipFile(package) as archive:
        archive.extractall(target.parent)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    if not compileall.compile_dir(target, quiet=1):
        sys.exit(f"the platform's SDK cannot be compiled by Python {sys.version}")
    link = Path(sysconfig.get_path("purelib"), "hangar-sdk.pth")
    link.write_text(f"import sys; sys.path.insert(0, {str(target.parent)!r})\n")
    link_python()
    open_directory(Path.cwd())
    tool = home / "install_sdk.py"
    if Path(__file__) != tool:
        shutil.copyfile(__file__, tool)
    places = {sysconfig.get_path("purelib"): 0, sysconfig.get_path("platlib"): 0, _DPKG: 0}
    text = _STEP.format(
        places=shlex.join(places),
        packages=shlex.quote(str(home / "packages.json")),
        python=shlex.quote(shutil.which("python3") or sys.executable),
        tool=shlex.quote(str(tool)),
        home=shlex.quote(str(home)),
    )
    (home / "step.sh").write_text(text)


def check(home: Path) -> None:
    """Finds out whether this Python imports what was copied, and writes down what is installed."""
    target = home / "site-packages" / "flyte"
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
            "Remove it"
        )
    write_packages(home / "packages.json")


def open_directory(directory: Path) -> None:
    """Lets tasks, which are no superusers, read the working directory: `/root` is closed in many images."""
    for path in [directory, *directory.parents]:
        path.chmod(path.stat().st_mode | 0o055)


def write_packages(path: Path) -> None:
    """Writes what is installed: Python packages, and Debian packages where there are any."""
    found = {("pypi", each.metadata["Name"], each.version, "") for each in metadata.distributions()}
    try:
        status = Path(_DPKG).read_text(encoding="utf-8", errors="replace")
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
