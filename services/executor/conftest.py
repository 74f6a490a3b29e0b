"""What tests of engines and of the executor share: an image that workers run from."""

from collections.abc import Iterator

import pytest

from services.executor.engines.tests.worker_image import WorkerImage


@pytest.fixture(scope="session")
def made_worker_image(docker_url: str) -> Iterator[WorkerImage]:
    """An image with Python and this repository's SDK, in the engine at `docker_url`."""
    image = WorkerImage(docker_url)
    try:
        yield image
    finally:
        image.close()


@pytest.fixture(scope="session")
def worker_image(made_worker_image: WorkerImage) -> str:
    """Reference of that image."""
    return made_worker_image.reference
