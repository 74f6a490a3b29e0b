"""Local mode: runs in this process, without a backend.

Inputs and outputs go through the types as they do remotely, every task call is an action, and retries, time
limits and errors mean the same. Images, resources and reuse policies have no effect. What one process cannot
give:

- A sync task that exceeds its time limit is interrupted at its next Python instruction, not amid C code.
- Environment variables are the process's: concurrent actions that differ in them see each other's.
- Task calls in threads that user code started itself are plain function calls (`asyncio.to_thread` is fine).

With `local.persistence` runs are recorded in an SQLite file (`_store`) while they go on, with what their tasks print
(`_logs`), and read back from any process (`_stored`).
"""

from flyte._local._action import LocalAction
from flyte._local._run import LocalRun, LocalUpdate
from flyte._local._start import run_local, start_local_run

__all__ = ["LocalAction", "LocalRun", "LocalUpdate", "run_local", "start_local_run"]
