"""Image builds next to `docker build`, and a Python environment of twenty packages."""

from benchmarks import available
from benchmarks.images import builds, environment
from benchmarks.protocol import IMAGES, Plan
from benchmarks.systems.hangar import main


def measure(plan: Plan) -> dict[str, float]:
    """One round: seconds, and how many times as long as `docker build` of an equivalent Dockerfile."""
    numbers = {"environment": environment()}
    if available.engine():  # the environment needs none
        return numbers
    found = builds(plan.image_rounds)
    for key in IMAGES:
        ours, theirs = found[f"hangar_{key}"], found[f"docker_{key}"]
        numbers |= {f"image_{key}": ours, f"image_{key}_bare": theirs, f"image_{key}_to_bare": ours / theirs}
    return numbers


if __name__ == "__main__":
    main(measure)
