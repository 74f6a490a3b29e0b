"""Tasks: declaring, calling, overriding."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
from datetime import timedelta

import cloudpickle
import pytest

import flyte
from flyte._context import ActionID, TaskContext, running

env = flyte.TaskEnvironment("task_tests", resources=flyte.Resources(cpu=2), env_vars={"A": "env"})
pool = flyte.TaskEnvironment("pool_tests", reusable=flyte.ReusePolicy(replicas=3))


@env.task
def add(x: int, y: int = 1) -> int:
    """Adds two numbers.

    Args:
        x: The first number.
        y: The other one.
    """
    return x + y


@env.task(short_name="slow add", retries=2, timeout=60, docs="In other words", max_inline_io_bytes=1000)
async def aadd(x: int, y: int = 1) -> int:
    """Adds two numbers."""
    return x + y


@pool.task
async def pooled(x: int) -> int:
    """Runs in a warm worker."""
    return x


class Recorder:
    """A controller that answers with the call."""

    async def submit(self, task, args, kwargs):
        """Gives the call itself."""
        return "async", task, args, kwargs

    def submit_sync(self, task, args, kwargs):
        """Gives the call itself."""
        return "sync", task, args, kwargs


INSIDE = (TaskContext(ActionID("a0", "r")), Recorder())


def test_outside_a_run_calls_are_plain():
    """A task is its function, sync or async."""
    assert add(1, y=2) == 3
    assert asyncio.run(aadd(1)) == 2


async def test_outside_a_run_twins_are_plain():
    """`.aio` awaits either kind."""
    assert await add.aio(1) == 2
    assert await aadd.aio(1, y=5) == 6


async def test_inside_a_run_calls_are_children():
    """Sync tasks block, async ones and `.aio` are awaited."""
    with running(*INSIDE):
        assert add(1, y=2) == ("sync", add, (1,), {"y": 2})
        assert await aadd(1) == ("async", aadd, (1,), {})
        assert await add.aio(3) == ("async", add, (3,), {})


async def test_forward_never_makes_an_action():
    """`forward` is the function itself, anywhere."""
    with running(*INSIDE):
        assert add.forward(1) == 2
        assert await aadd.forward(1) == 2


async def test_calls_of_async_tasks_can_be_scheduled():
    """`asyncio.create_task` wants a coroutine, inside and outside."""
    assert await asyncio.create_task(aadd(1)) == 2
    with running(*INSIDE):
        assert (await asyncio.create_task(aadd(1)))[0] == "async"


def test_metadata_of_the_function_is_kept():
    """Tools that look at functions see the function."""
    assert (add.__name__, add.__module__, inspect.getdoc(add)) == ("add", __name__, inspect.getdoc(add.func))
    assert list(inspect.signature(add).parameters) == ["x", "y"]
    assert asyncio.iscoroutinefunction(aadd)
    assert not asyncio.iscoroutinefunction(add)
    assert repr(add) == "<task task_tests.add>"


def test_names_and_descriptions():
    """Qualified name, shown name, and words from docs or docstring."""
    assert (add.name, add.short_name, add.description) == ("task_tests.add", "add", "Adds two numbers.")
    assert (aadd.name, aadd.short_name, aadd.description) == ("task_tests.aadd", "slow add", "In other words")
    assert env.task(docs=flyte.Documentation("words"))(add.func).description == "words"


def test_settings_come_from_override_then_decorator_then_environment():
    """The most specific one wins, and the original is unchanged."""
    changed = aadd.override(
        short_name="other",
        resources=flyte.Resources(cpu=8),
        env_vars={"B": "override"},
        retries=5,
        timeout=timedelta(seconds=3),
        max_inline_io_bytes=7,
        reusable=flyte.ReusePolicy(),
        cache="disable",
    )
    assert (aadd.resources.cpu, dict(aadd.env_vars), aadd.retries.count) == (2, {"A": "env"}, 2)
    assert (aadd.timeout.runtime_seconds, aadd.max_inline_io_bytes, aadd.reusable) == (60, 1000, None)
    assert (changed.resources.cpu, dict(changed.env_vars), changed.retries.count) == (8, {"B": "override"}, 5)
    assert (changed.timeout.runtime_seconds, changed.max_inline_io_bytes) == (3, 7)
    assert (changed.short_name, changed.name, changed.reusable) == (
        "other",
        "task_tests.aadd",
        flyte.ReusePolicy(),
    )
    again = changed.override(retries=0)
    assert (again.retries.count, again.resources.cpu, again.origin) == (0, 8, aadd)
    assert asyncio.run(again(1)) == 2


@pytest.mark.parametrize("name", ["name", "image", "docs", "interface"])
def test_what_a_task_is_cannot_be_overridden(name):
    """Name, image, docs and interface are the task's own."""
    with pytest.raises(ValueError, match=f"task_tests.add.override: {name} cannot be overridden"):
        add.override(**{name: "x"})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"colour": 1}, TypeError, "unexpected keyword argument 'colour'"),
        ({"report": True}, TypeError, "unexpected keyword argument 'report'"),
        ({"resources": "big"}, TypeError, "resources must be flyte.Resources"),
        ({"retries": "3"}, TypeError, "retries must be an int"),
        ({"timeout": "2h"}, TypeError, "max_runtime must be seconds or a timedelta, not '2h'"),
        ({"env_vars": {"A": 1}}, TypeError, "env_vars must be a dict of strings"),
        ({"reusable": "on"}, TypeError, "reusable must be flyte.ReusePolicy"),
        ({"max_inline_io_bytes": 0}, ValueError, "max_inline_io_bytes must be at least 1"),
        ({"max_inline_io_bytes": "1Mi"}, TypeError, "max_inline_io_bytes must be an int"),
        ({"cache": "maybe"}, ValueError, "cache='maybe' must be"),
        ({"queue": "Q"}, ValueError, "queue='Q' must be"),
        ({"interruptible": 1}, TypeError, "interruptible must be True or False"),
        ({"entrypoint": "yes"}, TypeError, "entrypoint must be True or False"),
        ({"links": ["x"]}, TypeError, "links: 'x' must have a name and a method get_link"),
        ({"links": "x"}, TypeError, "links must be a list"),
    ],
)
def test_wrong_overrides_are_refused(arguments, error, message):
    """Every refusal says what was wrong."""
    with pytest.raises(error, match=message):
        add.override(**arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("secrets", "key"),
        ("pod_template", "p"),
    ],
)
def test_overrides_of_later_versions_are_refused_by_name(name, value):
    """Never accepted and ignored."""
    with pytest.raises(flyte.errors.FeatureNotAvailableError, match=rf"add.override\({name}="):
        add.override(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pod_template", "p"),
        ("triggers", ["t"]),
        ("task_resolver", object()),
    ],
)
def test_decorator_parameters_of_later_versions_are_refused_by_name(name, value):
    """Never accepted and ignored."""
    with pytest.raises(flyte.errors.FeatureNotAvailableError, match=rf"task_tests.task\({name}="):
        env.task(**{name: value})


@pytest.mark.parametrize("name", ["resources", "env_vars", "secrets"])
def test_a_pool_keeps_its_settings_unless_it_is_left(name):
    """What belongs to the workers of a pool can only change without the pool."""
    values = {"resources": flyte.Resources(cpu=1), "env_vars": {"A": "1"}, "secrets": "key"}
    with pytest.raises(ValueError, match=f'override: {name} of a reusable environment.*reusable="off"'):
        pooled.override(**{name: values[name]})


def test_a_pool_can_be_left():
    """`reusable="off"` gives a worker of its own, with other resources."""
    alone = pooled.override(reusable="off", resources=flyte.Resources(cpu=1), env_vars={"A": "1"})
    assert (alone.reusable, alone.resources.cpu) == (None, 1)
    assert alone.override(resources=flyte.Resources(cpu=2)).resources.cpu == 2
    assert pooled.reusable == flyte.ReusePolicy(replicas=3)


def test_sync_functions_need_a_worker_each():
    """Concurrency in one worker is for async tasks."""
    busy = flyte.TaskEnvironment("busy", reusable=flyte.ReusePolicy(concurrency=2))
    with pytest.raises(
        ValueError, match=r"busy.add is a sync function.*write `async def`, or use concurrency=1"
    ):
        busy.task(add.func)
    with pytest.raises(ValueError, match="is a sync function"):
        add.override(reusable=flyte.ReusePolicy(concurrency=2))
    assert busy.task(aadd.func).reusable == flyte.ReusePolicy(concurrency=2)


def _logged(func):
    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        return func(*args, **kwargs)

    return wrapper


def test_decorated_functions_have_the_inputs_of_the_function():
    """A decorator below `@env.task` may pass on whatever it gets."""

    @env.task
    @_logged
    def wrapped(x: int) -> int:
        return x

    assert wrapped(3) == 3
    assert [variable.name for variable in wrapped.interface.inputs] == ["x"]


def test_tasks_inside_functions_can_be_pickled_by_value():
    """A task that no module has travels with its code."""

    @env.task
    def local(x: int) -> int:
        return x + 1

    assert cloudpickle.loads(cloudpickle.dumps(local))(1) == 2


def _generator():
    yield 1


async def _async_generator():
    yield 1


@pytest.mark.parametrize(
    ("func", "error", "message"),
    [
        (lambda x: x, TypeError, "not a lambda"),
        (print, TypeError, "decorates a function, not <built-in function print>"),
        (int, TypeError, "decorates a function"),
        (add, TypeError, "decorates a function, not <task"),
        (_generator, TypeError, "_generator is a generator"),
        (_async_generator, TypeError, "_async_generator is a generator"),
    ],
)
def test_what_is_no_function_cannot_be_a_task(func, error, message):
    """The message says what to write instead."""
    with pytest.raises(error, match=message):
        env.task(func)


def test_inputs_must_have_names():
    """*args and **kwargs are refused when the task is declared."""

    def many(*values: int) -> int:
        return sum(values)

    def named(**values: int) -> int:
        return sum(values.values())

    for func in (many, named):
        with pytest.raises(ValueError, match=r"has \*args or \*\*kwargs: name every input"):
            env.task(func)


def test_tasks_of_modules_are_pickled_by_name():
    """A task that is passed as a value stays the module's own; an override keeps its settings."""
    changed = add.override(retries=4)
    assert pickle.loads(pickle.dumps(add)) is add
    loaded = pickle.loads(pickle.dumps(changed))
    assert (loaded.origin, loaded.settings) == (add, changed.settings)
    assert copy.copy(add).name == "task_tests.add"
