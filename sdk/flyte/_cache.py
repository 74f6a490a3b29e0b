"""Caching: when the recorded result of an earlier action stands for a new one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from flyte._image import Image
    from flyte._task import TaskTemplate

CacheBehavior = Literal["auto", "override", "disable"]
_BEHAVIORS = ("auto", "override", "disable")


@dataclass(frozen=True)
class VersionParameters:
    """What a policy can derive a cache version from.

    Attributes:
        func: The task's function.
        image: Software that the task runs in.
        code_bundle: Hex SHA-256 of the code bundle, empty when there is none.

    Example:
        ```python
        version = flyte.FunctionBodyPolicy().get_version("", flyte.VersionParameters(func=train.func))
        ```
    """

    func: Callable[..., Any]
    image: Image | None = None
    code_bundle: str = ""


@runtime_checkable
class CachePolicy(Protocol):
    """Derives a version from what a task is made of: results of another version do not count.

    Example:
        ```python
        class ImagePolicy:
            def get_version(self, salt: str, params: flyte.VersionParameters) -> str:
                return f"{salt}{params.image}"
        ```
    """

    def get_version(self, salt: str, params: VersionParameters) -> str:
        """The version; any text.

        Args:
            salt: The `salt` of the `Cache`.
            params: What the task is made of.
        """


class FunctionBodyPolicy:
    """The version changes with the function: its code, docstring and decorators.

    Comments and whitespace do not count, nor do functions that it calls.

    Example:
        ```python
        cache = flyte.Cache("auto", policies=flyte.FunctionBodyPolicy())
        ```
    """

    def get_version(self, salt: str, params: VersionParameters) -> str:
        """The version, 64 hex digits.

        Raises:
            ValueError: The source of the function cannot be had.
        """
        import ast
        import hashlib
        import inspect
        import textwrap

        try:
            source = textwrap.dedent(inspect.getsource(params.func))
            text = ast.unparse(ast.parse(source))
        except (OSError, TypeError, SyntaxError) as error:
            name = getattr(params.func, "__qualname__", repr(params.func))
            raise ValueError(
                f"the source of {name} cannot be read, so that cache='auto' knows no version of it ({error}): "
                'use cache=flyte.Cache("override", version_override="1.0")'
            ) from error
        return hashlib.sha256(f"{salt}\0{text}".encode()).hexdigest()


@dataclass(frozen=True)
class Cache:
    """How results of a task are kept for later calls with equal inputs.

    A result counts for calls of the same task, interface, version and inputs within the project and domain.
    Only results of successful actions are kept. Resources, environment variables and custom context do not count.

    Attributes:
        behavior: "auto" derives the version by the policies, "override" takes `version_override`, "disable"
            keeps nothing.
        version_override: The version, for "override".
        serialize: Of several equal calls at the same time one runs and the others wait for its result.
        ignored_inputs: Parameters whose values do not count, one name or several.
        salt: Changes the version.
        policies: What "auto" derives the version by, `FunctionBodyPolicy` unless given.

    Raises:
        ValueError: The behavior is unknown, or "override" lacks a version, or another behavior has one.
        TypeError: A value has the wrong type.

    Example:
        ```python
        @env.task(cache=flyte.Cache("auto", ignored_inputs="verbose", serialize=True))
        def train(rows: list[float], verbose: bool = False) -> float: ...
        ```
    """

    behavior: CacheBehavior
    version_override: str | None = None
    serialize: bool = False
    ignored_inputs: tuple[str, ...] | str = ()
    salt: str = ""
    policies: Sequence[CachePolicy] | CachePolicy | None = None

    def __post_init__(self) -> None:
        if self.behavior not in _BEHAVIORS:
            raise ValueError(f'Cache(behavior={self.behavior!r}) must be "auto", "override" or "disable"')
        if self.version_override is not None and not isinstance(self.version_override, str):
            raise TypeError(f"Cache(version_override={self.version_override!r}) must be a string")
        if self.behavior == "override" and not self.version_override:
            raise ValueError('Cache("override") needs version_override="…", the version of the results')
        if self.behavior != "override" and self.version_override is not None:
            raise ValueError(
                f'Cache({self.behavior!r}, version_override=…) is at odds with itself: use "override"'
            )
        if not isinstance(self.serialize, bool):
            raise TypeError(f"Cache(serialize={self.serialize!r}) must be True or False")
        if not isinstance(self.salt, str):
            raise TypeError(f"Cache(salt={self.salt!r}) must be a string")
        names = (self.ignored_inputs,) if isinstance(self.ignored_inputs, str) else tuple(self.ignored_inputs)
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"Cache(ignored_inputs={self.ignored_inputs!r}) must be names of parameters")
        object.__setattr__(self, "ignored_inputs", names)
        for policy in self._policies:
            if not isinstance(policy, CachePolicy):
                raise TypeError(
                    f"Cache(policies=…): {policy!r} is no CachePolicy: it has no get_version(salt, params)"
                )

    @property
    def is_enabled(self) -> bool:
        """False for "disable"."""
        return self.behavior != "disable"

    @property
    def _policies(self) -> tuple[Any, ...]:
        if self.policies is None:
            return (FunctionBodyPolicy(),)
        if isinstance(self.policies, Sequence):
            return tuple(self.policies) or (FunctionBodyPolicy(),)
        return (self.policies,)

    def version(self, params: VersionParameters) -> str:
        """The version of a task's results.

        Raises:
            ValueError: A policy cannot tell it.
            TypeError: A policy gives something else than text.
        """
        if self.behavior == "override":
            versions = [str(self.version_override)]
        else:
            versions = [policy.get_version(self.salt, params) for policy in self._policies]
        for version in versions:
            if not isinstance(version, str):
                raise TypeError(
                    f"a cache policy gave {version!r} as the version of {params.func}: it must be text"
                )
        import hashlib
        import json

        text = json.dumps([self.salt, *versions])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


DISABLED = Cache("disable")


def cache_of(cache: object, where: str) -> Cache:
    """The `Cache` that a `cache=` argument means.

    Raises:
        TypeError: It is neither a `Cache` nor a string.
        ValueError: The string is no behavior, or "override", which needs a version.
    """
    if isinstance(cache, Cache):
        return cache
    if not isinstance(cache, str):
        raise TypeError(f'{where}: cache must be "auto", "disable" or flyte.Cache(…), not {cache!r}')
    if cache not in _BEHAVIORS:
        raise ValueError(f'{where}: cache={cache!r} must be "auto", "override" or "disable"')
    return Cache(cache)  # type: ignore[arg-type]  # one of the three


def check_ignored(cache: Cache, names: Sequence[str], where: str) -> None:
    """Refuse ignored inputs that the task does not have.

    Raises:
        ValueError: There is one.
    """
    for name in cache.ignored_inputs:
        if name not in names:
            raise ValueError(
                f"{where}: ignored_inputs names {name!r}, which is no parameter: {', '.join(names)}"
            )


def cache_spec(task: TaskTemplate[Any, Any], code_bundle: str) -> dict[str, Any] | None:
    """The `CachePolicy` of a task's spec, None when its results are not kept.

    Raises:
        ValueError: The version cannot be told, or an ignored input is no parameter.
    """
    cache = task.cache
    if not cache.is_enabled:
        return None
    check_ignored(cache, [variable.name for variable in task.interface.inputs], task.name)
    return {
        "version": cache.version(VersionParameters(task.func, task.image, code_bundle)),
        "serialize": cache.serialize,
        "ignored_inputs": sorted(cache.ignored_inputs),
    }


def cache_key(spec: dict[str, Any], document: bytes, inputs_digest: str) -> str:
    """What results of a task are kept under, within a project and domain; empty when they are not kept.

    Args:
        spec: The task's spec.
        document: The inputs document.
        inputs_digest: Its digest.
    """
    import hashlib
    import json

    policy = spec.get("cache")
    if not policy:
        return ""
    counting: Any = inputs_digest
    if policy.get("ignored_inputs"):
        from flyte._types import input_digests

        counting = sorted(
            (name, value)
            for name, value in input_digests(document).items()
            if name not in policy["ignored_inputs"]
        )
    interface = [
        [[variable["name"], variable["schema_json"]] for variable in spec["interface"].get(side, ())]
        for side in ("inputs", "outputs")
    ]
    text = json.dumps([spec["name"], policy["version"], interface, counting], separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
