"""Which code is sent, and which images it runs in: options of commands that send code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from flyte._environment import TaskEnvironment

_STYLES = ("loaded_modules", "auto", "all", "none")


def code_options(version_help: str) -> Callable[[Any], Any]:
    """Adds ``--version``, ``--copy-style``, ``--image``, ``--root-dir`` and ``--no-sync-local-sys-paths``.

    Args:
        version_help: What ``--version`` is the version of.
    """
    options = (
        click.option("--version", callback=_checked_version, help=version_help),
        click.option(
            "--copy-style",
            type=click.Choice(_STYLES),
            default="loaded_modules",
            callback=lambda _ctx, _option, style: "loaded_modules" if style == "auto" else style,
            help="Code to send: the imported modules, everything below the root, or none: it is in the image.  "
            "[default: loaded_modules]",
        ),
        click.option(
            "--image",
            "images",
            multiple=True,
            metavar="[NAME=]ADDRESS",
            callback=_checked_images,
            help="Address of the image that Image.from_ref_name calls NAME; without a name of the default one.",
        ),
        click.option(
            "--root-dir", metavar="DIR", help="Directory that holds the code.  [default: the file's]"
        ),
        click.option(
            "--no-sync-local-sys-paths",
            "sync_local_sys_paths",
            is_flag=True,
            flag_value=False,
            default=True,
            help="Do not give workers the entries of sys.path that are below the root.",
        ),
    )

    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def _checked_version(_ctx: click.Context, _option: click.Parameter, version: str | None) -> str | None:
    from flyte._texts import check_version

    check_version(version)
    return version


def check_images(images: Mapping[str, str], environments: Iterable[TaskEnvironment]) -> None:
    """Refuses names of ``--image`` that no environment has.

    Args:
        images: Addresses by name.
        environments: What is run, deployed or built, with all that it depends on.

    Raises:
        click.UsageError: There is one.
    """
    used = {each.image.ref_name or ("default" if each.has_default_image else "") for each in environments} - {
        ""
    }
    for name, address in images.items():
        if name not in used:
            known = f"they name {', '.join(sorted(used))}" if used else "they name none"
            raise click.UsageError(
                f"--image {name}={address}: no environment here has an image of that name ({known}). Names are those "
                "of flyte.Image.from_ref_name(…); 'default' is that of environments without an image."
            )


def _checked_images(_ctx: click.Context, _option: click.Parameter, images: tuple[str, ...]) -> dict[str, str]:
    from flyte._initialize import checked_images

    return checked_images(images) if images else {}
