"""`flyte signal`."""

from __future__ import annotations

import json

import click

from flyte import errors
from flyte.cli._groups import Command
from flyte.cli._settings import format_option, scope_options, settings_of
from flyte.cli._table import write_done

_EXAMPLES = """
flyte signal RUN true                    answer the condition that RUN waits for
flyte signal RUN approve false           the condition of this name
flyte signal RUN budget '{"limit": 5}'   values are JSON, or text
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument("run")
@click.argument("words", metavar="[ACTION|CONDITION] VALUE", nargs=-1, required=True)
@scope_options
@format_option
@click.pass_context
def signal(
    ctx: click.Context, run: str, words: tuple[str, ...], project: str | None, domain: str | None
) -> None:
    """Give the condition that RUN waits for its VALUE, as JSON or text.

    The name of the condition or of its action may be left out when the run waits for exactly one.
    """
    from flyte._client._loop import LOOP
    from flyte.remote import Run
    from flyte.remote._signal import VALUE_INVALID, send_signal

    if len(words) > 2:
        raise click.UsageError(f"{words[2]!r} is one argument too many: quote a VALUE that has spaces", ctx)
    name, value = words if len(words) == 2 else ("", words[0])
    settings = settings_of(ctx)
    settings.open_session(project, domain)
    found = Run.get(run)
    text = json.dumps(value, ensure_ascii=False)
    try:
        json.loads(value)
    except ValueError:
        forms = [text]
    else:
        forms = [value, text]  # text that looks like JSON is still text for a condition that takes text
    refusal: errors.RuntimeUserError | None = None
    for form in forms:
        try:
            action = LOOP.run(send_signal(found._session, found.pb.id, name, form))
        except errors.RuntimeUserError as error:
            if error.code != VALUE_INVALID:
                raise
            refusal = refusal or error
            continue
        record = {"run": run, "action": action, "value": json.loads(form)}
        write_done(settings, f"Condition '{name or action}' of run '{run}' got {form}.", record)
        return
    if refusal is not None:
        raise refusal
