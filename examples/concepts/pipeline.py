"""Tasks calling tasks: one run, three actions. `flyte run pipeline.py pipeline --x 5`."""

import flyte

env = flyte.TaskEnvironment(name="my_env")


@env.task
def step_one(x: int) -> int:
    return x * 2


@env.task
def step_two(x: int) -> int:
    return x + 10


@env.task
def pipeline(x: int) -> int:
    a = step_one(x)  # Run step_one
    b = step_two(a)  # Run step_two with result
    return b


if __name__ == "__main__":
    flyte.init_from_config()
    run = flyte.run(pipeline, x=5)

    # The run object has status information
    print(run.status)
