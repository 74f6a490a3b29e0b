"""Every attempt is a span at a real OTLP receiver."""

import pytest

from integration_tests.otlp_receiver import OtlpReceiver
from integration_tests.polling import until

PIPELINE = """
    import time
    from pathlib import Path

    import flyte

    env = flyte.TaskEnvironment(name="env", resources=flyte.Resources(cpu="250m", memory="256Mi"))

    @env.task
    def step_one(x: int) -> int:
        return x * 2

    @env.task(retries=1)
    def step_two(x: int, gate: str) -> int:
        Path(gate + ".waiting").touch()
        while not Path(gate).exists():
            time.sleep(0.05)
        if flyte.ctx().attempt_number == 0:
            raise ValueError("once more")
        return x + 10

    @flyte.trace
    def doubled(x: int) -> int:
        return x * 2

    @env.task
    def pipeline(x: int, gate: str) -> int:
        return step_two(step_one(doubled(x)), gate)
"""


@pytest.fixture(scope="module")
def receiver(place):
    """A receiver of spans."""
    receiver = OtlpReceiver(place / "spans.txt")
    yield receiver
    receiver.close()


@pytest.mark.parametrize("killed", [False, True], ids=["whole", "killed"])
def test_one_span_per_attempt(receiver, make_backend, make_workspace, killed):
    """Three tasks with four attempts and a traced call are five spans of one trace, even after a kill."""
    backend = make_backend(used=True, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    workspace = make_workspace(backend)
    workspace.write("pipeline.py", PIPELINE)
    gate = workspace.directory / "gate"
    run = workspace.launch("pipeline.py", "pipeline", "--x", 5, "--gate", gate)
    until(gate.with_name("gate.waiting").exists, "the second step runs")
    if killed:
        backend.kill()
        backend.start()
    gate.touch()
    assert backend.api.succeeded(run) == 30
    until(lambda: len({span.id for span in receiver.spans(run)}) >= 5, "five spans", 30)
    spans = {span.id: span for span in receiver.spans(run)}
    root, _, one, two = (backend.api.action(run, action.id.name) for action in backend.api.actions(run))
    ids = [each.span_id for action in (root, one, two) for each in action.attempts]
    assert len(ids) == 4
    [traced] = set(spans) - set(ids)
    assert (spans[traced].name, spans[traced].parent) == ("pipeline.doubled", ids[0])
    assert set(spans) == {traced, *ids}
    assert {span.trace for span in spans.values()} == {backend.api.run(run).trace_id}
    assert [spans[each].name for each in ids] == [
        "env.pipeline",
        "env.step_one",
        "env.step_two",
        "env.step_two",
    ]
    assert {spans[each].parent for each in ids[1:]} == {ids[0]}
    assert spans[ids[0]].parent not in spans
    assert [spans[each].attributes["hangar.attempt"] for each in ids] == ["0", "0", "0", "1"]
    if not killed:
        assert len(receiver.spans(run)) == 5, "each span was sent once"
