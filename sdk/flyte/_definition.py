"""A deployed task as it can be called by code that does not have it: its definition, and settings over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from flyte._availability import refuse_parameters
from flyte._cache import Cache, CacheBehavior, VersionParameters, cache_of
from flyte._context import get_custom_context
from flyte._link import check_links, link_specs
from flyte._placement import check_interruptible, check_queue
from flyte._resources import Resources
from flyte._retry import RetryStrategy, retry_strategy
from flyte._timeout import Timeout, timeout_of
from flyte.errors import RemoteTaskUsageError

if TYPE_CHECKING:
    from flyte._link import Link
    from flyte._reuse import ReusePolicy
    from flyte._types import Interface

_OF_POOL = ("resources", "env_vars")


class Definition:
    """What a caller needs of a deployed task; a controller runs it as it runs a task of this program.

    Args:
        spec: Its `hangar.core.v1.TaskSpec` as proto-JSON with snake_case names.
    """

    reusable: None = None
    """Pools of others are no concern of the caller: what is said of a pool is said of its own."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._spec = dict(spec)
        self.name = str(spec["name"])
        self.max_inline_io_bytes = int(spec.get("max_inline_io_bytes") or 0) or 10 * 1024 * 1024

    @cached_property
    def interface(self) -> Interface:
        """Inputs and outputs, with plain values and `Record`s in place of the task's own classes."""
        from flyte._types._schema_interface import SchemaInterface

        description = str(self._spec.get("description") or "")
        return SchemaInterface(self.name, description, self._spec.get("interface") or {})

    def to_spec(self) -> dict[str, Any]:
        """The definition."""
        return self._spec

    def with_settings(self, settings: Mapping[str, Any]) -> Definition:
        """The task with other settings, as `task_settings` made them.

        Raises:
            ValueError: They belong to the pool of a reusable environment.
        """
        if self._spec.get("reuse") and settings.get("reuse", ...) is not None:
            for name in _OF_POOL:
                if name in settings:
                    raise ValueError(
                        f"{self.name}.override: {name} of a reusable environment belong to its pool: add "
                        'reusable="off" to run this call in a worker of its own'
                    )
        spec = {**self._spec, **settings}
        return Definition({name: value for name, value in spec.items() if value is not None})


def task_settings(
    where: str,
    *,
    short_name: str | None = None,
    resources: Resources | None = None,
    cache: CacheBehavior | Cache | None = None,
    retries: int | RetryStrategy | None = None,
    timeout: int | float | timedelta | Timeout | None = None,
    reusable: ReusePolicy | Literal["off"] | None = None,
    env_vars: Mapping[str, str] | None = None,
    max_inline_io_bytes: int | None = None,
    queue: str | None = None,
    interruptible: bool | None = None,
    max_inline_io: int | None = None,
    links: Iterable[Link] | None = None,
    entrypoint: bool | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Checks settings of `override`, and gives them as fields of a definition.

    Raises:
        ValueError, TypeError: As `flyte.TaskTemplate.override`.
        RemoteTaskUsageError: `cache` would need the function.
        FeatureNotAvailableError: The feature of a parameter is not built yet.
    """
    from flyte._availability import _PARAMETERS
    from flyte._task_checks import check_flag, check_resources, check_reusable, inline_limit
    from flyte._task_checks import check_short_name as checked_name
    from flyte._texts import check_env_vars

    refuse_parameters(where, **{name: value for name, value in others.items() if name in _PARAMETERS})
    unknown = [name for name in others if name not in _PARAMETERS]
    if unknown:
        raise TypeError(f"{where}() got an unexpected keyword argument {unknown[0]!r}")
    pool = None if reusable is None else check_reusable(reusable)
    settings: dict[str, Any] = {}
    if short_name is not None:
        settings["short_name"] = checked_name(short_name)
    if resources is not None:
        settings["resources"] = check_resources(resources).to_spec()
    if retries is not None:
        settings["retry"] = retry_strategy(retries).to_spec()
    if timeout is not None:
        settings["timeout"] = timeout_of(timeout).to_spec()
    if env_vars is not None:
        settings["env_vars"] = dict(check_env_vars(env_vars))
    if max_inline_io_bytes is not None or max_inline_io is not None:
        settings["max_inline_io_bytes"] = inline_limit(max_inline_io_bytes, max_inline_io, unset=None)
    if pool is not None:
        settings["reuse"] = None if isinstance(pool, str) else pool.to_spec()
    if cache is not None:
        settings["cache"] = _cache_settings(cache_of(cache, where), where)
    if queue is not None:
        settings["queue"] = check_queue(queue)
    if interruptible is not None:
        settings["interruptible"] = check_interruptible(interruptible)
    if links:
        settings["links"] = link_specs(check_links(links), get_custom_context())
    if entrypoint is not None:
        settings["entrypoint"] = check_flag("entrypoint", entrypoint)
    return settings


def _cache_settings(cache: Cache, where: str) -> dict[str, Any] | None:
    if not cache.is_enabled:
        return None
    if cache.behavior != "override":
        raise RemoteTaskUsageError(
            f"{where}(cache={cache.behavior!r}) needs the function of the task, which is not here: use "
            'flyte.Cache("override", version_override="1.0"), or set it where the task is defined'
        )
    return {
        "version": cache.version(VersionParameters(func=print)),
        "serialize": cache.serialize,
        "ignored_inputs": sorted(cache.ignored_inputs),
    }
