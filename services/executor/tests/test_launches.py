"""What people hear while a worker is prepared."""

import asyncio

from services.executor.launches import Throttle


async def test_the_latest_line_is_passed_on() -> None:
    """Of lines that come fast the first is passed on at once and the latest a moment later; after the end none is."""
    heard: list[str] = []
    throttle = Throttle(heard.append)
    for line in ("1", "", "2", "3"):
        throttle(line)
    assert heard == ["1"]
    async with asyncio.timeout(30):
        while len(heard) < 2:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.01)
    assert heard == ["1", "3"]
    throttle("4")
    throttle.close()
    handles = [throttle._timer]
    assert all(handle is None or handle.cancelled() for handle in handles)
