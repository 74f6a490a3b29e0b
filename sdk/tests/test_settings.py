"""Retries, time limits and reuse policies."""

from __future__ import annotations

from datetime import timedelta

import pytest

import flyte
from flyte._retry import retry_strategy
from flyte._timeout import timeout_of


def test_a_number_of_retries_is_a_strategy():
    """`retries=3` is `RetryStrategy(count=3)`."""
    assert retry_strategy(3) == flyte.RetryStrategy(count=3) == retry_strategy(flyte.RetryStrategy(3))
    assert retry_strategy(3).to_spec() == {"count": 3}


@pytest.mark.parametrize(
    ("retries", "error"), [(-1, ValueError), (101, ValueError), ("3", TypeError), (True, TypeError)]
)
def test_wrong_retries_are_refused(retries, error):
    """Retries are an int between 0 and 100."""
    with pytest.raises(error, match="retries must be"):
        retry_strategy(retries)


@pytest.mark.parametrize(
    ("timeout", "runtime", "queued"),
    [
        (0, 0, 0),
        (None, 0, 0),
        (60, 60_000, 0),
        (0.25, 250, 0),
        (timedelta(minutes=2), 120_000, 0),
        (flyte.Timeout(5, timedelta(seconds=7)), 5_000, 7_000),
        (flyte.Timeout(max_queued_time=9), 0, 9_000),
    ],
)
def test_timeouts_are_read_in_every_spelling(timeout, runtime, queued):
    """Seconds, timedelta and Timeout mean milliseconds in the spec; 0 and None mean no limit."""
    assert timeout_of(timeout).to_spec() == {"max_runtime_millis": runtime, "max_queued_millis": queued}


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(-1, ValueError), (timedelta(seconds=-1), ValueError), ("2h", TypeError), (True, TypeError)],
)
def test_wrong_timeouts_are_refused(timeout, error):
    """Limits are not negative and not text."""
    with pytest.raises(error, match="max_runtime must"):
        timeout_of(timeout)


@pytest.mark.parametrize(("replicas", "fewest", "most"), [(2, 2, 2), ((1, 4), 1, 4), ((0, 3), 0, 3)])
def test_replicas_are_a_number_or_a_range(replicas, fewest, most):
    """`n` is `(n, n)`."""
    policy = flyte.ReusePolicy(
        replicas=replicas, concurrency=3, idle_ttl=timedelta(minutes=1), scaledown_ttl=45
    )
    assert policy.to_spec() == {
        "min_replicas": fewest,
        "max_replicas": most,
        "concurrency": 3,
        "idle_ttl_millis": 60_000,
        "scaledown_ttl_millis": 45_000,
    }


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"replicas": 0}, ValueError, "ReusePolicy.replicas"),
        ({"replicas": (3, 1)}, ValueError, "ReusePolicy.replicas"),
        ({"replicas": (1, 2, 3)}, ValueError, "ReusePolicy.replicas"),
        ({"replicas": (-1, 2)}, ValueError, "ReusePolicy.replicas"),
        ({"replicas": "2"}, TypeError, "ReusePolicy.replicas must be an int"),
        ({"concurrency": 0}, ValueError, "ReusePolicy.concurrency must be at least 1"),
        ({"concurrency": 1.5}, TypeError, "ReusePolicy.concurrency must be an int"),
        ({"idle_ttl": 29}, ValueError, "ReusePolicy.idle_ttl must be at least 30 seconds, not 29"),
        (
            {"scaledown_ttl": timedelta(seconds=1)},
            ValueError,
            "ReusePolicy.scaledown_ttl must be at least 30",
        ),
        ({"idle_ttl": "1m"}, TypeError, "ReusePolicy.idle_ttl must be seconds or a timedelta"),
    ],
)
def test_wrong_reuse_policies_are_refused(arguments, error, message):
    """Each refusal names the field."""
    with pytest.raises(error, match=message):
        flyte.ReusePolicy(**arguments)
