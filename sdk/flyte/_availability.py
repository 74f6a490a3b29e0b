"""What the API documents and this version does not have: refused by name, with what to do instead."""

from __future__ import annotations

from flyte.errors import FeatureNotAvailableError

# Parameter → what to do instead.
_PARAMETERS: dict[str, str] = {
    "plugin_config": "leave it out and call the library inside the task",
    "pod_template": "set resources=, env_vars= and image= on the environment: plain hosts have no pods",
    "secrets": "pass the value with env_vars=, read from the environment of the process that starts the run",
    "task_resolver": "leave it out; tasks are imported by the module and name that they are defined under",
    "triggers": "leave it out and start runs from the scheduler of your system with `flyte run`",
}

# Name below `flyte` → what to do instead.
NAMES: dict[str, str] = {
    "AppEnvironment": "apps are not built yet; run the server outside of the platform",
    "Cron": _PARAMETERS["triggers"],
    "FixedRate": _PARAMETERS["triggers"],
    "PodTemplate": _PARAMETERS["pod_template"],
    "Secret": _PARAMETERS["secrets"],
    "Trigger": _PARAMETERS["triggers"],
    "TriggerTime": _PARAMETERS["triggers"],
    "app": "apps are not built yet; run the server outside of the platform",
    "init_passthrough": "there are no users whose tokens could be passed through yet; use flyte.init(endpoint=…)",
    "serve": "apps are not built yet; run the server outside of the platform",
}

# Command of the documented CLI → what to do instead.
COMMANDS: dict[str, str] = {
    "app": NAMES["app"],
    "devbox": "`flyte start` starts a backend on this machine, `make up` one in containers",
    "prefetch": "load the model in a task and return it as a flyte.io.Dir",
    "secret": _PARAMETERS["secrets"],
    "serve": NAMES["serve"],
    "trigger": "start runs from the scheduler of your system with `flyte run`",
}


def refuse(what: str, instead: str) -> FeatureNotAvailableError:
    """The error that says that something is not built yet, and what to do instead."""
    return FeatureNotAvailableError(f"{what} is not available in this version: {instead}")


def refuse_parameters(where: str, **values: object) -> None:
    """Refuse the parameters that are set and not built yet.

    Args:
        where: What was called, for the message, such as "TaskEnvironment".
        values: Parameters by name. None, False and empty collections count as not set.

    Raises:
        FeatureNotAvailableError: One of them is set. The message names it and says what to do instead.
    """
    for name, value in values.items():
        if value is None or value is False or value in ((), [], {}):
            continue
        raise refuse(f"{where}({name}={value!r})", _PARAMETERS[name])
