"""A report that grows while its task runs, and progress that everybody sees.

flyte run examples/reports/live.py main --epochs 20
"""

import asyncio
import random

import flyte

env = flyte.TaskEnvironment(name="live_report", resources=flyte.Resources(cpu="250m", memory="256Mi"))


def chart(losses: list[float]) -> str:
    """A line as an SVG drawing: for a simple chart no library is needed."""
    points = " ".join(f"{20 * number},{100 - 100 * loss:.1f}" for number, loss in enumerate(losses))
    line = f'<polyline points="{points}" fill="none" stroke="#1f5fbf" stroke-width="2"/>'
    return f'<svg width="600" height="110">{line}</svg>'


@env.task(report=True)
async def main(epochs: int = 10, seconds: float = 0.5) -> float:
    """Train for a while, or look as if."""
    dice = random.Random(7)
    losses: list[float] = []
    for epoch in range(1, epochs + 1):
        await asyncio.sleep(seconds)
        losses.append(1 / (1 + 0.4 * epoch) + dice.uniform(-0.02, 0.02))
        flyte.progress(epoch, epochs, f"loss {losses[-1]:.3f}")
        await flyte.report.replace.aio(f"<h1>Epoch {epoch} of {epochs}</h1>{chart(losses)}", do_flush=True)
    return losses[-1]
