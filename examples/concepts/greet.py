"""A task, called directly and as a run: `python greet.py`, or `flyte run greet.py greet --name World`."""

import flyte

env = flyte.TaskEnvironment(name="my_env")


@env.task
def greet(name: str) -> str:
    return f"Hello, {name}!"


if __name__ == "__main__":
    # Direct call - runs locally, not in a container
    result = greet("World")
    print(result)  # "Hello, World!"

    flyte.init_from_config()
    result = flyte.run(greet, name="World")
    print(result)  # "Hello, World!"
