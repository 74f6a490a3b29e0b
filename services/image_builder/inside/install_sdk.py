"""Puts the platform's SDK into an image, in a directory of its own, and looks after it while steps of the author run.

Arguments: directory that the image keeps for the platform; then, to install, the an archive of the package `flyte`.
Without the second it says whether this Python still runs the SDK, and writes down anew what is installed.
"""

import compileall
import hashlib
import importlib
import json
import os
import shlex
import shutil
import sys
import sysconfig
import traceback
import zipfile
from importlib import metadata
from pathlib import Path

ELSEWHERE = 79
"""Exit code when another Python runs than the one that got the SDK."""
_NEEDED = ("cloudpickle", "pydantic", "flyte", "flyte._runtime.container")
"""Modules that tasks need, whatever they do."""
_DPKG = "/var/lib/dpkg/status"
_STEP = """# Runs a step of the author, by the arguments of its shell, and looks at what it installed, if anything.
/bin/sh "$@" || exit
if ! [ -e {tool} ] || ! [ -e {package} ]; then
    echo "this step removed files below {home}, where the platform's SDK is: leave them there" >&2
    exit 1
fi
if ! python="$(command -v python3)"; then
    echo "this step left no python3 in PATH ($PATH): tasks need it" >&2
    exit {elsewhere}
fi
changed=
for place in {places}; do
    if ! [ "$place" -ot {packages} ]; then changed=1; fi
done
if [ -z "$changed" ] && [ "$python" = {python} ] && [ "$python" -ef {program} ]; then exit 0; fi
exec python3 -B {tool} {home}
"""


def main(home: str, package: str = "") -> None:
    """Installs, if there is something to install, and checks."""
    os.umask(0o022)
    if package:
        install(Path(home), package)
        # Another process finds what was installed, as tasks do.
        command = [sys.executable, "-B", str(Path(home, "install_sdk.py")), home]
        os.execv(command[0], command)  # noqa: S606  # no shell is wanted
    check(Path(home))


def install(home: Path, package: str) -> None:
    """Copies and compiles the package, and makes this Python find it before any other of its name."""
    target, mark = home / "site-packages" / "flyte", home / "sdk.sha256"
    digest = hashlib.sha256(Path(package).read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != digest:  # else another Python of this image has got it
        shutil.rmtree(target, ignore_errors=True)
        with zipfile.ZipFile(package) as archive:
            archive.extractall(target.parent)
        for path in [target, *target.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        mark.write_text(digest)
    if not compileall.compile_dir(target, quiet=1):
        sys.exit(f"the platform's SDK cannot be compiled by Python {sys.version}")
    link().write_text(f"import sys; sys.path.insert(0, {str(target.parent)!r})\n")
    link_python()
    open_directory(Path.cwd())
    tool = home / "install_sdk.py"
    if Path(__file__) != tool:
        shutil.copyfile(__file__, tool)


def link() -> Path:
    """Returns the file by which this Python finds the SDK."""
    return Path(sysconfig.get_path("purelib"), "hangar-sdk.pth")


def check(home: Path) -> None:
    """Finds out whether this Python imports what was copied, and writes down what is installed."""
    target = home / "site-packages" / "flyte"
    problem, found = "", None
    try:
        modules = [importlib.import_module(name) for name in _NEEDED]
        found = Path(modules[2].__file__ or "").resolve().parent
    except (Exception, SystemExit):  # noqa: BLE001  # whatever is there instead of the SDK may raise anything
        problem = traceback.format_exc()
    is_found = found == target.resolve()
    if not is_found and not link().exists():
        sys.stderr.write(f"another Python runs now, which lacks the platform's SDK: {sys.executable}\n")
        sys.exit(ELSEWHERE)
    if problem:
        sys.exit(f"the platform's SDK cannot be imported in this image:\n{problem}")
    if not is_found:
        sys.exit(
            f"another package flyte hides the platform's SDK: it is imported from {found} instead of {target}. "
            "Remove it"
        )
    write_packages(home / "packages.json")
    write_step(home)


def write_step(home: Path) -> None:
    """Writes the script that steps of the author run below."""
    python = shutil.which("python3") or sys.executable
    program = os.path.realpath(python)
    if program != os.path.realpath(sys.executable):
        program = ""  # a script chooses which Python runs: then nothing but running it tells
    places = dict.fromkeys([*map(sysconfig.get_path, ("purelib", "platlib", "stdlib")), _DPKG])
    text = _STEP.format(
        places=shlex.join(place for place in places if Path(place).exists()),
        packages=shlex.quote(str(home / "packages.json")),
        python=shlex.quote(python),
        program=shlex.quote(program),
        elsewhere=ELSEWHERE,
        tool=shlex.quote(str(home / "install_sdk.py")),
        package=shlex.quote(str(home / "site-packages" / "flyte" / "__init__.py")),
        home=shlex.quote(str(home)),
    )
    (home / "step.sh").write_text(text)


def open_directory(directory: Path) -> None:
    """Lets tasks, which are no superusers, read the working directory: `/root` is closed in many images."""
    for path in [directory, *directory.parents]:
        path.chmod(path.stat().st_mode | 0o055)


def write_packages(path: Path) -> None:
    """Writes what is installed: Python packages, and Debian packages where there are any."""
    found = set()
    for each in metadata.distributions():
        head = (
            each.read_text("METADATA") or each.read_text("PKG-INFO") or each.read_text("") or ""
        ).partition("\n\n")[0]
        named = dict(
            line.split(": ", 1) for line in head.splitlines() if line.startswith(("Name: ", "Version: "))
        )
        if len(named) == 2:  # a broken one has none
            found.add(("pypi", named["Name"].strip(), named["Version"].strip(), ""))
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
