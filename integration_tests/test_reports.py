"""Reports of tasks on a backend: of every attempt, of killed tasks, and while they are written."""

from __future__ import annotations

import json
import urllib.request

from integration_tests.polling import until

SCRIPT = """
    import asyncio
    import os
    import time

    import flyte

    env = flyte.TaskEnvironment(name="env", resources=flyte.Resources(cpu="250m", memory="256Mi"))

    @env.task(report=True, retries=1)
    async def retried() -> int:
        attempt = flyte.ctx().attempt_number
        await flyte.report.log.aio(f"<p>attempt {attempt}</p>")
        flyte.report.get_tab("notes").log("<b>only at the end</b>")
        if attempt == 0:
            raise ValueError("once")
        return attempt

    @env.task(report=True)
    def killed() -> None:
        flyte.report.log("<p>flushed</p>", do_flush=True)
        flyte.report.log("<p>lost</p>")
        os._exit(3)

    @env.task(report=True)
    def live() -> None:
        for step in range(10_000):
            flyte.report.replace(f"<p>step {step}</p>", do_flush=True)
            time.sleep(0.05)

    @env.task
    def without() -> None:
        flyte.report.log("<p>nowhere</p>")

    @env.task
    async def parent() -> int:
        return await retried()
"""


def report(backend, run: str, action: str = "a0", attempt: int | None = None) -> str | None:
    """A report as the page gets it, None when there is none."""
    base = f"{backend.http}/api/v1/projects/default/domains/development/runs/{run}/actions/{action}/report"
    query = "" if attempt is None else f"?attempt={attempt}"
    with urllib.request.urlopen(base + query, timeout=30) as answer:
        if not json.load(answer):
            return None
    with urllib.request.urlopen(f"{base}.html{query}", timeout=30) as answer:
        return answer.read().decode()


def test_each_attempt_keeps_its_report(backend, workspace):
    """A failed attempt's report has what was logged before it failed, and the retry writes another one."""
    workspace.write("script.py", SCRIPT)
    run = workspace.launch("script.py", "parent")
    backend.api.succeeded(run)
    child = backend.api.children(run)[0].id.name
    first, second = (report(backend, run, child, attempt) for attempt in (0, 1))
    assert "<p>attempt 0</p>" in first
    assert "<p>attempt 1</p>" in second
    assert "only at the end" in first
    assert report(backend, run, child) == second
    assert workspace.flyte("get", "report", run, child, "-a", "0", "-o", "-").out == first


def test_what_a_killed_task_had_flushed(backend, workspace):
    """A task that ends its own process leaves what it had flushed, and nothing that it had not."""
    workspace.write("script.py", SCRIPT)
    run = workspace.launch("script.py", "killed")
    backend.api.wait(run)
    left = report(backend, run)
    assert "<p>flushed</p>" in left
    assert "lost" not in left


def test_a_report_grows_while_its_task_runs(backend, workspace):
    """Each flush can be read at once, and the last one still when the run was aborted."""
    workspace.write("script.py", SCRIPT)
    run = workspace.launch("script.py", "live")
    seen = until(lambda: report(backend, run), "the first flush")
    until(lambda: report(backend, run) != seen, "another flush")
    backend.api.abort(run, "enough")
    backend.api.wait(run)
    assert report(backend, run) not in (seen, None)


def test_a_task_without_a_report(backend, workspace):
    """A task that was not declared with report=True runs, warns in its log, and has no report."""
    workspace.write("script.py", SCRIPT)
    run = workspace.launch("script.py", "without")
    backend.api.succeeded(run)
    assert report(backend, run) is None
    assert any("report=True" in line for line in backend.api.log_lines(run))
