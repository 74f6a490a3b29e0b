"""Checks the Python of an image.

Arguments: oldest version that will do (two numbers), path of the installer, platform that it has to be of, the number
that programs of it have in their ELF header (0 when that is not known), and the exit code when it is too old. Runs on
any Python, so that an old one gets a message instead of a syntax error.
"""

import subprocess
import sys

INSTALLER_FAILED = 78
"""Exit code when the installer does not run in the image."""


def main(major: str, minor: str, installer: str, platform: str, machine: str, too_old: str) -> None:
    """Ends the build step with a message when this image cannot be used."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < (int(major), int(minor)):
        sys.stderr.write(
            "Python "
            + found
            + " of this image ("
            + sys.executable
            + ") is too old: tasks need Python "
            + major
            + "."
            + minor
            + " or newer. Use a newer base image\n"
        )
        sys.exit(int(too_old))
    if int(machine) and machine_of(sys.executable) not in (0, int(machine)):
        sys.exit(
            "the base image is not for "
            + platform
            + ", although its address was taken for that: its Python ("
            + sys.executable
            + ") is a program of another machine. Use a base image that there is for "
            + platform
        )
    try:
        subprocess.check_output([installer, "--version"])
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write("the package installer uv does not run in this image (" + str(error) + ")\n")
        sys.exit(INSTALLER_FAILED)


def machine_of(program: str) -> int:
    """Returns the number of its machine in the header of a program, 0 when it has no such header."""
    with open(program, "rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF":
        return 0
    return int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")


if __name__ == "__main__":
    main(*sys.argv[1:])
