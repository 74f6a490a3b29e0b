"""What steps of a build run: texts of shell scripts. Pure.

They run below the image's `/bin/sh`. `WORK` is a memory file system in which what they need is mounted.
"""

from __future__ import annotations

import re
import shlex

from services.common.image_definition import OWN_PACKAGES, InstallLayer

WORK = "/run/hangar"
"""Where steps find what is mounted for them. In the image it is an empty directory."""
OLDEST_PYTHON = (3, 10)
"""Oldest Python version that the platform's SDK runs on."""

_HEAD = f"""set -eu
umask 022
if [ -f {WORK}/host/environ ]; then . {WORK}/host/environ; fi
"""
_NO_PYTHON = (
    f"there is no python3 in this image: tasks need Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer. Add it "
    "(with_apt_packages, with_commands) before Python packages, or use another base image"
)
_APT = (
    "apt-get -q -o APT::Sandbox::User=root -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "
    f"-o Dir::State::Lists={WORK}/apt/lists -o Dir::Cache::Archives={WORK}/apt/archives "
    "-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "
    "${SSL_CERT_FILE:+-o Acquire::https::CAInfo=$SSL_CERT_FILE}"
)


def lines(values: tuple[str, ...]) -> str:
    """Returns a text with one value per line."""
    return "".join(f"{value}\n" for value in values)


def overrides() -> str:
    """Returns overrides with which a requirement for the platform's SDK, of whomever, installs nothing."""
    return lines(tuple(f"{name}; sys_platform == 'never'" for name in sorted(OWN_PACKAGES)))


def check_python() -> str:
    """Returns the script that refuses images whose Python cannot be used, and compiles the standard library."""
    return f"""set -eu
umask 022
if ! command -v python3 > /dev/null; then
    echo {shlex.quote(_NO_PYTHON)} >&2
    exit 1
fi
exec python3 -B {WORK}/tools/prepare_python.py {OLDEST_PYTHON[0]} {OLDEST_PYTHON[1]} {WORK}/tools/uv
"""


def install(layer: InstallLayer) -> str:
    """Returns the script that installs the author's packages, in versions that the platform's SDK can live with."""
    arguments = ("--constraints", f"{WORK}/tools/sdk-requirements.txt", *layer.arguments)
    return _HEAD + f"cd {WORK}\n" + _uv_install(f"{WORK}/layer/requirements.txt", arguments)


def install_sdk_requirements(named: tuple[str, ...]) -> str:
    """Returns the script that installs what the platform's SDK needs.

    Args:
        named: Normalised names of packages that the author asked for: what is installed of them stays as it is.
    """
    keep, installed = f"{WORK}/keep.txt", f"{WORK}/installed.txt"
    script = f"{_HEAD}cd {WORK}\n"
    if named:
        pattern = "|".join(re.escape(name).replace("\\-", "-") for name in named)
        script += (
            f'{WORK}/tools/uv pip freeze --python "$(command -v python3)" --cache-dir {WORK}/cache > {installed}\n'
            f"grep -E {shlex.quote(f'^({pattern})==')} {installed} > {keep} || true\n"
        )
    arguments = ("--constraints", keep) if named else ()
    return script + _uv_install(f"{WORK}/tools/sdk-requirements.txt", arguments)


def install_apt(packages: tuple[str, ...]) -> str:
    """Returns the script that installs Debian packages. Lists and archives stay in the builder's cache."""
    return _HEAD + (
        f"export DEBIAN_FRONTEND=noninteractive\nmkdir -p {WORK}/apt/lists/partial {WORK}/apt/archives/partial\n"
        f"{_APT} update\nexec {_APT} install -y --no-install-recommends {shlex.join(packages)}\n"
    )


def run_command(command: str) -> str:
    """Returns the script that runs a command of the author."""
    return f"{_HEAD}set +u\n{command}\n"


def _uv_install(requirements: str, arguments: tuple[str, ...]) -> str:
    options = (
        "--break-system-packages --compile-bytecode --link-mode copy --no-progress --color never "
        f"--cache-dir {WORK}/cache --overrides {WORK}/tools/overrides.txt --requirements {requirements}"
    )
    command = " ".join([options, *map(shlex.quote, arguments)])
    return f'exec {WORK}/tools/uv pip install --python "$(command -v python3)" {command}\n'
