# ruff: noqa: D103 - a script
"""Runs all programs in one mode, and writes how they ended. Copied into a workspace as it is.

Usage: python observe.py local|remote FILE
"""

import json
import re
import sys

from programs import PROGRAMS, aborted

import flyte

MARKS = re.compile(r"^ +[~^]+\n", re.MULTILINE)
FILE = re.compile(r'File "[^"]*/([^/"]+)"')


def described(error):
    """An error without what differs by nature: directories, marks below lines, words of the platform."""
    if error is None:
        return None
    found = {"class": type(error).__name__, "code": error.code, "kind": error.kind}
    found["traceback"] = MARKS.sub("", FILE.sub(r'File "\1"', error.user_traceback))
    if type(error) is flyte.errors.RuntimeUserError:
        found["message"] = error.message
    return found


def attempts(action):
    if str(action.known_phase) == "aborted":  # whether it had begun by then is a matter of time
        return None
    return [
        {"phase": str(attempt.phase), "error": described(attempt.error_info)}
        for attempt in action.details().attempts
    ]


def observed(run, actions):
    """Everything about a run that has to be the same everywhere."""
    run.wait(quiet=True)
    try:
        outputs, raised = list(map(str, run.outputs())), None
    except flyte.errors.BaseRuntimeError as error:
        outputs, raised = None, described(error)
    return {
        "phase": str(run.phase),
        "outputs": outputs,
        "raised": raised,
        "actions": {
            action.name: {
                "task": action.task_name,
                "parent": action.parent,
                "group": action.group or "",
                "phase": str(action.known_phase),
                "cache": action.cache_status,
                "attempts": attempts(action),
                "error": described(action.error),
            }
            for action in actions(run)
        },
    }


def main(mode, path):
    if mode == "remote":
        flyte.init_from_config()
        actions = lambda run: list(flyte.remote.Action.listall(for_run_name=run.name))  # noqa: E731
    else:
        actions = lambda run: run.actions  # noqa: E731
    context = flyte.with_runcontext(mode=mode, labels={"from": "observe"})
    runs = {}
    for program in PROGRAMS:
        if program is aborted and mode == "local":
            from flyte._client._loop import LOOP
            from flyte._local import start_local_run

            run = LOOP.run(start_local_run(program, (), {}, wait=False))
        else:
            run = context.run(program)
        runs[program.short_name] = run
    run = runs["aborted"]
    while ("programs.sleeps", "running") not in [
        (each.task_name, str(each.known_phase)) for each in actions(run)
    ]:
        pass
    assert run.abort("enough")
    with open(path, "w") as file:
        json.dump({name: observed(run, actions) for name, run in runs.items()}, file)


main(*sys.argv[1:])
