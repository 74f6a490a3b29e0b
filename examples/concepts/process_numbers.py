"""Type hints tell how values travel: `flyte run process_numbers.py process_numbers --values '[1, 2, 3]'`."""

import flyte

env = flyte.TaskEnvironment(name="my_env")


@env.task
def process_numbers(values: list[int]) -> int:
    return sum(values)
