"""`flyte build`, `flyte get image`, `flyte abort image`, `flyte delete image`, and the images of a run on their way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flyte.cli._groups import Command, unknown
from flyte.cli._image_progress import ImageProgress
from flyte.cli._settings import format_option, scope_options, settings_of
from flyte.cli._table import write_done, write_record, write_rows

if TYPE_CHECKING:
    from flyte._environment import TaskEnvironment
    from flyte._initialize import Session
    from flyte.cli._settings import Settings
    from flyte.remote import ImageBuild
    from flyte.remote._image_build import BaseImage

_SHORT = 12


def build_with_progress(
    environments: list[TaskEnvironment],
    session: Session,
    root: Path,
    settings: Settings,
    *,
    is_run: bool = False,
    bakes_code: bool = False,
    force: bool = False,
    platforms: tuple[str, ...] = (),
) -> dict[str, list[ImageBuild]]:
    """Builds the images of environments, each once for each of its platforms, and shows that.

    Args:
        environments: The environments.
        session: The session.
        root: Directory that holds the code.
        settings: Options of the command line.
        is_run: True to leave out what hosts make by themselves.
        bakes_code: True to put the code into images that ask for it.
        force: True to build what exists.
        platforms: Platforms to build for, in place of those that images name.

    Returns:
        The builds by environment, one for each platform.

    Raises:
        flyte.errors.BaseRuntimeError: As `flyte.build`.
    """
    from flyte._client._images import Wanted, build_all, image_of, setting_of
    from flyte._client._loop import LOOP

    progress = ImageProgress(settings)
    setting = setting_of(session, session.root_dir or root, bakes_code=bakes_code)
    images = {each.name: image_of(each, session) for each in environments}
    wanted = Wanted(force=force, is_run=is_run, platforms=platforms, watcher=progress.see)
    try:
        return LOOP.run(build_all(session, images, setting, wanted))
    except KeyboardInterrupt:
        if not session.builds_locally:
            progress.leave()
        raise
    finally:
        progress.close()


@click.command(
    name="build",
    cls=Command,
    epilog="""
flyte build train.py env                 build the image of env, and those of what it depends on
flyte build --force train.py env         build it anew, every layer
flyte build --platform linux/arm64 train.py env
""",
)
@click.option("--force", is_flag=True, help="Build what exists, every layer anew.")
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="PLATFORM",
    help="Platform to build for, such as linux/arm64; may be repeated.  [default: those that the image names]",
)
@click.option("--root-dir", metavar="DIR", help="Directory that holds the code.  [default: the file's]")
@click.option("--image", "images", multiple=True, metavar="[NAME=]ADDRESS", help="Address of a named image.")
@scope_options
@click.option("-v", "--verbose", count=True, help="Show the whole log.")
@format_option
@click.argument("file")
@click.argument("environment")
@click.pass_context
def build(
    ctx: click.Context,
    force: bool,
    platforms: tuple[str, ...],
    root_dir: str | None,
    images: tuple[str, ...],
    project: str | None,
    domain: str | None,
    verbose: int,
    file: str,
    environment: str,
) -> None:
    """Build the image of ENVIRONMENT, a variable of FILE, and those of the environments that it depends on.

    Code that images ask for (with_code_bundle) is put into them. The exit code is 1 when a build failed. Ctrl-C leaves
    the build, which goes on at the backend.
    """
    from dataclasses import replace

    from flyte._environment import TaskEnvironment, walk
    from flyte._initialize import checked_images
    from flyte._platforms import platform_names
    from flyte.cli._code_options import check_images
    from flyte.cli._load import load_module_file

    try:
        platforms = platform_names("--platform", platforms) if platforms else ()
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    module, root = load_module_file(file, root_dir)
    found = {name: value for name, value in vars(module).items() if isinstance(value, TaskEnvironment)}
    chosen = found.get(environment) or next((e for e in found.values() if e.name == environment), None)
    if chosen is None:
        raise click.UsageError(unknown(f"environment in {Path(file).name} named", environment, list(found)))
    settings = settings_of(ctx)
    own_images = checked_images(images)
    check_images(own_images, walk([chosen]))
    settings = replace(settings, verbosity=settings.verbosity + verbose)
    session = settings.open_session(project, domain, starts_backend=True)
    session.root_dir = root
    session.own_images = own_images
    built = build_with_progress(
        walk([chosen]), session, root, settings, bakes_code=True, force=force, platforms=platforms
    )
    rows = [{"environment": name, **image_record(each)} for name, builds in built.items() for each in builds]
    shown = ("environment", "platform", "image", "state", "seconds")
    write_rows(settings, shown, rows, "There is nothing to build.")


def image_record(build: ImageBuild) -> dict[str, Any]:
    """What is shown of an image."""
    return {
        "name": build.name,
        "image": build.uri,
        "digest": build.digest,
        "state": "cached" if build.cached else build.state,
        "kind": "environment" if build.is_environment else "container",
        "platform": build.platform,
        "title": build.title,
        "base": "Dockerfile" if build.pb.base_image.startswith("hangar/base-") else build.pb.base_image,
        "size": build.size_bytes,
        "created": build.created_at,
        "seconds": build.seconds,
        "step": build.step,
        "error": str(build.error) if build.error is not None else None,
    }


@click.command(
    cls=Command,
    epilog="""
flyte get image                          list images, newest first
flyte get image NAME                     show one
flyte get image NAME --log               show how it was built
flyte get image NAME --sbom              print what is in it (CycloneDX)
""",
)
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most images.")
@click.option("--log", is_flag=True, help="Show the log of its build, and follow it to the end.")
@click.option("--sbom", is_flag=True, help="Print what is in it, as CycloneDX JSON.")
@click.option("--provenance", is_flag=True, help="Print how it was made, as an in-toto statement.")
@format_option
@click.pass_context
def image(ctx: click.Context, name: str | None, limit: int, log: bool, sbom: bool, provenance: bool) -> None:
    """List the images that were asked for, or show the image NAME (or what its name begins with)."""
    settings = settings_of(ctx)
    settings.open_session()
    if name is None:
        if log or sbom or provenance:
            raise click.UsageError("--log, --sbom and --provenance need the NAME of an image.")
        from flyte.remote import ImageBuild

        rows = [image_record(each) for each in ImageBuild.listall(limit)]
        if not settings.as_json:
            rows = [{**row, "name": row["name"][:_SHORT]} for row in rows]
        write_rows(
            settings,
            ("name", "title", "kind", "platform", "state", "base", "size", "created"),
            rows,
            "No image was built yet.",
        )
        return
    found = find_image(name)
    if log:
        for line in found.log():
            click.echo(line)
    elif sbom or provenance:
        document = found.attestation()[0 if sbom else 1]
        if not document:
            from flyte.errors import RuntimeUserError

            raise RuntimeUserError(
                "SbomNotFoundError",
                f"what is in image {found.name} is not known: images say it that have Python and the platform's SDK "
                "(not those with install_flyte=False, or of container tasks), while they are where they were built",
            )
        click.echo(document)
    else:
        record = image_record(found)
        record["bases"] = [
            _base_record(each) if settings.as_json else _base_line(each) for each in found.bases()
        ]
        write_record(settings, record)


def _base_record(base: BaseImage) -> dict[str, Any]:
    current = base.current_digest or None
    return {"address": base.address, "digest": base.digest, "current": current, "moved": base.has_moved}


def _base_line(base: BaseImage) -> str:
    told = f"{base.address} ({base.digest or 'digest not known'})"
    return f"{told} has moved since: flyte build --force takes the newest" if base.has_moved else told


def find_image(name: str) -> ImageBuild:
    """The image of a name, or of the only name that begins so.

    Raises:
        flyte.errors.RuntimeUserError: There is none.
        click.UsageError: Several names begin so.
    """
    from flyte.remote import ImageBuild

    name = name.removeprefix("hangar/")
    if not name:
        raise click.UsageError("the NAME of the image is empty: flyte get image lists names.")
    if len(name) < 32:
        found = [each for each in ImageBuild.listall(1000) if each.name.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise click.UsageError(
                f"{len(found)} images have names that begin with {name!r}: write more of it."
            )
        from flyte.errors import RuntimeUserError

        raise RuntimeUserError(
            "ImageBuildNotFoundError", f"no image has a name that begins with {name!r} (flyte get image)"
        )
    return ImageBuild.get(name)


@click.command(name="image", cls=Command, epilog="flyte abort image 3f2a9c4e5d6b")
@click.argument("name")
@format_option
@click.pass_context
def abort_image(ctx: click.Context, name: str) -> None:
    """End the build of the image NAME, for all who wait for it."""
    settings = settings_of(ctx)
    settings.open_session()
    found = find_image(name)
    found.cancel()
    is_aborted = found.state == "cancelled"
    end = "has been aborted." if is_aborted else f"had ended already: {found.state}."
    record = {"name": found.name, "aborted": is_aborted, "state": found.state}
    write_done(settings, f"The build of image {found.name} {end}", record)


@click.command(name="image", cls=Command, epilog="flyte delete image 3f2a9c4e5d6b")
@click.argument("name")
@format_option
@click.pass_context
def delete_image(ctx: click.Context, name: str) -> None:
    """Remove the image NAME where it was built. What a registry holds stays there.

    Without a registry it is built again when it is needed.
    """
    settings = settings_of(ctx)
    settings.open_session()
    found = find_image(name)
    found.delete()
    left = found.uri if found.pb.image_digest else None
    told = f"Successfully deleted image {found.name}."
    write_done(
        settings,
        f"{told} Its registry still has {left}." if left else told,
        {"name": found.name, "in_registry": left},
    )
