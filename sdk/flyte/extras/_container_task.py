"""Tasks that are a container: any image, any program, no Python and no SDK in it."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from flyte._availability import refuse_parameters
from flyte._cache import Cache, CacheBehavior, cache_of
from flyte._caller import caller
from flyte._context import current_controller
from flyte._docs import Documentation
from flyte._environment import TaskEnvironment
from flyte._image import Image
from flyte._placement import check_interruptible, check_queue
from flyte._resources import Resources
from flyte._retry import RetryStrategy, retry_strategy
from flyte._task import TaskSettings, TaskTemplate
from flyte._task_checks import (
    MAX_INLINE_IO_BYTES,
    check_resources,
    check_short_name,
    inline_limit,
)
from flyte._texts import check_env_vars
from flyte._timeout import Timeout, timeout_of
from flyte.extras._container_values import TEMPLATE, is_supported

if TYPE_CHECKING:
    from flyte._types import Interface

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class ContainerTask(TaskTemplate[..., Any]):
    """A task that runs a program of an image: inputs and outputs are files.

    Each input is a file `<input_data_dir>/<name>`, and `{{.inputs.<name>}}` in `command` and `arguments` is replaced by
    its value. Each output is read from a file `<output_data_dir>/<name>` once the program has exited with code 0.
    Strings, numbers, booleans, dates and times are written as people write them, bytes as they are, dataclasses,
    models, lists and dicts as JSON. One line break at the end of an output does not count.

    The container is as closed as those of other tasks: a user without rights, a root file system that cannot be
    written (`/tmp` can), the limits of `resources`. It needs hosts with a Docker engine; local mode uses the one of
    this machine. It gets an environment from `TaskEnvironment.from_task`, and is called as an async task.

    Example:
        ```python
        greeting = ContainerTask(
            name="greeting",
            image="busybox:latest",
            command=["/bin/sh", "-c", "echo Hello, {{.inputs.name}} > /var/outputs/text"],
            inputs={"name": str},
            outputs={"text": str},
        )
        container_env = flyte.TaskEnvironment.from_task("containers", greeting)
        env = flyte.TaskEnvironment("main", depends_on=[container_env])

        @env.task
        async def hello(name: str) -> str:
            return await greeting(name=name)
        ```
    """

    runs_python = False

    def __init__(
        self,
        name: str,
        image: str | Image,
        command: Sequence[str] | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        input_data_dir: str = "/var/inputs",
        output_data_dir: str = "/var/outputs",
        *,
        arguments: Sequence[str] | None = None,
        resources: Resources | None = None,
        env_vars: Mapping[str, str] | None = None,
        short_name: str | None = None,
        docs: Documentation | str | None = None,
        retries: int | RetryStrategy = 0,
        timeout: int | float | timedelta | Timeout | None = 0,
        cache: CacheBehavior | Cache | None = None,
        max_inline_io_bytes: int = MAX_INLINE_IO_BYTES,
        secrets: Any = None,
        pod_template: Any = None,
        queue: str | None = None,
        interruptible: bool | None = None,
        max_inline_io: int | None = None,
    ) -> None:
        """Describe a task that is a container.

        Args:
            name: Name of the task: letters, digits, "_" and "-".
            image: Address of an image, used as it is, or a `flyte.Image`.
            command: Program and arguments instead of the image's entry point. That of the image unless set.
            inputs: Types of the inputs by name, or pairs of type and default.
            outputs: Types of the outputs by name. One is returned as it is, several as a tuple in their order.
            input_data_dir: Where inputs are files in the container.
            output_data_dir: Where the program writes its outputs.
            arguments: Arguments of `command`, or of the image's entry point.
            resources: Hardware of the container.
            env_vars: Environment variables of the container, over those of the image.
            short_name: Name shown to people.
            docs: What the task does.
            retries: Further attempts after a failure of the program.
            timeout: Longest run time of one attempt in seconds or as a timedelta, or a `flyte.Timeout`.
            cache: How results are kept: "auto" (of equal image, command and interface), "disable", a `flyte.Cache`.
            max_inline_io_bytes: Largest inputs or outputs in bytes.
            secrets: Not available yet.
            pod_template: Not available.
            queue: Queue that its actions wait in; as in the environment unless given.
            interruptible: Whether its actions may run on hosts whose capacity can be taken away; as in the environment
                unless given.
            max_inline_io: Another spelling of `max_inline_io_bytes`.

        Raises:
            TypeError: A value has the wrong type, or an input or output one that text cannot stand for.
            ValueError: A name is not valid, a template names no input, or a directory is not absolute.
            FeatureNotAvailableError: The feature of a documented parameter is not built yet.
        """
        where = f"ContainerTask {name!r}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f'the name of a container task must be letters, digits, "_" and "-" after a letter, not {name!r}'
            )
        refuse_parameters(where, secrets=secrets, pod_template=pod_template)
        self.reference, layered = _check_image(where, image)
        self.command = _check_words(where, "command", command)
        self.arguments = _check_words(where, "arguments", arguments)
        self.input_data_dir = _check_directory(where, "input_data_dir", input_data_dir)
        self.output_data_dir = _check_directory(where, "output_data_dir", output_data_dir)
        if _overlap(self.input_data_dir, self.output_data_dir):
            raise ValueError(f"{where}: input_data_dir and output_data_dir must be apart from each other")
        self._inputs = _check_inputs(where, inputs or {})
        self._outputs = _check_variables(where, "outputs", outputs or {})
        for word in (*self.command, *self.arguments):
            for used in TEMPLATE.findall(word):
                if used not in self._inputs:
                    known = ", ".join(self._inputs) or "none"
                    raise ValueError(f"{where}: {word!r} names {used!r}, which is no input (inputs: {known})")
        self.is_async = True
        self.environment = TaskEnvironment("container-tasks", image=layered)
        self.settings = TaskSettings(
            short_name=check_short_name(short_name),
            retries=retry_strategy(retries),
            timeout=timeout_of(timeout),
            max_inline_io_bytes=inline_limit(max_inline_io_bytes, max_inline_io),
            docs=Documentation(docs) if isinstance(docs, str) else docs,
            resources=check_resources(resources if resources is not None else Resources()),
            env_vars=check_env_vars(env_vars or {}),
            cache=None if cache is None else cache_of(cache, where),
            queue=check_queue(queue),
            interruptible=check_interruptible(interruptible),
        )
        self.origin = self
        self._interface = None
        self._is_placed = False
        self.__name__ = self.__qualname__ = name
        self.__module__ = caller()[1]
        self.func = self._function(name)
        self._check_types(where)

    # -- what tasks have ---------------------------------------------------------------------------------

    @property
    def cache(self) -> Cache:
        """How results are kept for equal calls; "auto" means of equal image, command, arguments and directories."""
        cache = super().cache
        if cache.behavior != "auto" or cache.policies:
            return cache
        image = {} if self.reference else self.image.to_spec()
        text = json.dumps([image, self.to_container()], sort_keys=True)
        return replace(cache, behavior="override", version_override=hashlib.sha256(text.encode()).hexdigest())

    def in_environment(self, environment: TaskEnvironment) -> ContainerTask:
        """This task as one of an environment: itself the first time, a copy for further environments."""
        if environment.reusable is not None:
            raise ValueError(
                f"container task {self.__name__!r} cannot be in environment {environment.name!r}, which is reusable: a "
                "container runs its program once. Put it into an environment of its own"
            )
        if self._is_placed:
            return self._variant(self.settings, environment)
        self.environment, self._is_placed = environment, True
        return self

    def to_spec(self) -> dict[str, Any]:
        """See `TaskTemplate.to_spec`."""
        self._check_placed()
        spec = super().to_spec()
        spec["is_async"] = False  # what runs has no coroutine that could clean up
        spec["container"] = self.to_container()
        if self.reference:
            spec["image"] = {"digest": "", "definition_json": ""}
        return spec

    def to_container(self) -> dict[str, Any]:
        """The `hangar.core.v1.Container` of the task as proto-JSON with snake_case names."""
        return {
            "image": self.reference,
            "command": self.command,
            "arguments": self.arguments,
            "input_directory": self.input_data_dir,
            "output_directory": self.output_data_dir,
            "output_files": list(self._outputs),
        }

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it: inside a task as a child action, elsewhere with the Docker engine of this machine. To be awaited."""
        if current_controller() is not None:
            self._check_placed()
        return super().__call__(*args, **kwargs)

    async def aio(self, *args: Any, **kwargs: Any) -> Any:
        """See `TaskTemplate.aio`."""
        return await self(*args, **kwargs)

    # -- its own -----------------------------------------------------------------------------------------

    def _function(self, name: str) -> Callable[..., Any]:
        """The function that local mode and plain calls use, with the signature of the declared interface."""

        async def run(*args: Any, **kwargs: Any) -> Any:
            from flyte.extras._local_container import run_container

            interface = self.interface
            values = interface.apply_defaults(interface.bind(args, kwargs))
            return interface.load_outputs(await run_container(self, interface.dump_inputs(values)))

        types = list(self._outputs.values())
        returns = (
            None if not types else types[0] if len(types) == 1 else tuple.__class_getitem__(tuple(types))
        )
        parameters = [
            inspect.Parameter(each, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)
            for each, (kind, default) in self._inputs.items()
        ]
        run.__name__ = run.__qualname__ = name
        run.__module__ = self.__module__
        run.__doc__ = f"Run {self.reference or 'a container'}."
        run.__annotations__ = {each: kind for each, (kind, _) in self._inputs.items()} | {"return": returns}
        run.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
        return run

    def _check_types(self, where: str) -> None:
        interface: Interface = self.interface
        named = zip(self._outputs, interface.outputs, strict=True)
        for name, variable in [*((each.name, each) for each in interface.inputs), *named]:
            if not is_supported(variable.schema):
                raise TypeError(
                    f"{where}: {name!r} has type {variable.codec.name}, which a file of text cannot stand for: use "
                    "int, float, str, bool, bytes, datetime, date, timedelta, File, Dir, or what is JSON (dataclasses)"
                )

    def _check_placed(self) -> None:
        if not self._is_placed:
            raise ValueError(
                f"container task {self.__name__!r} is in no environment: "
                f'env = flyte.TaskEnvironment.from_task("my_env", {self.__name__})'
            )

    def _variant(self, settings: TaskSettings, environment: TaskEnvironment | None = None) -> ContainerTask:
        if settings.reusable not in (None, "off"):
            raise ValueError(f"container task {self.__name__!r} cannot be reusable: it runs its program once")
        made = object.__new__(type(self))  # not copy.copy: a pickle names the task of a module
        made.__dict__.update(self.__dict__)
        made.settings = settings
        if environment is not None:
            made.environment, made._is_placed = environment, True
        made.func = made._function(self.__name__)
        return made


def _check_image(where: str, image: object) -> tuple[str, Image | None]:
    """The address of an image that is used as it is, or an image that has to be made."""
    if isinstance(image, str):
        image = Image.from_base(image)
    if not isinstance(image, Image):
        raise TypeError(f"{where}: image must be the address of an image or a flyte.Image, not {image!r}")
    fields = dict(image._base.fields)
    is_address = image._base.kind == "image" and fields.keys() == {"uri"} and not image._layers
    return (fields["uri"], None) if is_address else ("", image)


def _check_words(where: str, name: str, words: object) -> list[str]:
    if words is None:
        return []
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise TypeError(
            f'{where}: {name} must be a list of strings, such as ["sh", "-c", "…"], not {words!r}'
        )
    for word in words:
        if not isinstance(word, str) or "\0" in word:
            raise TypeError(f"{where}: {name} must be a list of strings, and has {word!r}")
    return list(words)


def _check_directory(where: str, name: str, directory: object) -> str:
    if not isinstance(directory, str):
        raise TypeError(f"{where}: {name} must be a string, not {directory!r}")
    path = PurePosixPath(directory)
    if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
        raise ValueError(f'{where}: {name} must be an absolute path below "/", not {directory!r}')
    return str(path)


def _overlap(one: str, other: str) -> bool:
    return PurePosixPath(one).is_relative_to(other) or PurePosixPath(other).is_relative_to(one)


def _check_variables(where: str, name: str, variables: object) -> dict[str, Any]:
    if not isinstance(variables, Mapping):
        raise TypeError(f"{where}: {name} must be a dict of names and types, not {variables!r}")
    for each in variables:
        if not isinstance(each, str) or not each.isidentifier():
            raise ValueError(f"{where}: {name} has {each!r}, which is no name: use letters, digits and _")
    return dict(variables)


def _check_inputs(where: str, inputs: object) -> dict[str, tuple[Any, Any]]:
    """Type and default of each input by name."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, given in _check_variables(where, "inputs", inputs).items():
        if isinstance(given, tuple):
            if len(given) != 2:
                raise ValueError(f"{where}: input {name!r} must be a type or a pair of type and default")
            found[name] = given
        elif any(default is not inspect.Parameter.empty for _, default in found.values()):
            raise ValueError(f"{where}: input {name!r} has no default, but one before it has: give it one")
        else:
            found[name] = given, inspect.Parameter.empty
    return found
