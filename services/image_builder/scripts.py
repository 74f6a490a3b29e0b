"""What steps of a build run: texts of shell scripts. Pure.

They run below the image's `/bin/sh`. `WORK` is a memory file system in which what they need is mounted.
"""

from __future__ import annotations

import re
import shlex

from services.common.emulation import machine_number
from services.common.image_layers import OWN_PACKAGES, BuildSecret, InstallLayer, ProjectLayer
from services.image_builder.pythons import ELSEWHERE

WORK = "/run/hangar"
"""Where steps find what is mounted for them. In the image it is an empty directory."""
HOME = "/usr/share/hangar"
"""Directory of an image with the platform's SDK in it."""
INSTALL_SDK = ("python3", "-I", "-B", f"{WORK}/tools/install_sdk.py", HOME, f"{WORK}/sdk.zip")
"""Command that installs the platform's SDK, and opens the working directory to tasks."""
OPEN_DIRECTORY = 'cd -P . && until [ "$PWD" = / ]; do chmod go+rx . && cd .. || exit; done'
"""Command that lets tasks, which are no superusers, read the working directory."""
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
_POETRY = (
    f"export HOME={WORK}/home POETRY_CACHE_DIR={WORK}/home/cache POETRY_CONFIG_DIR={WORK}/home/config "
    f"UV_TOOL_DIR={WORK}/home/tools\nmkdir -p {WORK}/home\n"
)
"""What Poetry writes stays out of the image."""


def lines(values: tuple[str, ...]) -> str:
    """Returns a text with one value per line."""
    return "".join(f"{value}\n" for value in values)


def overrides() -> str:
    """Returns overrides with which a requirement for the platform's SDK, of whomever, installs nothing."""
    return lines(tuple(f"{name}; sys_platform == 'never'" for name in sorted(OWN_PACKAGES)))


def check_python(platform: str) -> str:
    """Returns the script that refuses images whose Python cannot be used, and compiles the standard library.

    Args:
        platform: Platform that the Python has to be of.
    """
    return f"set -eu\numask 022\n{_check(platform)}"


def install(layer: InstallLayer) -> str:
    """Returns the script that installs the author's packages, in versions that the platform's SDK can live with."""
    return _head(layer.secrets) + f"cd {WORK}\nexec " + _install(f"{WORK}/layer/requirements.txt", layer)


def install_locked(layer: ProjectLayer) -> str:
    """Returns the script that installs what a lock file names."""
    project, output = f"{WORK}/project", f"{WORK}/locked.txt"
    environ = "" if layer.tool == "uv" else _POETRY
    command = layer.export(f"{WORK}/tools/uv", project, output, "PYTHON")
    export = shlex.join(command).replace("PYTHON", '"$(command -v python3)"', 1)
    return (
        _head(layer.install.secrets)
        + f"cd {WORK}\nmkdir {project}\ncp {WORK}/layer/pyproject.toml {WORK}/layer/{layer.lock_name} {project}/\n"
        + f"export UV_CACHE_DIR={WORK}/cache UV_PROJECT_ENVIRONMENT={WORK}/none\n{environ}{export}\n"
        + f"exec {_install(output, layer.install)}"
    )


def install_project(installer: InstallLayer) -> str:
    """Returns the script that installs a project whose requirements are there, as a package like any other."""
    return (
        _head(installer.secrets)
        + f"cp -r {WORK}/layer/files {WORK}/project\ncd {WORK}/project\n"
        + f"exec {_uv_install('', ('--no-deps', *installer.arguments, f'{WORK}/project'))}\n"
    )


def _install(requirements: str, layer: InstallLayer) -> str:
    arguments = ("--constraints", f"{WORK}/tools/sdk-requirements.txt", *layer.arguments)
    return f"{_uv_install(requirements, arguments)}\n"


def _head(secrets: tuple[BuildSecret, ...]) -> str:
    return _HEAD + "".join(
        f'export {secret.variable}="$(cat {WORK}/secrets/{shlex.quote(secret.key)})"\n'
        for secret in secrets
        if secret.variable
    )


def install_sdk_requirements(named: tuple[str, ...]) -> str:
    """Returns the script that installs what the platform's SDK needs.

    What is installed stays as it is, as far as the SDK can live with it; what has to be replaced is in the log.

    Args:
        named: Normalised names of packages that the author asked for: these stay as they are, or the step fails.
    """
    installed, keep, tried = f"{WORK}/installed.txt", f"{WORK}/keep.txt", f"{WORK}/tried.txt"
    pattern = "|".join(re.escape(name).replace("\\-", "-") for name in named)
    keeping = (
        f"grep -E {shlex.quote(f'^({pattern})==')} {installed} > {keep} || true" if named else f": > {keep}"
    )
    requirements = f"{WORK}/tools/sdk-requirements.txt"
    return f"""{_HEAD}cd {WORK}
{WORK}/tools/uv pip list --format freeze --python "$(command -v python3)" --cache-dir {WORK}/cache > {installed}
{keeping}
if {_uv_install(requirements, ("--constraints", installed))} 2> {tried}; then
    cat {tried} >&2
else
    echo "of what is installed some may have to be replaced by what the platform's SDK needs:" >&2
    {_uv_install(requirements, ("--constraints", keep))}
fi
"""


def install_sdk_into_another_python(named: tuple[str, ...], platform: str, *, was_there: bool) -> str:
    """Returns the script that does in one step all that the platform's SDK needs, where that is not done.

    Args:
        named: As with `install_sdk_requirements`.
        platform: As with `check_python`.
        was_there: True behind steps that had the SDK: it may be the same Python still.
    """
    same = f"if /bin/sh {HOME}/step.sh /dev/null > /dev/null 2>&1; then exit 0; fi\n" if was_there else ""
    install = f"(\n{install_sdk_requirements(named)})\nexec {shlex.join(INSTALL_SDK)}\n"
    return f"set -eu\numask 022\n{same}{_check(platform)}{install}"


def install_apt(packages: tuple[str, ...], secrets: tuple[BuildSecret, ...] = ()) -> str:
    """Returns the script that installs Debian packages. Lists and archives stay in the builder's cache."""
    return _head(secrets) + (
        f"export DEBIAN_FRONTEND=noninteractive\nmkdir -p {WORK}/apt/lists/partial {WORK}/apt/archives/partial\n"
        f"{_APT} update\nexec {_APT} install -y --no-install-recommends {shlex.join(packages)}\n"
    )


def run_command(command: str, secrets: tuple[BuildSecret, ...] = ()) -> str:
    """Returns the script that runs a command of the author."""
    return f"{_head(secrets)}set +u\n{command}\n"


def _check(platform: str) -> str:
    oldest = " ".join(map(str, OLDEST_PYTHON))
    arguments = f"{oldest} {WORK}/tools/uv {platform} {machine_number(platform)} {ELSEWHERE}"
    return f"""if ! command -v python3 > /dev/null; then
    echo {shlex.quote(_NO_PYTHON)} >&2
    exit {ELSEWHERE}
fi
python3 -B {WORK}/tools/prepare_python.py {arguments}
"""


def _uv_install(requirements: str, arguments: tuple[str, ...]) -> str:
    options = (
        "--break-system-packages --compile-bytecode --link-mode copy --no-progress --color never "
        f"--cache-dir {WORK}/cache --overrides {WORK}/tools/overrides.txt"
    )
    if requirements:
        options += f" --requirements {requirements}"
    command = " ".join([options, *map(shlex.quote, arguments)])
    return f'{WORK}/tools/uv pip install --python "$(command -v python3)" {command}'
