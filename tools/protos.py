"""Generates the stubs of the wire API into `protos/gen`, or checks that they are up to date.

    python tools/protos.py            # generate
    python tools/protos.py --check    # exit 1 and name the files that differ

Messages get `_pb2.py` and `_pb2.pyi`; files with a service also `_pb2_grpc.py` and a typed `_pb2_grpc.pyi`.
The versions of the generators are pinned in `constraints.txt`.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc_tools

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED = PROTOS / "gen" / "hangar"
SERVICE = re.compile(r"^service\s", re.MULTILINE)


def generate(target: Path) -> None:
    """Write the whole `hangar` package below `target`."""
    sources = sorted(path.relative_to(PROTOS) for path in (PROTOS / "hangar").rglob("*.proto"))
    if not sources:
        raise SystemExit(f"There is no .proto file below {PROTOS / 'hangar'}.")
    services = [path for path in sources if SERVICE.search((PROTOS / path).read_text())]
    protoc(sources, "--python_out", "--pyi_out", target=target)
    if services:
        protoc(services, "--grpc_python_out", "--mypy_grpc_out", target=target)
    package = target / "hangar"
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text('"""Generated stubs of the wire API: `make protos`."""\n')
    (package / "py.typed").touch()


def protoc(sources: list[Path], *outputs: str, target: Path) -> None:
    """Run the protocol compiler that grpcio-tools brings, with the include folder it brings."""
    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={PROTOS}",
        f"--proto_path={Path(grpc_tools.__file__).with_name('_proto')}",
        f"--plugin=protoc-gen-mypy_grpc={plugin}",
        *(f"{output}={'quiet:' if 'mypy' in output else ''}{target}" for output in outputs),
        *map(str, sources),
    ]
    if subprocess.run(command, cwd=PROTOS, check=False).returncode:
        raise SystemExit("The protocol compiler refused the protos; see its messages above.")


def differences(wanted: Path, present: Path) -> list[str]:
    """Return the files that are missing, changed or left over in `present`."""
    left = {path.relative_to(wanted): path.read_bytes() for path in wanted.rglob("*") if path.is_file()}
    right = {
        path.relative_to(present): path.read_bytes()
        for path in present.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(str(path) for path in left.keys() | right.keys() if left.get(path) != right.get(path))


def main() -> None:
    """Generate, or check with `--check`."""
    parser = argparse.ArgumentParser(description="Generate the stubs of the wire API.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail when stubs are out of date"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = Path(folder, "hangar")
        changed = differences(fresh, GENERATED)
        if arguments.check:
            if changed:
                print("These stubs are out of date (run `make protos`):", *changed, sep="\n  ")
                raise SystemExit(1)
            return
        for name in changed:
            source, target = fresh / name, GENERATED / name
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            else:
                target.unlink()
    print(f"{len(changed)} generated files changed.")


if __name__ == "__main__":
    main()
