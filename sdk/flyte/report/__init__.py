"""Reports: HTML that a task writes while it runs, shown beside its inputs, outputs and logs.

A task that is declared with `report=True` has one report per attempt, with one or several tabs. It is stored by every
flush and once more at the end of the task, however that ends, as one `report.html` beside the attempt's outputs.

Example:
    ```python
    @env.task(report=True)
    async def train(epochs: int) -> float:
        for epoch in range(epochs):
            await flyte.report.log.aio(f"<p>epoch {epoch}</p>", do_flush=True)
        flyte.report.get_tab("parameters").log(f"<pre>{epochs}</pre>")
        return 0.9
    ```
"""

from __future__ import annotations

from flyte.report._functions import current_report, flush, get_tab, log, replace
from flyte.report._report import MAX_REPORT_BYTES, Report, Tab

__all__ = ["MAX_REPORT_BYTES", "Report", "Tab", "current_report", "flush", "get_tab", "log", "replace"]
