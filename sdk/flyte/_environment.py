"""Task environments: the hardware and software that tasks run in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from flyte._availability import refuse_parameters
from flyte._cache import Cache, CacheBehavior, cache_of
from flyte._caller import caller
from flyte._docs import Documentation
from flyte._link import check_links
from flyte._placement import check_interruptible, check_queue
from flyte._resources import Resources
from flyte._retry import RetryStrategy, retry_strategy
from flyte._reuse import ReusePolicy
from flyte._task import TaskSettings, TaskTemplate
from flyte._task_checks import (
    MAX_INLINE_IO_BYTES,
    check_flag,
    check_resources,
    check_short_name,
    inline_limit,
)
from flyte._texts import check_env_vars
from flyte._timeout import Timeout, timeout_of

if TYPE_CHECKING:
    from flyte._accelerators import GPUAccelerator
    from flyte._image import Image

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_LONGEST_DESCRIPTION = 255
_SHARED = ("image", "resources", "env_vars", "cache", "reusable", "queue", "interruptible")
_CLONED = ("image", "resources", "env_vars", "secrets", "depends_on", "cache", "reusable")


class TaskEnvironment:
    """The hardware and software that the tasks of an environment share.

    Attributes:
        name: Name in snake_case or kebab-case.
        image: Software: a `flyte.Image`. Debian slim with the current Python and this SDK unless set.
        resources: Hardware of one worker. What is not set comes from the platform.
        env_vars: Environment variables of every task.
        reusable: Pool of warm workers, None for a worker per action.
        cache: How results of its tasks are kept for equal calls.
        queue: Queue that its tasks wait in, None for the run's.
        interruptible: Whether its tasks may run on hosts whose capacity can be taken away.
        depends_on: Environments whose tasks are called from this one's.
        include: Extra files for the code bundle, relative to `declared_in`.
        description: What the environment is for.

    Example:
        ```python
        env = flyte.TaskEnvironment("data", resources=flyte.Resources(cpu=2, memory="8Gi"))

        @env.task
        def load(path: str) -> list[int]: ...
        ```
    """

    def __init__(
        self,
        name: str,
        *,
        depends_on: Sequence[TaskEnvironment] = (),
        pod_template: Any = None,
        description: str | None = None,
        secrets: Any = None,
        env_vars: Mapping[str, str] | None = None,
        resources: Resources | None = None,
        limits: Resources | None = None,
        accelerator: GPUAccelerator | str | None = None,
        interruptible: bool = False,
        image: str | Image | None = "auto",
        include: Sequence[str] = (),
        cache: CacheBehavior | Cache = "disable",
        reusable: ReusePolicy | None = None,
        plugin_config: Any = None,
        queue: str | None = None,
    ) -> None:
        """Describe an environment.

        Args:
            name: Name in snake_case or kebab-case, such as "my_env".
            depends_on: Environments whose tasks are called from this one's.
            pod_template: Not available: there are no pods on plain hosts.
            description: What the environment is for, at most 255 characters; the rest is cut off.
            secrets: Not available yet.
            env_vars: Environment variables of every task.
            resources: Hardware of one worker.
            limits: Another spelling of `resources`.
            accelerator: Type of an untyped GPU count in `resources`.
            interruptible: Whether its tasks may run on hosts whose capacity can be taken away.
            image: A `flyte.Image`, the address of an image, or "auto" for the default.
            include: Extra files or directories for the code bundle, relative to the declaring file.
            cache: How results of its tasks are kept for equal calls: "disable", "auto" or a `flyte.Cache`.
            reusable: Pool of warm workers.
            plugin_config: Not available yet.
            queue: Queue that its tasks wait in, unless they name one: only hosts that serve it take them.

        Raises:
            TypeError: A value has the wrong type.
            ValueError: The name is invalid, both spellings differ, or values do not fit each other.
            FeatureNotAvailableError: The feature of a documented parameter is not built yet.
        """
        self.name = _check_name(name)
        if plugin_config is not None and reusable is not None:
            raise ValueError(f"environment {name!r}: plugin_config and reusable exclude each other")
        refuse_parameters(
            f"TaskEnvironment {name!r}",
            pod_template=pod_template,
            secrets=secrets,
            plugin_config=plugin_config,
        )
        self.queue = check_queue(queue)
        self.interruptible = bool(check_interruptible(interruptible))
        self.description = _check_description(description)
        self.env_vars = check_env_vars(env_vars or {})
        self.cache = cache_of(cache, f"environment {name!r}")
        self.resources = _check_hardware(name, resources, limits, accelerator)
        self._include = _check_include(include)
        if reusable is not None and not isinstance(reusable, ReusePolicy):
            raise TypeError(f"environment {name!r}: reusable must be flyte.ReusePolicy(…), not {reusable!r}")
        self.reusable = reusable
        self.declared_in, self.declared_module = caller()
        self._image = _check_image(name, image)
        self._is_default = self._image is None
        self._tasks: dict[str, TaskTemplate[Any, Any]] = {}
        self.depends_on: list[TaskEnvironment] = []
        if isinstance(depends_on, TaskEnvironment):
            raise TypeError(
                f"environment {name!r}: depends_on must be a list: depends_on=[{depends_on.name}]"
            )
        self.add_dependency(*depends_on)

    @property
    def image(self) -> Image:
        """Software that the tasks run in."""
        if self._image is None:
            from flyte._image import Image

            self._image = Image.from_debian_base()
        return self._image

    @property
    def include(self) -> tuple[str, ...]:
        """Extra files for the code bundle, relative to `declared_in`."""
        return self._include

    @property
    def has_default_image(self) -> bool:
        """True when nobody chose the image."""
        return self._is_default

    @property
    def tasks(self) -> dict[str, TaskTemplate[Any, Any]]:
        """The environment's tasks by fully qualified name."""
        return dict(self._tasks)

    @overload
    def task(self, func: Callable[P, R], /) -> TaskTemplate[P, R]: ...

    @overload
    def task(
        self,
        /,
        *,
        short_name: str | None = None,
        cache: CacheBehavior | Cache | None = None,
        retries: int | RetryStrategy = 0,
        timeout: int | float | timedelta | Timeout | None = 0,
        docs: Documentation | str | None = None,
        pod_template: Any = None,
        report: bool = False,
        interruptible: bool | None = None,
        max_inline_io_bytes: int = MAX_INLINE_IO_BYTES,
        queue: str | None = None,
        triggers: Any = (),
        links: Any = (),
        task_resolver: Any = None,
        entrypoint: bool = False,
        max_inline_io: int | None = None,
    ) -> Callable[[Callable[P, R]], TaskTemplate[P, R]]: ...

    def task(
        self,
        func: Callable[..., Any] | None = None,
        /,
        *,
        short_name: str | None = None,
        cache: CacheBehavior | Cache | None = None,
        retries: int | RetryStrategy = 0,
        timeout: int | float | timedelta | Timeout | None = 0,
        docs: Documentation | str | None = None,
        pod_template: Any = None,
        report: bool = False,
        interruptible: bool | None = None,
        max_inline_io_bytes: int = MAX_INLINE_IO_BYTES,
        queue: str | None = None,
        triggers: Any = (),
        links: Any = (),
        task_resolver: Any = None,
        entrypoint: bool = False,
        max_inline_io: int | None = None,
    ) -> Any:
        """Make a task of a function, bare (`@env.task`) or with arguments (`@env.task(retries=2)`).

        Args:
            func: The function, `def` or `async def`, with annotated parameters.
            short_name: Name shown to people instead of the function's.
            retries: Further attempts after a failure of the task itself.
            timeout: Longest run time of one attempt in seconds or as a timedelta, or a `flyte.Timeout`.
            docs: What the task does; the docstring unless set.
            max_inline_io_bytes: Largest inline inputs or outputs in bytes.
            cache: How results are kept: "auto", "disable" or a `flyte.Cache`; as in the environment unless given.
            pod_template: Not available: there are no pods on plain hosts.
            report: Attempts of the task write reports, with `flyte.report`.
            interruptible: Whether its actions may run on hosts whose capacity can be taken away; as in the environment
                unless given.
            queue: Queue that its actions wait in; as in the environment unless given.
            triggers: Not available yet.
            links: Pages elsewhere that belong to its actions: objects as `flyte.Link`.
            task_resolver: Not available yet.
            entrypoint: Whether people are meant to start it themselves.
            max_inline_io: Another spelling of `max_inline_io_bytes`.

        Raises:
            TypeError: What is decorated is not a function, or a value has the wrong type.
            ValueError: The function has *args or **kwargs, or is sync in an environment with concurrency.
            FeatureNotAvailableError: The feature of a documented parameter is not built yet.

        Example:
            ```python
            @env.task(retries=2, timeout=60)
            async def fetch(url: str) -> dict: ...
            ```
        """
        refuse_parameters(
            f"{self.name}.task",
            pod_template=pod_template,
            triggers=triggers,
            task_resolver=task_resolver,
        )
        settings = TaskSettings(
            short_name=check_short_name(short_name),
            retries=retry_strategy(retries),
            timeout=timeout_of(timeout),
            max_inline_io_bytes=inline_limit(max_inline_io_bytes, max_inline_io),
            docs=_check_docs(docs),
            cache=None if cache is None else cache_of(cache, f"{self.name}.task"),
            report=check_flag("report", report),
            queue=check_queue(queue),
            interruptible=check_interruptible(interruptible),
            links=check_links(links),
            entrypoint=check_flag("entrypoint", entrypoint),
        )

        def decorate(function: Callable[..., Any]) -> TaskTemplate[Any, Any]:
            return self._add(TaskTemplate(function, self, settings))

        return decorate if func is None else decorate(func)

    def add_dependency(self, *environments: TaskEnvironment) -> None:
        """Say that tasks of this environment call tasks of others. Cycles are allowed.

        Raises:
            TypeError: One is not an environment.
            ValueError: One is this environment itself.

        Example:
            ```python
            driver.add_dependency(worker)
            ```
        """
        for environment in environments:
            if not isinstance(environment, TaskEnvironment):
                raise TypeError(
                    f"environment {self.name!r} can depend on environments only, not on {environment!r}"
                )
            if environment is self:
                raise ValueError(f"environment {self.name!r} cannot depend on itself")
            if not any(known is environment for known in self.depends_on):
                self.depends_on.append(environment)

    def clone_with(self, name: str, **changes: Any) -> TaskEnvironment:
        """A new environment without tasks, equal to this one but for its name and the given settings.

        Args:
            name: Name of the new environment.
            **changes: `image`, `resources`, `env_vars`, `secrets`, `depends_on`, `cache`, `reusable`.

        Raises:
            TypeError: A keyword is unknown.
            ValueError: A value is wrong, as in the constructor.

        Example:
            ```python
            heavy = env.clone_with("heavy", resources=flyte.Resources(cpu=8, memory="32Gi"))
            ```
        """
        for keyword in changes:
            if keyword not in _CLONED:
                known = ", ".join(_CLONED)
                raise TypeError(
                    f"clone_with() got an unexpected keyword argument {keyword!r}: it takes {known}"
                )
        settings: dict[str, Any] = {
            "image": self._image,
            "resources": self.resources,
            "env_vars": self.env_vars,
            "depends_on": self.depends_on,
            "cache": self.cache,
            "reusable": self.reusable,
            "queue": self.queue,
            "interruptible": self.interruptible,
            "description": self.description,
            "include": self._include,
        }
        clone = TaskEnvironment(name, **{**settings, **changes})
        if self._include:
            clone.declared_in, clone.declared_module = self.declared_in, self.declared_module
        return clone

    @classmethod
    def from_task(
        cls,
        name: str,
        *tasks: TaskTemplate[Any, Any],
        depends_on: Sequence[TaskEnvironment] | None = None,
    ) -> TaskEnvironment:
        """A new environment with existing tasks, whose software and hardware it takes over.

        Args:
            name: Name of the new environment.
            *tasks: Tasks that share image, resources, environment variables and reuse policy.
            depends_on: Environments whose tasks they call.

        Raises:
            TypeError: One is not a task.
            ValueError: There is no task, or their settings differ.

        Example:
            ```python
            env = flyte.TaskEnvironment.from_task("nightly", load, clean)
            ```
        """
        if not tasks:
            raise ValueError(f"TaskEnvironment.from_task({name!r}) needs at least one task")
        for task in tasks:
            if not isinstance(task, TaskTemplate):
                raise TypeError(f"TaskEnvironment.from_task takes tasks made with @env.task, not {task!r}")
        first = tasks[0].environment
        for other in (task.environment for task in tasks[1:]):
            for setting in _SHARED:
                if getattr(first, setting) != getattr(other, setting):
                    raise ValueError(
                        f"TaskEnvironment.from_task({name!r}): {first.name!r} and {other.name!r} "
                        f"differ in {setting}: tasks of one environment share it"
                    )
        environment = first.clone_with(name, depends_on=list(depends_on or first.depends_on))
        for task in tasks:
            environment._add(task.in_environment(environment))
        return environment

    def _add(self, task: TaskTemplate[P, R]) -> TaskTemplate[P, R]:
        known = self._tasks.get(task.name)
        if known is not None and known.func.__module__ != task.func.__module__:
            raise ValueError(
                f"environment {self.name!r} has a task {task.func.__name__!r} already, in module "
                f"{known.func.__module__}: rename the one in {task.func.__module__}"
            )
        self._tasks[task.name] = task
        return task

    def __repr__(self) -> str:
        return f"TaskEnvironment({self.name!r})"


def walk(environments: Iterable[TaskEnvironment]) -> list[TaskEnvironment]:
    """The environments and all that they depend on, each once, dependents first.

    Raises:
        ValueError: Two of them have the same name.
    """
    found: dict[str, TaskEnvironment] = {}
    waiting = list(environments)
    while waiting:
        environment = waiting.pop(0)
        known = found.get(environment.name)
        if known is environment:
            continue
        if known is not None:
            raise ValueError(_duplicate(known, environment))
        found[environment.name] = environment
        waiting.extend(environment.depends_on)
    return list(found.values())


def _duplicate(one: TaskEnvironment, other: TaskEnvironment) -> str:
    message = f"Duplicate environment name {one.name!r}: in {one.declared_in} and {other.declared_in}"
    if one.declared_in == other.declared_in and one.declared_module != other.declared_module:
        return (
            f"{message}. The file was imported as {one.declared_module} and as {other.declared_module}: "
            "import it by one name, and say where imports start, for instance with --root-dir src"
        )
    return f"{message}. Rename one of them"


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of an environment must be a string, not {name!r}")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"environment name {name!r} must be in snake_case or kebab-case: lower-case letters and digits, "
            'in words joined by single "_" or "-", such as "my_env"'
        )
    return name


def _check_description(description: object) -> str:
    if description is None:
        return ""
    if not isinstance(description, str):
        raise TypeError(f"the description of an environment must be a string, not {description!r}")
    return description[:_LONGEST_DESCRIPTION]


def _check_hardware(
    name: str, resources: Resources | None, limits: Resources | None, accelerator: GPUAccelerator | str | None
) -> Resources:
    given = [check_resources(value) for value in (resources, limits) if value is not None]
    if len(given) == 2 and given[0].to_spec() != given[1].to_spec():
        raise ValueError(
            f"environment {name!r}: resources= and limits= are the same setting: give one of them"
        )
    hardware = given[0] if given else Resources()
    return hardware if accelerator is None else hardware.with_accelerator(accelerator)


def _check_include(include: object) -> tuple[str, ...]:
    if isinstance(include, str) or not isinstance(include, (tuple, list)):
        raise TypeError(f"include must be a tuple of paths, not {include!r}: write include=({include!r},)")
    for path in include:
        if not isinstance(path, str):
            raise TypeError(f"include must be a tuple of strings, not of {path!r}")
    return tuple(include)


def _check_image(name: str, image: object) -> Image | None:
    """The image, or None for the default one, which is made when it is first needed."""
    if image is None or image == "auto":
        return None
    from flyte._image import Image

    if isinstance(image, Image):
        return image
    if isinstance(image, str):
        return Image.from_base(image)
    raise TypeError(f'environment {name!r}: image must be a flyte.Image, an address or "auto", not {image!r}')


def _check_docs(docs: object) -> Documentation | None:
    if docs is None or isinstance(docs, Documentation):
        return docs
    if isinstance(docs, str):
        return Documentation(docs)
    raise TypeError(f"docs must be a string or flyte.Documentation(description=…), not {docs!r}")
