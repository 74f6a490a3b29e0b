"""A wide fan-out on services apart, in the middle of which tests break things."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from integration_tests.api import phase_of
from integration_tests.polling import until
from integration_tests.stack import Stack
from integration_tests.workspace import Workspace

WIDTH = 500
SCRIPT = """
    import asyncio
    import time

    from notes import note

    import flyte

    pool = flyte.TaskEnvironment(
        name="pool", resources=flyte.Resources(cpu=1, memory="256Mi"),
        reusable=flyte.ReusePolicy(replicas=2, concurrency=2),
    )
    driver = flyte.TaskEnvironment(
        name="driver", resources=flyte.Resources(cpu="500m", memory="256Mi"), depends_on=[pool]
    )

    @pool.task
    async def child(path: str, number: int) -> int:
        await asyncio.sleep(0.05)
        note(path, str(number))
        return number

    @driver.task
    async def fan_out(path: str, count: int) -> int:
        note(path + ".parents", "0")
        return sum(await asyncio.gather(*(child(path, number) for number in range(count))))
"""


class FanOut:
    """A run of one parent and `WIDTH` children that each write a line.

    Args:
        stack: The services.
        user: A user of them.
    """

    def __init__(self, stack: Stack, user: Workspace) -> None:
        user.environ["FLYTE_API_KEY"] = stack.token
        user.share_notes()
        user.write("wide.py", SCRIPT)
        self._stack = stack
        self._path = user.directory / "lines"
        self.run = user.launch("wide.py", "fan_out", "--path", self._path, "--count", WIDTH)

    def lines(self, suffix: str = "") -> Counter[str]:
        """How often each child has written its line."""
        path = Path(f"{self._path}{suffix}")
        return Counter(path.read_text().split()) if path.exists() else Counter()

    def reaches(self, count: int) -> None:
        """Waits until so many children have run, and checks that it is not over."""
        until(lambda: self.lines().total() >= count, f"{count} children of {self.run} have run", 120)
        assert self.lines().total() < WIDTH, "it is the middle of the fan-out"

    def check(self, seconds: float = 150) -> None:
        """The run succeeds; its parent and every child ran once, in one attempt; the ledger is in order."""
        assert self._stack.api.succeeded(self.run, seconds) == sum(range(WIDTH))
        expected = Counter(map(str, range(WIDTH)))
        lines = self.lines()
        assert lines == expected, f"missing {expected - lines}, too often {lines - expected}"
        assert self.lines(".parents") == Counter(["0"])
        actions = self._stack.api.actions(self.run)
        assert len(actions) == WIDTH + 1
        assert {(phase_of(action), action.attempt_count) for action in actions} == {("succeeded", 1)}
        self._stack.check_ledger()
