"""Hardware of tasks. These ask for more than a laptop has; a host that can never give it refuses at once."""

import flyte

compute_heavy = flyte.TaskEnvironment(
    name="compute_heavy",
    limits=flyte.Resources(cpu="4", mem="16Gi"),
)

gpu_training = flyte.TaskEnvironment(
    name="gpu_training",
    limits=flyte.Resources(cpu="8", mem="32Gi", gpu="1"),
    accelerator=flyte.GPUAccelerator.NVIDIA_A10G,
)

light_env = flyte.TaskEnvironment(
    name="light",
    limits=flyte.Resources(cpu="1", mem="2Gi"),
)

heavy_env = flyte.TaskEnvironment(
    name="heavy",
    limits=flyte.Resources(cpu="8", mem="32Gi"),
)


@light_env.task
def preprocess(data: str) -> str:
    # Light processing
    return data.strip().lower()


@heavy_env.task
def train_model(data: str) -> dict:
    # Resource-intensive training
    return {"data": data, "characters": len(data)}


@compute_heavy.task
def crunch(values: list[int]) -> int:
    return sum(value * value for value in values)


@gpu_training.task
def train_on_gpu(steps: int) -> dict:
    return {"steps": steps}
