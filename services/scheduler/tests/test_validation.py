"""Settings of runs and policies of tasks that cannot be are refused by field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hangar.core.v1.task_spec_pb2 import Code, Interface, RunContext, TaskSpec
from services.common.errors import InvalidArgument
from services.scheduler.destinations import Destinations
from services.scheduler.validation import check_context, check_spec

HOOKS = Destinations(("https://hooks.example.com/",))


def context() -> RunContext:
    """Settings that are fine, with something of everything."""
    made = RunContext(queue="gpu", interruptible=True, recovers="earlier-1", annotations={"a": "b"})
    made.custom_context["tenant"] = "t"
    made.notifications.add(url="https://hooks.example.com/x", headers={"X-A": "b"}, body_json='{"a": 1}')
    return made


def spec() -> TaskSpec:
    """A definition that is fine, with every policy."""
    made = TaskSpec(name="e.t", environment="e", interface=Interface(), code=Code(module="m", attribute="t"))
    made.queue = "gpu-large"
    made.retry.count, made.retry.backoff_base_millis, made.retry.backoff_jitter = 3, 500, 0.5
    made.retry.backoff_factor, made.retry.backoff_cap_millis = 2.0, 60_000
    made.timeout.deadline_millis = 1000
    return made


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda c: setattr(c, "queue", "Big Queue"), "context.queue"),
        (lambda c: setattr(c, "queue", "a" * 129), "context.queue"),
        (lambda c: setattr(c, "raw_data_path", "s3://b"), "context.raw_data_path"),
        (lambda c: c.annotations.update({"": "x"}), "context.annotations"),
        (lambda c: c.custom_context.update({"k": "x" * 4097}), "context.custom_context"),
        (lambda c: c.custom_context.update({str(n): "" for n in range(65)}), "context.custom_context"),
        (lambda c: c.custom_context.update({"k": "\0"}), "context.custom_context"),
        (lambda c: c.labels.update({"k": "a\0"}), "context.labels"),
        (lambda c: c.labels.update({"\0": "a"}), "context.labels"),
        (lambda c: c.env_vars.update({"A=B": "x"}), "context.env_vars"),
        (lambda c: c.env_vars.update({"A": "\0"}), "context.env_vars"),
        (lambda c: c.notifications.add(url="https://evil.example.com/"), "context.notifications[1].url"),
        (lambda c: c.notifications[0].headers.update({"A:B": "x"}), "context.notifications[0].headers"),
        (
            lambda c: c.notifications[0].headers.update({"A": "x\r\nB: y"}),
            "context.notifications[0].headers",
        ),
        (lambda c: setattr(c.notifications[0], "body_json", "{"), "context.notifications[0].body_json"),
        (lambda c: [c.notifications.add() for _ in range(16)], "context.notifications"),
    ],
)
def test_wrong_settings_of_a_run_are_refused(change: Callable[[Any], object], field: str) -> None:
    """Each refusal names its field; the settings as they were are fine."""
    made = context()
    check_context(made, HOOKS)
    change(made)
    with pytest.raises(InvalidArgument) as caught:
        check_context(made, HOOKS)
    assert caught.value.metadata["field"] == field


def test_a_run_to_recover_has_the_name_of_a_run() -> None:
    """What is no name cannot be looked for."""
    made = context()
    made.recovers = "No Good"
    with pytest.raises(InvalidArgument, match="run to recover 'No Good'"):
        check_context(made, HOOKS)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda s: setattr(s, "queue", "-x"), "task.queue"),
        (lambda s: setattr(s, "name", "e.\0"), "task.name"),
        (lambda s: setattr(s, "environment", "\0"), "task.environment"),
        (lambda s: setattr(s.code, "version", "a b/c"), "task.code.version"),
        (lambda s: setattr(s.code, "version", ".."), "task.code.version"),
        (lambda s: setattr(s.code, "version", "x" * 256), "task.code.version"),
        (lambda s: setattr(s.retry, "backoff_base_millis", -1), "task.retry.backoff_base_millis"),
        (lambda s: setattr(s.retry, "backoff_cap_millis", -1), "task.retry.backoff_cap_millis"),
        (lambda s: setattr(s.retry, "backoff_factor", 0.5), "task.retry.backoff_factor"),
        (lambda s: setattr(s.retry, "backoff_factor", float("nan")), "task.retry.backoff_factor"),
        (lambda s: setattr(s.retry, "backoff_factor", float("inf")), "task.retry.backoff_factor"),
        (lambda s: setattr(s.retry, "backoff_jitter", 1.5), "task.retry.backoff_jitter"),
        (lambda s: setattr(s.retry, "backoff_jitter", float("nan")), "task.retry.backoff_jitter"),
        (lambda s: setattr(s.timeout, "deadline_millis", -1), "task.timeout.deadline_millis"),
        (lambda s: [s.links.add() for _ in range(33)], "task.links"),
    ],
)
def test_wrong_parts_of_a_task_are_refused(change: Callable[[Any], object], field: str) -> None:
    """Each refusal names its field; the definition as it was is fine."""
    made = spec()
    check_spec(made)
    change(made)
    with pytest.raises(InvalidArgument) as caught:
        check_spec(made)
    assert caught.value.metadata["field"] == field
