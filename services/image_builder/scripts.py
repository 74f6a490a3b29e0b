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
HOST = "/dev/hangar/host"
"""Where steps find the settings of the builder's host. What is below `/dev` is in memory in every container."""
SECRETS = "/dev/hangar/secrets"
"""Where steps find the secrets of the author, by their keys."""
HOME = "/usr/share/hangar"
"""Directory of an image with the platform's SDK in it."""
INSTALL_SDK = ("python3", "-I", "-B", f"{WORK}/tools/install_sdk.py", HOME, f"{WORK}/sdk.zip")
"""Command that installs the platform's SDK, and opens the working directory to tasks."""
OPEN_DIRECTORY = 'cd -P . && until [ "$PWD" = / ]; do chmod go+rx . && cd .. || exit; done'
"""Command that lets tasks, which are no superusers, read the working directory."""
OLDEST_PYTHON = (3, 10)
"""Oldest Python version that the platform's SDK runs on."""

_SDK_REQUIREMENTS = f"{WORK}/tools/sdk-requirements.txt"
_INSTALLED = f"{WORK}/installed.txt"
_PYTHON = '"$(command -v python3)"'
_LIST = f"{WORK}/tools/uv pip list --format freeze --python {_PYTHON} --cache-dir {WORK}/cache > {_INSTALLED}"
_HOW = f"--link-mode copy --no-progress --color never --cache-dir {WORK}/cache"
_UV_COMPILES = ("--compile-bytecode",)
_COMPILE = f"python3 -I -B -W ignore {WORK}/tools/compile_python.py {WORK}/cache/hangar-bytecode"
_HEAD = f"""set -eu
umask 022
if [ -f {HOST}/settings ]; then . {HOST}/settings; fi
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
_FOLLOW_PROJECT = f"""if [ -n "${{UV_CONFIG_FILE:-}}" ]; then
    mkdir -p {WORK}/config/uv
    cp "$UV_CONFIG_FILE" {WORK}/config/uv/uv.toml
    export XDG_CONFIG_HOME={WORK}/config
    unset UV_CONFIG_FILE
fi
"""
"""Lets the settings of a project count beside those of the host."""


def lines(values: tuple[str, ...]) -> str:
    """Returns a text with one value per line."""
    return "".join(f"{value}\n" for value in values)


def overrides() -> str:
    """Returns overrides with which a requirement for the platform's SDK, of whomever, installs nothing."""
    return lines(tuple(f"{name}; sys_platform == 'never'" for name in sorted(OWN_PACKAGES)))


def check_python(platform: str, hint: str = "") -> str:
    """Returns the script that refuses images whose Python cannot be used, and compiles the standard library.

    Args:
        platform: Platform that the Python has to be of.
        hint: Why there may be none, for people.
    """
    return f"set -eu\numask 022\n{_check(platform, hint)}"


def install(layer: InstallLayer, *, has_sdk: bool = True) -> str:
    """Returns the script that installs the author's packages, in versions that the platform's SDK can live with.

    Args:
        layer: The packages.
        has_sdk: False for an image without the SDK.
    """
    place = f"{_FOLLOW_PROJECT}cd {WORK}/layer\n" if layer.settings else f"cd {WORK}\n"
    name, _ = layer.file
    return _head(layer.secrets) + place + _install(f"{WORK}/layer/{name}", layer, has_sdk=has_sdk)


def install_locked(layer: ProjectLayer, *, has_sdk: bool = True) -> str:
    """Returns the script that installs what a lock file names. See `install`."""
    script = _head(layer.install.secrets) + _enter(layer, with_files=layer.local is not None)
    if layer.tool == "uv":
        return script + _sync(layer, has_sdk=has_sdk)
    output = f"{WORK}/locked.txt"
    export = _with_python(layer.export(f"{WORK}/tools/uv", f"{WORK}/project", output, "PYTHON"))
    script += f"export UV_CACHE_DIR={WORK}/cache\n{_POETRY}{export}\n"
    return script + _install(output, layer.install, has_sdk=has_sdk)


def install_project(layer: ProjectLayer, *, has_sdk: bool = True) -> str:
    """Returns the script that installs a project whose requirements are there. See `install`."""
    return (
        _head(layer.install.secrets)
        + _enter(layer, with_files=True)
        + _sync(layer, project=True, has_sdk=has_sdk)
    )


def _enter(layer: ProjectLayer, *, with_files: bool) -> str:
    """Makes a directory of the project, which tools may write to, and goes there."""
    files = f"cp -r {WORK}/layer/files/. {WORK}/project/\n" if with_files else ""
    return (
        f"mkdir {WORK}/project\n{files}"
        f"cp {WORK}/layer/pyproject.toml {WORK}/layer/{layer.lock_name} {WORK}/project/\ncd {WORK}/project\n"
    )


def _sync(layer: ProjectLayer, *, project: bool = False, has_sdk: bool) -> str:
    """Has `uv` install what it has locked. Settings of the host for which it would lock anew do not count."""
    command = _with_python(layer.sync(f"{WORK}/tools/uv", "PYTHON", project=project))
    option, compiles = _compiling(layer.install.extra_args + layer.tool_args)
    return f"""{_FOLLOW_PROJECT}unset UV_EXCLUDE_NEWER
UV_PROJECT_ENVIRONMENT="$(python3 -c 'import sys; print(sys.prefix)')"
export UV_PROJECT_ENVIRONMENT UV_PYTHON_DOWNLOADS=never
{" ".join([command, _HOW, *option])}
{compiles}{_fit_sdk() if has_sdk else ""}"""


def _install(requirements: str, layer: InstallLayer, *, has_sdk: bool) -> str:
    option, compiles = _compiling(layer.extra_args)
    if layer.requires_hashes:  # which the SDK's requirements have not
        install = _uv_install(requirements, (*option, *layer.arguments))
        return f"{install}\n{compiles}{_fit_sdk() if has_sdk else ''}"
    arguments = (*option, "--constraints", _SDK_REQUIREMENTS, *layer.arguments)
    return f"{_uv_install(requirements, arguments)}\n{compiles}"


def _compiling(own: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Returns the option of `uv` and the line of a script by which packages are compiled.

    What other builds have compiled counts, except where the author's own arguments may say where packages go and
    whether they are compiled: `uv` knows that.
    """
    return (_UV_COMPILES, "") if own else ((), f"{_COMPILE} packages\n")


def _fit_sdk() -> str:
    """Installs what the SDK lacks; fails where that would replace what was installed."""
    return f"{_LIST}\n{_uv_install(_SDK_REQUIREMENTS, (*_UV_COMPILES, '--constraints', _INSTALLED))}\n"


def _with_python(command: tuple[str, ...]) -> str:
    return shlex.join(command).replace("PYTHON", _PYTHON, 1)


def _head(secrets: tuple[BuildSecret, ...]) -> str:
    return _HEAD + "".join(
        f'export {secret.variable}="$(cat {SECRETS}/{shlex.quote(secret.key)})"\n'
        for secret in secrets
        if secret.variable
    )


def install_sdk_requirements(named: tuple[str, ...]) -> str:
    """Returns the script that installs what the platform's SDK needs.

    What is installed stays as it is, as far as the SDK can live with it; what has to be replaced is in the log.

    Args:
        named: Normalised names of packages that the author asked for: these stay as they are, or the step fails.
    """
    keep, tried = f"{WORK}/keep.txt", f"{WORK}/tried.txt"
    pattern = "|".join(re.escape(name).replace("\\-", "-") for name in named)
    keeping = (
        f"grep -E {shlex.quote(f'^({pattern})==')} {_INSTALLED} > {keep} || true" if named else f": > {keep}"
    )
    return f"""{_HEAD}cd {WORK}
{_LIST}
{keeping}
if {_uv_install(_SDK_REQUIREMENTS, ("--constraints", _INSTALLED))} 2> {tried}; then
    cat {tried} >&2
else
    echo "of what is installed some may have to be replaced by what the platform's SDK needs:" >&2
    {_uv_install(_SDK_REQUIREMENTS, ("--constraints", keep))}
fi
{_COMPILE} packages
"""


def install_sdk_into_another_python(
    named: tuple[str, ...], platform: str, hint: str, *, was_there: bool
) -> str:
    """Returns the script that does in one step all that the platform's SDK needs, where that is not done.

    Args:
        named: As with `install_sdk_requirements`.
        platform: As with `check_python`.
        hint: As with `check_python`.
        was_there: True behind steps that had the SDK: it may be the same Python still.
    """
    same = f"if /bin/sh {HOME}/step.sh /dev/null > /dev/null 2>&1; then exit 0; fi\n" if was_there else ""
    install = f"(\n{install_sdk_requirements(named)})\nexec {shlex.join(INSTALL_SDK)}\n"
    return f"set -eu\numask 022\n{same}{_check(platform, hint)}{install}"


def install_apt(packages: tuple[str, ...], secrets: tuple[BuildSecret, ...] = ()) -> str:
    """Returns the script that installs Debian packages. Lists and archives stay in the builder's cache."""
    return _head(secrets) + (
        f"export DEBIAN_FRONTEND=noninteractive\nmkdir -p {WORK}/apt/lists/partial {WORK}/apt/archives/partial\n"
        f"{_APT} update\nexec {_APT} install -y --no-install-recommends {shlex.join(packages)}\n"
    )


def run_command(command: str, secrets: tuple[BuildSecret, ...] = ()) -> str:
    """Returns the script that runs a command of the author, as `/bin/sh -c` would run it."""
    return f"{_head(secrets)}set +eu\n{command}\n"


def _check(platform: str, hint: str) -> str:
    oldest = " ".join(map(str, OLDEST_PYTHON))
    arguments = f"{oldest} {WORK}/tools/uv {platform} {machine_number(platform)} {ELSEWHERE}"
    return f"""if ! command -v python3 > /dev/null; then
    echo {shlex.quote(_NO_PYTHON + hint)} >&2
    exit {ELSEWHERE}
fi
python3 -B {WORK}/tools/prepare_python.py {arguments}
{_COMPILE} library
"""


def _uv_install(requirements: str, arguments: tuple[str, ...]) -> str:
    options = (
        f"--break-system-packages {_HOW} --overrides {WORK}/tools/overrides.txt --requirements {requirements}"
    )
    return " ".join(
        [f"{WORK}/tools/uv pip install --python {_PYTHON} {options}", *map(shlex.quote, arguments)]
    )
