"""Compiles the Python of an image, or takes over what an earlier build has compiled of the same sources.

Arguments: directory of what builds have compiled; then "library" for the standard library, "packages" for what is
installed. A result counts for one Python, one path and one content to the byte, so it is what compiling would give.
Images start tasks as users who may not write there: what is not compiled now would be compiled at each start.
"""

import hashlib
import importlib.util
import marshal
import os
import sys
import sysconfig
import traceback
from pathlib import Path

_LEFT_OUT = {
    "test",
    "tests",
    "idlelib",
    "turtledemo",
    "lib2to3",
    "ensurepip",
    "site-packages",
    "dist-packages",
}
"""Directories of the standard library that programs do not import."""
_TESTS = {"tests"}
"""Those of packages. More than half of what pandas brings are its own tests; whoever runs them compiles them then."""
_NO_PYTHON = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)
"""How files are refused that are no Python, or for another one: whoever imports them gets the error."""
_DIGEST = 16


def main(store: str, what: str) -> None:
    """Compiles with as many processes as there are processors."""
    if what == "library":
        files = find(Path(os.__file__).parent, _LEFT_OUT)
    else:
        places = dict.fromkeys(map(sysconfig.get_path, ("purelib", "platlib")))
        files = {path: size for place in places for path, size in find(Path(place), _TESTS).items()}
    Path(store).mkdir(exist_ok=True)
    # Sorted, so that each process gets large and small ones.
    paths = sorted(files, key=lambda path: files[path], reverse=True)
    count = len(os.sched_getaffinity(0))
    children = [fork(paths[number::count], Path(store)) for number in range(1, count)]
    compile_files(paths[::count], Path(store))
    codes = [os.waitpid(child, 0)[1] for child in children]
    if any(codes):
        sys.exit(1)


def find(directory: Path, left_out: "set[str]") -> "dict[Path, int]":
    """Returns the sources below a directory, and their sizes."""
    found = {}
    for place, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in left_out and name != "__pycache__"]
        for name in names:
            path = Path(place, name)
            if name.endswith(".py") and path.is_file():  # a link may lead nowhere
                found[path] = path.stat().st_size
    return found


def fork(paths: "list[Path]", store: Path) -> int:
    """Has another process compile files. Returns its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        compile_files(paths, store)
        code = 0
    except OSError:
        traceback.print_exc()
    finally:
        os._exit(code)


def compile_files(paths: "list[Path]", store: Path) -> None:
    """Compiles what is not compiled yet."""
    for path in paths:
        stat = path.stat()
        head = importlib.util.MAGIC_NUMBER + bytes(4)
        for number in (int(stat.st_mtime), stat.st_size):
            head += (number & 0xFFFFFFFF).to_bytes(4, "little")
        target = Path(importlib.util.cache_from_source(str(path)))
        try:
            with target.open("rb") as file:
                is_compiled = file.read(len(head)) == head
        except OSError:
            is_compiled = False
        code = None if is_compiled else code_of(path, store)
        if code is not None:
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(head + code)


def code_of(path: Path, store: Path) -> "bytes | None":
    """Returns what a source is compiled to, None when it cannot be compiled."""
    source = path.read_bytes()
    name = hashlib.blake2b(os.fsencode(f"{sys.version}\0{path}\0"), digest_size=_DIGEST)
    name.update(source)
    kept = store / name.hexdigest()
    try:
        content = kept.read_bytes()
    except OSError:
        content = b""
    code = content[_DIGEST:]
    if content and content[:_DIGEST] == _digest(code):  # else another build is writing it, or died then
        return code
    try:
        code = marshal.dumps(compile(source, str(path), "exec", dont_inherit=True))
    except _NO_PYTHON:
        return None
    kept.write_bytes(_digest(code) + code)
    return code


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


if __name__ == "__main__":
    main(*sys.argv[1:])
