"""Settings of environment, decorator, override and run: which one holds, and what becomes of it."""

from __future__ import annotations

import itertools
import logging
from datetime import timedelta

import pytest

import flyte
from flyte._link import filled
from flyte._local import run_local

env = flyte.TaskEnvironment("policies", queue="env-queue", interruptible=True, cache="auto")
plain = flyte.TaskEnvironment("plain_policies")


class Board:
    """A link whose address quotes what it is given."""

    name = "Board"

    def get_link(
        self, run_name, project, domain, context, parent_action_name, action_name, pod_name, **kwargs
    ):
        """The address."""
        from urllib.parse import quote

        where = "/".join(quote(part) for part in (project, domain, run_name, parent_action_name, action_name))
        return f"https://board.example.com/{where}?team={context.get('team', '')}&pod={pod_name}"


@env.task
def inherits() -> int:
    """A task with its environment's settings."""
    return 1


@env.task(queue="own-queue", interruptible=False, cache="disable", entrypoint=True, links=[Board()])
def decides() -> int:
    """A task with settings of its own."""
    return 1


@plain.task
async def contexts(depth: int) -> list[dict[str, str]]:
    """The custom context here and below."""
    here = [flyte.get_custom_context()]
    if depth:
        here += await contexts(depth - 1)
        with flyte.custom_context(tenant=f"t{depth}", extra="x"):
            here += await contexts(depth - 1)
        assert flyte.get_custom_context() == here[0]
    return here


@plain.task
def logs() -> int:
    """Says something of little importance."""
    flyte.logger.debug("a detail")
    return 1


def test_the_most_specific_setting_holds():
    """Environment, then decorator, then override: each over the one before; False is a setting, None is none."""
    given = [(task.queue, task.interruptible, task.cache.behavior) for task in (inherits, decides)]
    assert given == [("env-queue", True, "auto"), ("own-queue", False, "disable")]
    overridden = decides.override(queue="gpu", interruptible=True, cache="auto", entrypoint=False)
    assert (overridden.queue, overridden.interruptible, overridden.cache.behavior) == ("gpu", True, "auto")
    assert (overridden.entrypoint, decides.entrypoint, inherits.entrypoint) == (False, True, False)
    assert inherits.override(interruptible=False).interruptible is False
    assert inherits.override(retries=1).queue == "env-queue"
    assert overridden.links == decides.links
    assert inherits.override(links=[Board()]).links[0].name == "Board"
    assert (overridden.links != (), overridden.override(links=[]).links) == (True, ())


def test_settings_reach_the_definition_and_only_when_they_are_set():
    """Queue, interruptible, entrypoint and links are in the spec; a plain task's spec has none of them."""
    spec = decides.override(interruptible=True).to_spec()
    assert (spec["queue"], spec["interruptible"], spec["entrypoint"]) == ("own-queue", True, True)
    assert spec["links"][0]["name"] == "Board"
    assert not {"queue", "interruptible", "entrypoint", "links"} & logs.to_spec().keys()


def test_a_link_is_filled_in_for_each_action():
    """What a link was given stands for run and action, also behind its quoting."""
    with flyte.custom_context(team="red"):
        url = decides.to_spec()["links"][0]["url"]
    shown = filled(url, run="r1", project="p", domain="d", action="a7", parent="a0")
    assert shown == "https://board.example.com/p/d/r1/a0/a7?team=red&pod="


@pytest.mark.parametrize("wrong", [None, "", 7, ZeroDivisionError()])
def test_a_link_that_gives_no_address_is_named(wrong):
    """A link that raises or gives something else is refused where the task is described."""

    class Bad:
        name = "Bad"

        def get_link(self, **kwargs):
            if isinstance(wrong, Exception):
                raise wrong
            return wrong

    with pytest.raises(ValueError, match="link 'Bad': get_link"):
        inherits.override(links=[Bad()]).to_spec()


def test_backoff_in_the_spec():
    """Base, factor, cap and jitter arrive in milliseconds and as numbers."""
    strategy = flyte.RetryStrategy(3, flyte.Backoff(base=0.5, factor=2, cap=timedelta(minutes=1)))
    assert strategy.to_spec() == {
        "count": 3,
        "backoff_base_millis": 500,
        "backoff_factor": 2.0,
        "backoff_cap_millis": 60_000,
        "backoff_jitter": 0.1,
    }
    assert [strategy.backoff.seconds(failures) for failures in (1, 2, 3, 9)] == [0.5, 1.0, 2.0, 60.0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"base": 0}, ValueError, "base must be more than 0"),
        ({"base": -1}, ValueError, "base must not be negative"),
        ({"base": "1s"}, TypeError, "base must be seconds or a timedelta"),
        ({"base": 5, "cap": 1}, ValueError, "cap=1 must not be less than base=5"),
        ({"base": 1, "factor": 0.5}, ValueError, "factor must be between 1 and 1000"),
        ({"base": 1, "factor": float("nan")}, ValueError, "factor must be between"),
        ({"base": 1, "factor": "2"}, TypeError, "factor must be a number"),
        ({"base": 1, "jitter": 2}, ValueError, "jitter must be between 0 and 1"),
        ({"base": 1, "jitter": True}, TypeError, "jitter must be a number"),
    ],
)
def test_wrong_backoffs_are_refused(arguments, error, message):
    """Every refusal names the field, the value and the fix."""
    with pytest.raises(error, match=message):
        flyte.Backoff(**arguments)


def test_a_backoff_is_one():
    """Anything else is refused by type."""
    with pytest.raises(TypeError, match=r"backoff must be flyte\.Backoff"):
        flyte.RetryStrategy(2, backoff=5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"queue": "A B"}, ValueError, "queue='A B' must be"),
        ({"interruptible": "no"}, TypeError, "interruptible must be True or False"),
        ({"annotations": {"a": 1}}, TypeError, "annotations: 'a'=1 must be text"),
        ({"custom_context": {"a": None}}, TypeError, "custom_context: 'a'=None must be text"),
        ({"custom_context": {"": "x"}}, ValueError, "the key '' has 0 characters"),
        ({"custom_context": {"a": "x" * 4097}}, ValueError, "'a' has 4097 characters: use up to 4096"),
        ({"name": 3}, TypeError, "name must be text, not 3"),
        ({"version": 3}, TypeError, "version must be text, not 3: write version='3'"),
        ({"version": ""}, ValueError, "version='' is not valid"),
        ({"version": "a b/c"}, ValueError, "version='a b/c' is not valid"),
        ({"version": "../x"}, ValueError, "the first a letter or digit"),
        ({"version": "x" * 256}, ValueError, "use 1 to 255"),
        ({"labels": ["a"]}, TypeError, "labels must be a dict of texts, not"),
        ({"labels": {"a": "x" * 257}}, ValueError, "'a' has 257 characters: use up to 256"),
        ({"labels": {str(n): "" for n in range(65)}}, ValueError, "has 65 entries: use up to 64"),
        ({"annotations": {"a": "\ud800"}}, ValueError, "no valid Unicode text"),
        ({"env_vars": {"A=": "x"}}, ValueError, "env_vars: 'A='='x' is no valid environment variable"),
        ({"env_vars": {"A": "\ud800"}}, ValueError, "is no valid environment variable"),
        ({"log_level": "loud"}, ValueError, "log_level='loud' must be a level"),
        ({"log_level": 1.5}, TypeError, "log_level must be a level"),
        ({"log_format": "xml"}, ValueError, "log_format='xml' must be"),
        ({"copy_bundle_to": "/x"}, ValueError, "with dry_run=True only"),
        ({"raw_data_path": "/a", "raw_data_storage": "/b"}, ValueError, "are the same setting"),
        (
            {"mode": "remote", "raw_data_path": "s3://b"},
            flyte.errors.FeatureNotAvailableError,
            "no credentials",
        ),
        (
            {"mode": "remote", "raw_data_storage": "/b"},
            flyte.errors.FeatureNotAvailableError,
            "no credentials",
        ),
        ({"service_account": "x"}, flyte.errors.FeatureNotAvailableError, "service_account="),
        ({"debug": True}, flyte.errors.FeatureNotAvailableError, 'debug=.*mode="local"'),
        (
            {"preserve_original_types": False},
            flyte.errors.FeatureNotAvailableError,
            "preserve_original_types=",
        ),
        ({"cache_lookup_scope": "team"}, ValueError, "cache_lookup_scope='team' must be"),
        ({"notifications": "https://x"}, TypeError, r"notifications must be flyte\.notify\.Webhook"),
        ({"overwrite_cache": True, "disable_run_cache": True}, ValueError, "exclude each other"),
    ],
)
def test_wrong_run_settings_are_refused(arguments, error, message):
    """Every refusal names the field, the value and the fix, or what to do instead."""
    with pytest.raises(error, match=message):
        flyte.with_runcontext(**arguments)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: flyte.notify.Webhook("ftp://x/y"), ValueError, "must begin with https://"),
        (lambda: flyte.notify.Webhook(5), TypeError, "url must be text"),
        (lambda: flyte.notify.Webhook("https://x", on_phase="done"), ValueError, "'done' is no phase"),
        (lambda: flyte.notify.Webhook("https://x", on_phase=[]), ValueError, "on_phase is empty"),
        (
            lambda: flyte.notify.Webhook("https://x", headers={"A": "b\r\nC: d"}),
            ValueError,
            "no valid header",
        ),
        (lambda: flyte.notify.Webhook("https://x", headers={"Host": "y"}), ValueError, "set by the platform"),
        (lambda: flyte.notify.Webhook("https://x", body={1, 2}), TypeError, "must be a JSON value"),
        (lambda: flyte.notify.Slack("https://x", message=5), TypeError, "message must be text"),
        (lambda: flyte.notify.Email, AttributeError, "send a flyte.notify.Webhook"),
    ],
)
def test_wrong_notifications_are_refused(make, error, message):
    """Every refusal names the field, the value and the fix."""
    with pytest.raises(error, match=message):
        make()


def test_notifications_are_one_or_several():
    """One or a list; phases in any spelling; Slack is a webhook with a text."""
    hook = flyte.notify.Webhook(
        "https://a.example.com/x", on_phase=["failed", flyte.models.ActionPhase.RUNNING]
    )
    slack = flyte.notify.Slack("https://hooks.example.com/y", on_phase="FAILED", message="{run} failed")
    context = flyte.with_runcontext(notifications=[hook, slack])
    first, second = (each.to_spec() for each in context.notifications)
    assert first == {
        "url": "https://a.example.com/x",
        "phases": ["PHASE_FAILED", "PHASE_RUNNING"],
        "headers": {},
        "body_json": "",
    }
    assert (second["phases"], second["body_json"]) == (["PHASE_FAILED"], '{"text": "{run} failed"}')
    assert flyte.with_runcontext(notifications=hook).notifications == (hook,)


def test_custom_context_changes_what_is_below_and_nothing_else():
    """A run's context reaches all; a block changes it for the calls inside, and for what these call."""
    run = flyte.with_runcontext(mode="local", custom_context={"tenant": "t0", "a": "1"}).run(contexts, 2)
    base = {"tenant": "t0", "a": "1"}
    one = {**base, "tenant": "t1", "extra": "x"}
    two = {**base, "tenant": "t2", "extra": "x"}
    assert run.result() == [base, base, base, one, two, two, {**two, "tenant": "t1"}]
    assert flyte.get_custom_context() == {}
    with pytest.raises(TypeError, match="custom_context: 'k'=5 must be text"), flyte.custom_context(k=5):
        pass


def test_a_local_run_says_what_has_no_effect_on_it(caplog):
    """Where it would wait is named in a warning, notifications are refused, annotations are kept."""
    context = flyte.with_runcontext(queue="gpu", project="p", annotations={"why": "a test"})
    run = context.run(where)
    assert "no effect on a local run: project, queue" in caplog.text
    assert run.details().annotations == {"why": "a test"}
    with pytest.raises(ValueError, match="notifications= has no effect on a local run"):
        flyte.with_runcontext(notifications=flyte.notify.Webhook("https://x")).run(where)


def test_settings_have_all_their_spellings():
    """Two names of one setting mean the same, and are refused when they differ."""
    assert flyte.with_runcontext(cache_lookup_scope="project/domain").cache_lookup_scope == "project-domain"
    assert flyte.with_runcontext(dryrun=True).dry_run
    assert plain.task(max_inline_io=5)(where.func).max_inline_io_bytes == 5
    assert where.override(max_inline_io=6, max_inline_io_bytes=6).max_inline_io_bytes == 6
    for make in (plain.task, where.override):
        with pytest.raises(ValueError, match="are the same setting"):
            make(max_inline_io=5, max_inline_io_bytes=6)


def test_raw_data_of_a_local_run_goes_where_it_is_told(tmp_path):
    """`raw_data_path` is honoured in local mode, below a directory of the run; a version is told."""
    run = flyte.with_runcontext(mode="local", name="raw-1", raw_data_path=str(tmp_path / "bulk")).run(where)
    assert run.result() == str(tmp_path / "bulk" / "raw-1")
    assert flyte.with_runcontext(mode="local", version="v7").run(version_here).result() == "v7"


@plain.task
def version_here() -> str:
    """The version of the code."""
    context = flyte.ctx()
    assert context is not None
    return context.version


@plain.task
def where() -> str:
    """Where bulk data goes."""
    context = flyte.ctx()
    assert context is not None
    return context.raw_data_path


def test_log_settings_hold_for_the_run_and_no_longer(capfd, monkeypatch):
    """Level and format of `flyte.logger` are the run's; the next run has the usual ones."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of the test runner
    flyte.with_runcontext(mode="local", log_level="DEBUG", log_format="json").run(logs)
    assert '"level": "DEBUG", "logger": "flyte", "message": "a detail"' in capfd.readouterr().err
    flyte.with_runcontext(mode="local").run(logs)
    assert "a detail" not in capfd.readouterr().err
    assert flyte.logger.level == logging.INFO


def test_a_rerun_of_a_local_run_takes_over_what_succeeded():
    """`recover` repeats no call that succeeded, also over several runs; a plain rerun repeats all."""
    calls.clear()
    failed = run_local(halfway, limit=1)
    assert failed.phase is flyte.models.ActionPhase.FAILED
    assert calls == [0, 1]
    limits["now"] = 2
    again = flyte.rerun(failed, recover=True)
    assert calls == [0, 1, 1, 2]
    limits["now"] = 9
    third = flyte.rerun(again, True, name="third")
    assert (third.result(), third.name, calls) == ([0, 1, 2], "third", [0, 1, 1, 2, 2])
    taken = [action for action in third.actions if action.cache_status == "recovered"]
    assert [action.cached_from.split("/")[0] for action in taken] == [again.name, again.name]
    assert flyte.rerun(third).result() == [0, 1, 2]
    assert len(calls) == 8
    limits.clear()


calls: list[int] = []
limits: dict[str, int] = {}


@plain.task
async def step(number: int, limit: int) -> int:
    """Fails from a number on."""
    calls.append(number)
    if number >= limits.get("now", limit):
        raise ValueError(str(number))
    return number


@plain.task
async def halfway(limit: int) -> list[int]:
    """Three steps, one after the other."""
    return [await step(number, limit) for number in range(3)]


def test_retries_wait_and_a_deadline_ends_them():
    """In local mode: waits between attempts, and a deadline over all of them that wins over retries."""
    tries.clear()
    run = run_local(never.override(retries=flyte.RetryStrategy(5, flyte.Backoff(0.05, factor=2, jitter=0))))
    assert len(tries) == 6
    assert type(run.error) is flyte.errors.RetriesExhaustedError
    assert run.error.code == "ValueError"
    assert all(later - earlier >= 0.049 for earlier, later in itertools.pairwise(tries))
    tries.clear()
    limited = never.override(
        retries=flyte.RetryStrategy(50, flyte.Backoff(0.05, jitter=0)), timeout=flyte.Timeout(deadline=0.4)
    )
    run = run_local(limited)
    assert run.phase is flyte.models.ActionPhase.TIMED_OUT
    assert isinstance(run.error, flyte.errors.TaskTimeoutError)
    assert (run.error.code, 1 < len(tries) < 10) == ("DeadlineExceeded", True)
    assert "ValueError: no" in str(run.error)


def test_a_deadline_ends_a_running_attempt_whatever_retries_are_left():
    """One attempt that would go on for ever ends with the deadline, not with its own limit."""
    run = run_local(sleeps.override(retries=3, timeout=flyte.Timeout(max_runtime=30, deadline=0.2)))
    assert (run.error.code, run.phase) == ("DeadlineExceeded", flyte.models.ActionPhase.TIMED_OUT)
    assert run.actions[0].attempts == 1


tries: list[float] = []


@plain.task
async def never() -> int:
    """Fails always."""
    import time

    tries.append(time.monotonic())
    raise ValueError("no")


@plain.task
async def sleeps() -> int:
    """Sleeps long."""
    import asyncio

    await asyncio.sleep(60)
    return 1


def test_clones_and_environments_of_tasks_keep_where_they_run():
    """`clone_with` and `from_task` take queue and interruptible over; tasks that differ in them do not fit together."""
    clone = env.clone_with("policies_clone")
    assert (clone.queue, clone.interruptible) == ("env-queue", True)
    made = flyte.TaskEnvironment.from_task("policies_from_task", inherits)
    assert (made.queue, made.interruptible) == ("env-queue", True)
    with pytest.raises(ValueError, match=r"differ in (cache|queue)"):
        flyte.TaskEnvironment.from_task("policies_mixed", inherits, logs)


def test_anyio_task_groups_run_and_cancel_calls():
    """Calls in a task group of anyio run at the same time, and end when its scope is cancelled."""
    anyio = pytest.importorskip("anyio")

    @plain.task
    async def grouped() -> list[float]:
        found: list[float] = []

        async def note(seconds: float) -> None:
            found.append(await naps(seconds))

        async with anyio.create_task_group() as group:
            for seconds in (0.02, 0.01, 60.0):
                group.start_soon(note, seconds)
            while len(found) < 2:
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        return sorted(found)

    run = run_local(grouped)
    assert run.result() == [0.01, 0.02]
    assert [action.phase.value for action in run.actions].count("aborted") == 1


@plain.task
async def naps(seconds: float) -> float:
    """Sleeps for a while."""
    import asyncio

    await asyncio.sleep(seconds)
    return seconds


def test_a_failure_of_an_image_has_the_class_that_fits():
    """Pulling, names and builds are told apart by the failure's code."""
    found = {
        code: type(flyte.errors.from_failure("image", code, "no"))
        for code in ("ImagePullError", "InvalidImageName", "InvalidPackage", "ImageBuildError", "NoPython")
    }
    assert found == {
        "ImagePullError": flyte.errors.ImagePullBackOffError,
        "InvalidImageName": flyte.errors.InvalidImageNameError,
        "InvalidPackage": flyte.errors.InvalidPackageError,
        "ImageBuildError": flyte.errors.ImageBuildError,
        "NoPython": flyte.errors.ImageBuildError,
    }


@pytest.mark.parametrize(
    ("kind", "code", "retries", "expected"),
    [
        ("user", "ValueError", 2, "RetriesExhaustedError"),
        ("user", "ValueError", 0, "RuntimeUserError"),
        ("user", "CodeBundleError", 2, "CodeBundleError"),
        ("oom", "OutOfMemory", 2, "OOMError"),
        ("preempted", "Preempted", 0, "TaskInterruptedError"),
        ("lost", "Lost", 2, "RuntimeSystemError"),
    ],
)
def test_used_up_retries_are_a_class_of_their_own(kind, code, retries, expected):
    """Only an exception of the user's with no class of its own becomes RetriesExhaustedError, and keeps its code."""
    error = flyte.errors.from_failure(kind, code, "no", retries=retries)
    assert (type(error).__name__, error.code) == (expected, code)
    assert isinstance(
        error, flyte.errors.RuntimeSystemError if kind == "lost" else flyte.errors.RuntimeUserError
    )
