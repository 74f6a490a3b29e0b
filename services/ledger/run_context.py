"""What the caller of a run set for all its actions, out of the run's row."""

from typing import Any

from hangar.core.v1.task_spec_pb2 import RunContext


def run_context(row: Any) -> RunContext:
    """Return the settings of a run.

    Args:
        row: Columns of `run`, as attributes.
    """
    if row.settings is not None:
        return RunContext.FromString(row.settings)
    return RunContext(  # the run is older than the column
        env_vars=row.env_vars,
        labels=row.labels,
        overwrite_cache=row.overwrite_cache,
        disable_cache=row.disable_cache,
        cache_scope=row.cache_scope,
    )
