"""Caching on a backend: hits, misses, switches, and work that is done once for all."""

import json

import pytest

from hangar.core.v1.task_spec_pb2 import CACHE_STATUS_HIT as HIT
from hangar.core.v1.task_spec_pb2 import CACHE_STATUS_MISS as MISS
from hangar.core.v1.task_spec_pb2 import CACHE_STATUS_OVERWRITTEN as OVERWRITTEN
from hangar.core.v1.task_spec_pb2 import CACHE_STATUS_UNSPECIFIED as UNSPECIFIED
from integration_tests.polling import until

CACHED = """
    import asyncio
    import os
    import uuid
    from pathlib import Path

    import flyte

    env = flyte.TaskEnvironment(name="cached", resources=flyte.Resources(cpu="200m", memory="200Mi"))
    warm = flyte.TaskEnvironment(
        name="warm",
        resources=flyte.Resources(cpu="500m", memory="200Mi"),
        reusable=flyte.ReusePolicy(replicas=1, concurrency=30),
    )
    driver = flyte.TaskEnvironment(
        name="driver", resources=flyte.Resources(cpu="200m", memory="200Mi"), depends_on=[env, warm]
    )

    @env.task(cache="auto")
    def fresh(x: int, note: str = "") -> str:
        return f"{x} {uuid.uuid4()}"

    @warm.task(cache=flyte.Cache("auto", serialize=True, ignored_inputs="directory"))
    async def once(x: int, directory: str) -> str:
        marks = Path(directory)
        (marks / f"{uuid.uuid4()}.began").touch()
        while not (marks / "go").exists():
            await asyncio.sleep(0.01)
        if len(list(marks.glob("*.began"))) == 1 and x < 0:
            if (marks / "die").exists():
                os._exit(7)
            raise ValueError("the first fails")
        return uuid.uuid4().hex

    @driver.task
    async def crowd(x: int, directory: str) -> list[str]:
        found = await asyncio.gather(*[once(x, directory) for _ in range(20)], return_exceptions=True)
        return [type(each).__name__ if isinstance(each, Exception) else each for each in found]

    @driver.task
    async def twice(x: int) -> list[str]:
        return [await fresh.aio(x), await fresh.aio(x)]
"""


@pytest.fixture
def user(backend, make_workspace):
    """A user with cached tasks."""
    workspace = make_workspace(backend)
    workspace.write("cached.py", CACHED)
    return workspace


def number(user) -> int:
    """An input that no other test has used: the backend is shared, and so is what it keeps."""
    return abs(hash(str(user.directory))) % 10**9


def test_a_second_run_has_the_result_of_the_first(backend, user):
    """A hit ends at once with the recorded result, has no attempt, and says where the result is from."""
    x = number(user)
    first = user.launch("cached.py", "fresh", "--x", x)
    result = backend.api.succeeded(first)
    second = user.launch("cached.py", "fresh", "--x", x)
    assert backend.api.succeeded(second) == result
    shown = json.loads(user.flyte("get", "action", second, "a0", "-of", "json").out)
    assert (shown["cache_status"], shown["attempts"]) == ("hit", [])
    assert shown["cached_from"].endswith(f"/{first}/a0")
    other = user.launch("cached.py", "fresh", "--x", x, "--note", "y")
    assert backend.api.succeeded(other) != result


def test_children_hit_within_a_run_and_after_a_change_of_code_they_miss(backend, user):
    """The second equal call of a parent has the first one's result; a new function body is a new version."""
    x = number(user)
    run = user.launch("cached.py", "twice", "--x", x)
    one, two = backend.api.succeeded(run)
    assert one == two
    listed = json.loads(user.flyte("get", "action", run, "-of", "json").out)
    assert sorted(each["cache_status"] for each in listed) == ["disabled", "hit", "miss"]
    user.write("cached.py", CACHED.replace('f"{x} {uuid', 'f"{x}-{uuid'))
    changed = backend.api.succeeded(user.launch("cached.py", "twice", "--x", x))
    assert changed[0] == changed[1] != one


def test_a_run_can_overwrite_or_do_without_what_is_kept(backend, user):
    """`overwrite_cache` computes anew for everyone, `disable_run_cache` for itself only; domains share nothing."""
    user.write(
        "switches.py",
        """
        import sys

        import flyte
        from cached import fresh

        flyte.init_from_config()
        x = int(sys.argv[1])
        for options in ({}, {"disable_run_cache": True}, {}, {"overwrite_cache": True}, {}, {"domain": "staging"}):
            run = flyte.with_runcontext(**options).run(fresh, x=x)
            run.wait(quiet=True)
            print(run.name, run.outputs()[0])
        """,
    )
    lines = [line.split(" ", 1) for line in user.python("switches.py", number(user)).lines]
    kept, without, again, overwritten, then, elsewhere = lines
    statuses = [backend.api.action(name).cache_status for name, _ in lines[:5]]
    assert statuses == [MISS, UNSPECIFIED, HIT, OVERWRITTEN, HIT]
    assert kept[1] == again[1]
    assert overwritten[1] == then[1]
    assert len({kept[1], without[1], overwritten[1], elsewhere[1]}) == 4


@pytest.mark.parametrize("fails", ["", "raises", "dies"])
def test_of_equal_calls_at_once_one_computes(backend, user, tmp_path, fails):
    """Twenty callers of a serialized task share one result; when who computes fails or dies, one other does."""
    x = number(user)
    if fails == "dies":
        (tmp_path / "die").touch()
    run = user.launch("cached.py", "crowd", "--x", -x if fails else x, "--directory", str(tmp_path))
    (tmp_path / "go").touch()
    results = backend.api.succeeded(run)
    computed = [each for each in results if each != "RuntimeUserError"]
    assert len(set(computed)) == 1
    assert len(computed) == (19 if fails else 20)
    assert len(list(tmp_path.glob("*.began"))) == (2 if fails else 1)


def test_what_waits_for_another_computation_survives_a_restart(make_backend, make_workspace, tmp_path):
    """After `kill -9` of the backend those that wait still wait for the one that computes, which is adopted."""
    backend = make_backend(apart=True)
    user = make_workspace(backend)
    user.write("cached.py", CACHED)
    run = user.launch("cached.py", "crowd", "--x", 1, "--directory", str(tmp_path))
    until(lambda: len(backend.api.children(run)) == 20 and list(tmp_path.glob("*.began")), "all wait", 60)
    backend.kill()
    backend.start()
    (tmp_path / "go").touch()
    assert len(set(backend.api.succeeded(run, 90))) == 1
    assert len(list(tmp_path.glob("*.began"))) == 1
