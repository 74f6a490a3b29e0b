"""Why the engine did not start a container, in words that say what to do. Pure."""

from __future__ import annotations

from services.executor.engines.base import ImageFailedError, LaunchFailedError, WorkerSpec

_TOO_LITTLE = (
    "minimum memory limit",
    "oom-killed",
    "memory limit too low",
    "cannot allocate memory",
)

_NO_PROGRAM = (
    "executable file not found",
    "no such file or directory",
    "permission denied",
    "no command specified",
)


def start_failure(spec: WorkerSpec, text: str) -> LaunchFailedError | ImageFailedError:
    """Returns the error for what the engine said.

    Args:
        spec: The worker.
        text: The engine's own message.
    """
    lower = text.lower()
    image = spec.image.record or spec.image.reference
    if "no such image" in lower:
        return LaunchFailedError(
            f"image {image} is not in the engine any more; it is made or pulled again with the next attempt ({text})"
        )
    if "could not select device driver" in lower or "unknown or invalid runtime" in lower:
        return LaunchFailedError(
            f"the engine cannot give GPUs ({', '.join(spec.gpu_uuids)}) to containers: install the NVIDIA container "
            f"toolkit on this host and restart Docker ({text})"
        )
    if "nvidia" in lower and spec.gpu_uuids:
        return LaunchFailedError(
            f"the GPUs {', '.join(spec.gpu_uuids)} could not be given to the container: {text}"
        )
    if spec.program is not None and any(sign in lower for sign in _NO_PROGRAM):
        words = " ".join(spec.program.entry_point) or "its entry point"
        return ImageFailedError("NoProgram", f"image {image} cannot run {words}: {text}")
    if "executable file not found" in lower or "no such file or directory: unknown" in lower:
        return ImageFailedError(
            "NoPython",
            f"image {image} has no command `python3` on its PATH: build it from an image with Python ({text})",
        )
    if spec.resources.memory_bytes and any(sign in lower for sign in _TOO_LITTLE):
        return LaunchFailedError(
            f"the memory limit of {spec.resources.memory_bytes} bytes is too small to start a container: ask for more "
            f"memory in the task environment ({text})",
            too_little_memory=True,
        )
    if "bind source path does not exist" in lower:
        return LaunchFailedError(
            "the engine does not see the worker's directory: it runs on another host or calls the state directory "
            f"something else (HANGAR_EXECUTOR_HOST_STATE) ({text})"
        )
    return LaunchFailedError(f"the engine did not start its container: {text}")
