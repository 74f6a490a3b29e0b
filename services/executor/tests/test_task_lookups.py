"""Deployed tasks that running leases look up through their executor."""

import json

from hangar.core.v1.task_spec_pb2 import TaskSpec
from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import until
from services.executor.tests.specs import assignment, frame, spec


async def test_a_lease_finds_a_task_over_a_restart_of_the_scheduler(bench: Bench):
    """The answer is the definition as JSON; project and domain are the run's unless given; no task is an error."""
    bench.scheduler.tasks["env.there"] = TaskSpec(name="env.there", max_inline_io_bytes=5)
    bench.scheduler.send(frame(assignment(7, worker_id=3)), [spec()])
    worker = await bench.world.worker(3)
    await worker.has(7)
    worker.begin(7)

    def answers() -> dict[int, tuple[dict[str, object], bytes]]:
        return {each.header["id"]: each for each in worker.received if each.header["type"] == "task"}

    worker.send({"type": "task", "lease": 7, "id": 1, "name": "env.there"})
    await until(lambda: 1 in answers(), "the task")
    assert json.loads(answers()[1][1]) == {"name": "env.there", "max_inline_io_bytes": "5"}
    asked = bench.scheduler.lookups[0]
    assert (asked.project, asked.domain, asked.version) == ("default", "development", "")
    worker.send({"type": "task", "lease": 7, "id": 2, "name": "env.no", "domain": "staging", "version": "v1"})
    await until(lambda: 2 in answers(), "the refusal")
    assert answers()[2][0]["error"] == {"code": "NOT_FOUND", "message": "no task env.no"}
    asked = bench.scheduler.lookups[1]
    assert (asked.domain, asked.version) == ("staging", "v1")
    await bench.scheduler.stop()
    worker.send({"type": "task", "lease": 7, "id": 3, "name": "env.there"})
    await bench.scheduler.start()
    await until(lambda: 3 in answers(), "the task, asked for while the scheduler was away")
    worker.succeed(7)
    await bench.scheduler.result(7)
