"""Reusable environments: the same containers serve many actions."""

from integration_tests.test_pools import (
    test_async_actions_share_one_worker_at_the_same_time,
    test_replicas_serve_all_actions_and_keep_their_globals,
    user,
)

__all__ = [
    "test_async_actions_share_one_worker_at_the_same_time",
    "test_replicas_serve_all_actions_and_keep_their_globals",
    "user",
]
