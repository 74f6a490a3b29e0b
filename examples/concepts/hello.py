"""The simplest environment: only a name, so the default image and resources."""

import flyte

env = flyte.TaskEnvironment(name="my_env")


@env.task
def hello() -> str:
    return "Hello from Flyte!"
