"""Checks the Python of an image and compiles its standard library, which many images leave uncompiled.

Arguments: oldest version that will do (two numbers), path of the installer. Runs on any Python, so that an old one
gets a message instead of a syntax error.
"""

import compileall
import os
import subprocess
import sys
from pathlib import Path

_LEFT_OUT = (
    "test",
    "tests",
    "idlelib",
    "turtledemo",
    "lib2to3",
    "ensurepip",
    "site-packages",
    "dist-packages",
)


def main(major: str, minor: str, installer: str) -> None:
    """Ends the build step with a message when this image cannot be used."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < (int(major), int(minor)):
        sys.exit(
            "Python "
            + found
            + " of this image ("
            + sys.executable
            + ") is too old: tasks need Python "
            + major
            + "."
            + minor
            + " or newer. Use a newer base image"
        )
    try:
        subprocess.check_output([installer, "--version"])
    except OSError as error:
        sys.exit(
            "the package installer uv does not run in this image ("
            + str(error)
            + "). It needs the C library glibc, "
            "which Alpine images lack: use a Debian or Ubuntu base, or let the operator name a static uv in the "
            "setting HANGAR_IMAGE_BUILDER_UV"
        )
    compile_standard_library()


def compile_standard_library() -> None:
    """Compiles what is not compiled yet: images start tasks as users who may not write there."""
    library = str(Path(os.__file__).parent)
    for directory, folders, files in os.walk(library):
        folders[:] = [name for name in folders if name not in _LEFT_OUT and name != "__pycache__"]
        for name in files:
            if name.endswith(".py"):
                compileall.compile_file(str(Path(directory, name)), quiet=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
