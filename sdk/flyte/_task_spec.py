"""The task spec: what the platform needs to run a task."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from flyte import _code
from flyte._cache import cache_spec
from flyte._context import get_custom_context
from flyte._link import link_specs

if TYPE_CHECKING:
    from flyte._task import TaskTemplate
    from flyte._types import Interface, Variable


def task_spec(task: TaskTemplate[Any, Any]) -> dict[str, Any]:
    """The `hangar.core.v1.TaskSpec` of a task as proto-JSON with snake_case names.

    Raises:
        ValueError: The task cannot be imported by a name.
        TypeError: What an input or output is annotated with is no type.
    """
    identity = _code.current()
    module, attribute = task.location
    spec: dict[str, Any] = {
        "name": task.name,
        "short_name": task.short_name,
        "environment": task.environment.name,
        "interface": interface_spec(task.interface),
        "resources": task.resources.to_spec(),
        "image": _image(task, identity),
        "code": {
            "bundle_digest": identity.bundle_digest,
            "module": module,
            "attribute": attribute,
            "version": identity.version,
            "python_path": list(identity.python_path),
            "pickle": identity.pickle if module in identity.pickled_modules else "",
        },
        "retry": task.retries.to_spec(),
        "timeout": task.timeout.to_spec(),
        "env_vars": dict(task.env_vars),
        "description": task.description,
        "is_async": task.is_async,
        "max_inline_io_bytes": task.max_inline_io_bytes,
    }
    cache = cache_spec(task, identity.bundle_digest)
    if cache is not None:
        spec["cache"] = cache
    if task.report:
        spec["report"] = True
    if task.queue:
        spec["queue"] = task.queue
    if task.interruptible:
        spec["interruptible"] = True
    if task.entrypoint:
        spec["entrypoint"] = True
    if task.links:
        spec["links"] = link_specs(task.links, get_custom_context())
    if task.reusable is not None:
        spec["reuse"] = task.reusable.to_spec()
    return spec


def _image(task: TaskTemplate[Any, Any], identity: _code.CodeIdentity) -> dict[str, Any]:
    """The image of a task: as it was defined where the run was started, else as it is defined here."""
    from flyte._image_definition import Resolved

    if task.runs_python and not task.image.has_sdk:
        raise ValueError(
            f"task {task.name} runs Python: its image must have the SDK (install_flyte=False is for container tasks)"
        )
    definition = identity.images.get(task.environment.name)
    return task.image.to_spec() if definition is None else Resolved(definition).to_spec()


def cacheable_spec(task: TaskTemplate[Any, Any]) -> dict[str, Any]:
    """What of a task's spec tells under which key its results are kept.

    Raises:
        ValueError: The version of its results cannot be told, or an ignored input is no parameter.
    """
    identity = _code.current()
    return {
        "name": task.name,
        "interface": interface_spec(task.interface),
        "cache": cache_spec(task, identity.bundle_digest),
    }


def location(task: TaskTemplate[Any, Any]) -> tuple[str, str]:
    """Module and attribute that a task can be imported by; of one that is pickled, its module and its name.

    Raises:
        ValueError: It cannot be imported, with the reason and the fix.
    """
    origin = task.origin
    module = origin.func.__module__
    if module in _code.current().pickled_modules:
        return module, task.name
    attribute = _attribute(origin, module)
    if attribute is None:
        raise ValueError(
            f"task {task.name} is no attribute of module {module}: define it at the top level of a module, "
            "not inside a function or class, and do not reuse its name"
        )
    if module == "__main__":
        main = _code.current().main_module or _main_module()
        if main is None:
            raise ValueError(
                f"task {task.name} was defined interactively: put it into a file, so that it can be imported"
            )
        return main, attribute
    return module, attribute


def _attribute(task: TaskTemplate[Any, Any], module: str) -> str | None:
    names: dict[str, Any] = vars(sys.modules[module]) if module in sys.modules else {}
    if names.get(task.func.__name__) is task:
        return str(task.func.__name__)
    return next((name for name, value in names.items() if value is task), None)


def _main_module() -> str | None:
    """Name that what runs as `__main__` can be imported by: of `python -m name`, else the script's stem."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if not file or not file.endswith(".py"):
        return None
    stem: str = file.replace("\\", "/").rpartition("/")[2].removesuffix(".py")
    return stem if stem.isidentifier() else None


def interface_spec(interface: Interface) -> dict[str, Any]:
    """The `hangar.core.v1.Interface` of inputs and outputs as proto-JSON."""
    return {
        "inputs": [_variable(variable) for variable in interface.inputs],
        "outputs": [_variable(variable) for variable in interface.outputs],
    }


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "schema_json": json.dumps(variable.schema, separators=(",", ":"), ensure_ascii=False),
        "type_name": variable.type_name,
        "required": variable.required,
        "default_json": variable.default_json or "",
        "description": variable.description,
    }
