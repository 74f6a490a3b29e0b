"""`flyte rerun …`."""

from __future__ import annotations

import click

from flyte.cli._groups import Command
from flyte.cli._settings import format_option, scope_options, settings_of

_EXAMPLES = """
flyte rerun RUN                     run the same task with the same inputs again
flyte rerun RUN --recover           take over what succeeded, run only the rest
flyte rerun RUN --name again --env DEBUG=1
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument("run")
@click.option("--recover", is_flag=True, help="Take over every child and traced call that succeeded in RUN.")
@click.option("--name", help="Name of the new run; generated unless given.")
@click.option(
    "-e", "--env", multiple=True, metavar="KEY=VALUE", help="Environment variable, beside those of RUN."
)
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="Label, beside those of RUN.")
@click.option(
    "--overwrite-cache/--no-overwrite-cache",
    default=None,
    help="Compute cached results anew; as RUN unless given.",
)
@click.option("--queue", help="Queue of actions whose tasks name none; that of RUN unless given.")
@click.option("--detach", is_flag=True, help="Return once the run is created.")
@click.option("-f", "--follow", is_flag=True, help="Show what the root action prints.")
@scope_options
@format_option
@click.pass_context
def rerun(
    ctx: click.Context,
    run: str,
    recover: bool,
    name: str | None,
    env: tuple[str, ...],
    label: tuple[str, ...],
    overwrite_cache: bool | None,
    queue: str | None,
    detach: bool,
    follow: bool,
    project: str | None,
    domain: str | None,
) -> int:
    """Run the task of RUN again, with its code, inputs and settings."""
    import flyte
    from flyte.cli._arguments import key_values
    from flyte.cli._launch import attend

    settings = settings_of(ctx)
    session = settings.open_session(project, domain)
    made = flyte.rerun(
        run,
        recover,
        name=name,
        project=session.project,
        domain=session.domain,
        env_vars=key_values("--env", env),
        labels=key_values("--label", label),
        overwrite_cache=overwrite_cache,
        queue=queue,
    )
    return attend(made, settings, detach=detach, follow=follow)
