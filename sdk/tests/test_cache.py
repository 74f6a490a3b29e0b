"""Caching: settings, versions and keys, and what local mode does with them."""

from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path

import pytest

import flyte
import flyte.errors
from flyte._cache import cache_key, cache_of
from flyte._local import run_local
from flyte._local._cache import LocalCache
from flyte._task_spec import cacheable_spec
from flyte._types import digest

env = flyte.TaskEnvironment("cache_tests")
calls: list[object] = []


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """Runs and results go to a directory of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("UCTL_CONFIG", "FLYTECTL_CONFIG", "FLYTE_LOCAL_CACHE_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    calls.clear()


@env.task(cache="auto")
def square(x: int) -> int:
    """Keeps its results."""
    calls.append(x)
    return x * x


@env.task(cache=flyte.Cache("override", version_override="1", ignored_inputs="verbose"))
async def quiet(x: int, verbose: bool = False) -> int:
    """Does not mind how it talks."""
    calls.append((x, verbose))
    return -x


@env.task(cache="auto")
def fails(x: int) -> int:
    """Raises."""
    calls.append(x)
    raise ValueError("no")


@env.task
async def twice(x: int) -> list[int]:
    """Calls the same thing twice."""
    return [await square.aio(x), await square.aio(x)]


# -- settings


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("sometimes",), ValueError, "behavior"),
        (("override",), ValueError, "needs version_override"),
        (("auto", "1"), ValueError, "at odds"),
        (("override", 1), TypeError, "version_override"),
        (("auto", None, "yes"), TypeError, "serialize"),
        (("auto", None, False, (1,)), TypeError, "ignored_inputs"),
        (("auto", None, False, (), 3), TypeError, "salt"),
        (("auto", None, False, (), "", object()), TypeError, "get_version"),
    ],
)
def test_wrong_settings_are_refused_by_name(arguments, error, message):
    """Each wrong value is named when the `Cache` is made."""
    with pytest.raises(error, match=message):
        flyte.Cache(*arguments)


@pytest.mark.parametrize("value", ["sometimes", 3, None, True])
def test_what_is_no_cache_setting_is_refused_where_it_was_given(value):
    """The message says which environment or task it was, and what is possible."""
    with pytest.raises((TypeError, ValueError), match=r'environment .e.: cache.*"auto"'):
        flyte.TaskEnvironment("e", cache=value)


def test_override_needs_a_version():
    """The short form "override" has no place for a version."""
    with pytest.raises(ValueError, match="version_override"):
        cache_of("override", "here")


def test_the_nearest_setting_counts():
    """Override wins over the decorator, the decorator over the environment, whose default is off."""
    kept = flyte.TaskEnvironment("kept", cache="auto")

    @kept.task
    def from_environment() -> None: ...

    @kept.task(cache="disable")
    def from_decorator() -> None: ...

    assert (from_environment.cache.behavior, from_decorator.cache.behavior) == ("auto", "disable")
    assert from_decorator.override(cache="auto").cache.behavior == "auto"
    assert from_environment.override(cache="disable").cache.behavior == "disable"
    assert twice.cache.behavior == "disable"
    assert kept.clone_with("other").cache.behavior == "auto"


def test_ignored_inputs_must_be_parameters():
    """A misspelled name would silently count: it is refused when the task is described."""

    @env.task(cache=flyte.Cache("auto", ignored_inputs=("verbos",)))
    def task(verbose: bool) -> None: ...

    with pytest.raises(ValueError, match=r"'verbos', which is no parameter: verbose"):
        cacheable_spec(task)


# -- versions and keys


def version_of(tmp_path: Path, monkeypatch, source: str, cache: flyte.Cache) -> str:
    """The version of function `f` of some source."""
    file = tmp_path / "versioned.py"
    file.write_text(textwrap.dedent(source))
    names: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    import linecache

    linecache.checkcache()
    return cache.version(flyte.VersionParameters(names["f"]))  # type: ignore[arg-type]


SAME = ["def f(x):\n    return x", "def f( x ):\n    # a comment\n\n    return   x", "\n\ndef f(x): return x"]
DIFFERENT = ["def f(x):\n    return x", "def f(y):\n    return y", 'def f(x):\n    """Doc."""\n    return x']


def test_the_version_follows_code_not_layout(tmp_path, monkeypatch):
    """Whitespace and comments do not count; code and docstring do."""
    auto = flyte.Cache("auto")
    assert len({version_of(tmp_path, monkeypatch, source, auto) for source in SAME}) == 1
    assert len({version_of(tmp_path, monkeypatch, source, auto) for source in DIFFERENT}) == 3


def test_salt_and_policies_change_the_version(tmp_path, monkeypatch):
    """Each of them is part of the version."""

    class Fixed:
        def get_version(self, salt: str, params: flyte.VersionParameters) -> str:
            return "fixed"

    caches = [
        flyte.Cache("auto"),
        flyte.Cache("auto", salt="s"),
        flyte.Cache("auto", policies=Fixed()),
        flyte.Cache("auto", policies=[Fixed(), flyte.FunctionBodyPolicy()]),
        flyte.Cache("override", version_override="1"),
        flyte.Cache("override", version_override="1", salt="s"),
    ]
    versions = [version_of(tmp_path, monkeypatch, SAME[0], cache) for cache in caches]
    assert len(set(versions)) == len(caches)


def test_a_function_without_source_says_what_to_do():
    """Such as one that was made by `exec`."""
    names: dict[str, object] = {}
    exec("def f(x): return x", names)
    with pytest.raises(ValueError, match="version_override"):
        flyte.Cache("auto").version(flyte.VersionParameters(names["f"]))  # type: ignore[arg-type]


def key_of(task, **values) -> str:
    """What the result of a call is kept under."""
    document = task.interface.dump_inputs(values)
    return cache_key(cacheable_spec(task), document, digest(document))


def test_the_key_is_of_task_version_and_inputs_that_count():
    """Equal calls have one key; another input, salt or task has another; ignored inputs do not count."""
    assert key_of(square, x=1) == key_of(square, x=1)
    salted = square.override(cache=flyte.Cache("auto", salt="s"))
    assert len({key_of(square, x=1), key_of(square, x=2), key_of(salted, x=1), key_of(fails, x=1)}) == 4
    assert key_of(quiet, x=1, verbose=True) == key_of(quiet, x=1) != key_of(quiet, x=2)
    assert key_of(twice, x=1) == ""


# -- local mode


def statuses(run) -> list[str]:
    """What the cache did for each action of a run."""
    return [action.cache_status for action in run.actions]


def test_a_second_run_has_the_result_without_running():
    """The result of a root action is found by a later run."""
    first, second = run_local(square, 3), run_local(square, 3)
    assert (first.result(), second.result(), calls) == (9, 9, [3])
    assert (statuses(first), statuses(second)) == (["miss"], ["hit"])


def test_children_are_found_within_a_run():
    """The second equal call of a parent has the first one's result; the parent itself is not cached."""
    run = run_local(twice, 4)
    assert (run.result(), calls, statuses(run)) == ([16, 16], [4], ["disabled", "miss", "hit"])


def test_ignored_inputs_still_hit():
    """The value that does not count is that of the first call."""
    run_local(quiet, 1)
    assert run_local(quiet, 1, verbose=True).result() == -1
    assert calls == [(1, False)]


def test_failures_are_not_kept():
    """A failed call runs again."""
    for _ in range(2):
        with pytest.raises(flyte.errors.RuntimeUserError):
            run_local(fails, 1).result()
    assert calls == [1, 1]


def test_a_run_can_overwrite_what_is_kept():
    """The call runs again, and its result is what later runs find."""
    cache = LocalCache(Path.home() / ".flyte" / "local-cache" / "cache.db")
    run_local(square, 3)
    cache.store(key_of(square, x=3), square.name, square.interface.dump_outputs(-1))
    assert run_local(square, 3).result() == -1
    run = flyte.with_runcontext(mode="local", overwrite_cache=True).run(square, 3)
    assert (run.result(), statuses(run)) == (9, ["overwritten"])
    assert run_local(square, 3).result() == 9


def test_a_run_can_do_without_the_cache():
    """It neither finds nor keeps anything."""
    without = flyte.with_runcontext(mode="local", disable_run_cache=True)
    assert statuses(without.run(square, 3)) == ["disabled"]
    assert statuses(run_local(square, 3)) == ["miss"]
    assert statuses(without.run(square, 3)) == ["disabled"]


def test_the_cache_is_beside_the_configuration_and_can_be_switched_off(tmp_path, monkeypatch):
    """`FLYTE_LOCAL_CACHE_ENABLED=false` keeps nothing; else the file is where the documentation says."""
    (tmp_path / ".flyte").mkdir()
    (tmp_path / "config.yaml").write_text("local: {persistence: false}\n")
    monkeypatch.setenv("FLYTE_LOCAL_CACHE_ENABLED", "false")
    run_local(square, 3)
    assert not (tmp_path / "local-cache").exists()
    monkeypatch.delenv("FLYTE_LOCAL_CACHE_ENABLED")
    run_local(square, 3)
    assert (tmp_path / "local-cache" / "cache.db").is_file()


def test_a_broken_cache_file_is_named(tmp_path):
    """The error says which file it is and what to do."""
    file = tmp_path / ".flyte" / "local-cache" / "cache.db"
    file.parent.mkdir(parents=True)
    file.write_text("this is no database" * 100)
    with pytest.raises(flyte.errors.RuntimeSystemError, match="Delete the file"):
        run_local(square, 3).result()


serial = flyte.Cache("auto", serialize=True)


@env.task(cache=serial)
async def once(x: int) -> int:
    """Takes until the others wait."""
    calls.append(x)
    for _ in range(20):
        await asyncio.sleep(0)
    if x < 0 and len(calls) == 1:
        raise ValueError("the first fails")
    return x


@env.task
async def many(x: int) -> list[object]:
    """Calls it often at the same time."""
    results = await asyncio.gather(*[once(x) for _ in range(20)], return_exceptions=True)
    return [str(result) if isinstance(result, Exception) else result for result in results]


def test_of_serialized_calls_one_computes():
    """Twenty equal calls at the same time run the body once."""
    assert run_local(many, 5).result() == [5] * 20
    assert calls == [5]


def test_when_the_one_that_computes_fails_another_takes_over():
    """The failure is the first caller's; the others get a result."""
    results = run_local(many, -5).result()
    assert results[1:] == [-5] * 19
    assert "the first fails" in results[0]
    assert calls == [-5, -5]


@env.task(cache=serial)
async def nested(x: int) -> int:
    """Calls itself with its own inputs."""
    calls.append(x)
    return x if len(calls) > 1 else await nested(x)


def test_an_action_does_not_wait_for_what_it_is_part_of():
    """A serialized task that calls itself with the same inputs runs."""
    assert run_local(nested, 1).result() == 1
