"""Single properties of the core, by plain calls."""

from __future__ import annotations

import itertools
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.core import effects as fx
from services.scheduler.core import events as ev
from services.scheduler.core.invariants import validate
from services.scheduler.core.machine import Scheduler
from services.scheduler.core.model import (
    INITIAL_STATE,
    SECOND,
    TERMINAL_STATES,
    Action,
    Failure,
    FailureKind,
    Gpu,
    Inventory,
    PoolPolicy,
    Resources,
    State,
    Task,
    WorkerState,
)
from services.scheduler.core.retry import decide
from services.scheduler.core.transitions import TRANSITIONS, IllegalTransitionError, Trigger, target

T = TypeVar("T")

GIB = 1 << 30
ONE_CORE = Resources(1000, GIB)


class Driver:
    """One scheduler, one node, and time that moves when told to."""

    def __init__(self, inventory: Inventory | None = None) -> None:
        self.scheduler = Scheduler()
        self.now = SECOND
        self.do(ev.NodeConnected("n", 1, "boot", inventory or Inventory(4000, 8 * GIB, 0)))

    def do(self, *events: ev.Event, after: int = 0) -> list[fx.Effect]:
        self.now += after
        effects = self.scheduler.step(events, self.now)
        validate(self.scheduler.world)
        return effects

    def tick(self) -> list[fx.Effect]:
        """Go to the next deadline; the node stays alive."""
        deadline = self.scheduler.next_deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        return self.do(ev.NodeHeartbeat("n", 1), ev.Tick())

    def submit(
        self, task: Task, name: str = "run", digest: str = "d", project: str = "default"
    ) -> list[fx.Effect]:
        return self.do(ev.CreateRun(name, project, "development", name, digest, task, None, None, None))

    def start(self, lease: int, worker: int = 0) -> list[fx.Effect]:
        return self.do(ev.LeaseStarted("n", lease, worker, self.now))

    def end(self, lease: int, failure: Failure | None = None, *, killed: bool = False) -> list[fx.Effect]:
        return self.do(ev.LeaseEnded("n", lease, failure, b"out", killed, self.now, self.now))


def of(effects: list[fx.Effect], kind: type[T]) -> list[T]:
    """Those of the effects that are of a kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def final_state(effects: list[fx.Effect]) -> State:
    """State of the action that moved last."""
    return [e for e in effects if isinstance(e, fx.ActionMoved)][-1].state


USER = Failure(FailureKind.USER, "ValueError", "x")


def test_terminal_states_have_no_way_out() -> None:
    """Terminal is final: the table has no move that leaves a terminal state."""
    assert not [state for state, _ in TRANSITIONS if state in TERMINAL_STATES]


@given(st.sampled_from(list(State)), st.sampled_from(list(Trigger)))
def test_a_move_is_in_the_table_or_illegal(state: State, trigger: Trigger) -> None:
    """There is no third way."""
    if (state, trigger) in TRANSITIONS:
        assert target(state, trigger) is TRANSITIONS[state, trigger]
    else:
        with pytest.raises(IllegalTransitionError, match=state.value):
            target(state, trigger)


def test_every_state_can_be_reached() -> None:
    """No state of the table is dead."""
    reached = set(INITIAL_STATE.values())
    while more := {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached:
        reached |= more
    assert reached == set(State)


@given(
    st.sampled_from(list(FailureKind)), st.integers(0, 3), st.integers(0, 5), st.integers(0, 200), st.booleans()
)  # fmt: skip
def test_only_failures_of_the_user_use_up_retries(
    kind: FailureKind, retries: int, used: int, system: int, final: bool
) -> None:
    """Attempts are bounded for every kind, and a non-recoverable failure is never tried again."""
    action = Action(1, 1, "a", "a", None, 0, Task("d", "e.t", ONE_CORE, retries), 0)
    action.user_failures, action.system_failures = used, system
    decision = decide(action, Failure(kind, "c", "m", non_recoverable=final), 1)
    user = kind in {FailureKind.USER, FailureKind.OOM, FailureKind.GPU_OOM, FailureKind.TIMEOUT}
    assert decision.uses_user_retry == user
    if final or (user and used >= retries) or (system >= 100 and not user):
        assert not decision.retry
    assert 0 <= decision.delay <= 30 * SECOND


def test_n_retries_are_n_plus_one_attempts() -> None:
    """`retries=2` gives three attempts, then the failure of the last one is the action's."""
    driver = Driver()
    driver.submit(Task("d", "e.t", ONE_CORE, retries=2))
    states = [final_state(driver.end(lease, USER)) for lease in (1, 2, 3)]
    assert states == [State.ASSIGNED, State.ASSIGNED, State.FAILED]


def test_a_result_of_an_old_lease_changes_nothing_but_is_acknowledged() -> None:
    """Fencing: the epoch of a lease that was given up is refused."""
    driver = Driver()
    driver.submit(Task("d", "e.t", ONE_CORE, retries=1))
    driver.end(1, USER)
    effects = driver.end(1)
    assert [type(e) for e in effects] == [fx.AcknowledgeResult]
    assert driver.end(2)[-1] == fx.AcknowledgeResult("n", 2)


def test_a_result_from_another_node_than_the_lease_is_on_changes_nothing() -> None:
    """A lease belongs to one node."""
    driver = Driver()
    driver.submit(Task("d", "e.t", ONE_CORE))
    effects = driver.do(ev.LeaseEnded("other", 1, None, b"", False, driver.now))
    assert [type(e) for e in effects] == [fx.AcknowledgeResult]


def test_creating_a_run_twice_is_one_run_and_other_content_is_refused() -> None:
    """Creation is idempotent by name, also after the run has ended."""
    driver = Driver()
    task = Task("d", "e.t", ONE_CORE)
    for _ in range(2):
        assert of(driver.submit(task), fx.Reply)[-1].value is not None
        (reply,) = of(driver.submit(task), fx.Reply)
        assert (reply.value, reply.error) == (False, None)
        (other,) = of(driver.submit(task, digest="other"), fx.Reply)
        assert other.error is not None
        assert other.error[0] == "RUN_ALREADY_EXISTS"
        driver.end(1)


def test_run_time_beyond_the_limit_is_killed_and_times_out() -> None:
    """`max_runtime` counts from the start of user code, per attempt."""
    driver = Driver()
    driver.submit(Task("d", "e.t", ONE_CORE, max_runtime=5 * SECOND))
    driver.start(1)
    kills: list[fx.Kill] = []
    while not kills:
        kills = of(driver.tick(), fx.Kill)
    assert driver.now == 6 * SECOND
    assert kills[0].kind is FailureKind.TIMEOUT
    effects = driver.end(1, Failure(FailureKind.SYSTEM, "Killed", "killed"), killed=True)
    assert final_state(effects) is State.TIMED_OUT


def test_waiting_beyond_the_queue_limit_times_out_with_the_reason() -> None:
    """`max_queued` ends an action that nothing could take, and says why nothing could."""
    driver = Driver(Inventory(1000, 8 * GIB, 0))
    driver.submit(Task("a", "e.a", ONE_CORE), "first")
    driver.submit(Task("b", "e.b", ONE_CORE, max_queued=3 * SECOND), "second")
    moved: list[fx.ActionMoved] = []
    while not moved:
        moved = [e for e in driver.tick() if isinstance(e, fx.ActionMoved)]
    assert moved[-1].state is State.TIMED_OUT
    assert moved[-1].failure is not None
    assert "needs 1 cores, 0 free" in moved[-1].failure.message


def test_every_request_that_can_never_fit_is_refused_not_only_the_first_of_its_shape() -> None:
    """A queue that is known to be blocked still looks at each new head."""
    driver = Driver()
    for name in ("one", "two"):
        effects = driver.submit(Task("d", "e.t", Resources(64000, GIB)), name)
        assert final_state(effects) is State.FAILED


def test_a_container_goes_to_a_host_whose_engine_runs_it_and_nowhere_else() -> None:
    """Without any such host it is refused with the engines that there are; where all are busy each host says why."""
    task = Task("d", "e.t", ONE_CORE._replace(container=True))
    driver = Driver(Inventory(4000, 8 * GIB, 0, engine="process"))
    effects = driver.submit(task, "none")
    assert final_state(effects) is State.FAILED
    (failure,) = [moved.failure for moved in of(effects, fx.ActionMoved) if moved.failure is not None]
    assert "n (process engine)" in failure.message
    assert "HANGAR_EXECUTOR_ENGINE=docker" in failure.message
    driver.do(ev.NodeConnected("d", 2, "boot", Inventory(1000, 8 * GIB, 0, engine="docker")))
    (assigned,) = of(driver.submit(task, "one"), fx.Assign)
    assert assigned.node == "d"
    effects = driver.submit(task, "two")
    (reason,) = [moved.detail for moved in of(effects, fx.ActionMoved) if "needs" in moved.detail]
    assert reason == (
        "d: needs 1 cores, 0 free; n: needs a host with the Docker engine, and has the process engine"
    )


def test_an_image_for_platforms_goes_to_a_host_of_one_of_them_and_nowhere_else() -> None:
    """Without any such host it is refused with the platforms that there are; where all are busy each host says why."""
    arm = Task("d", "e.t", ONE_CORE._replace(platforms=("linux/arm64", "linux/riscv64")))
    driver = Driver(Inventory(4000, 8 * GIB, 0, platform="linux/amd64"))
    effects = driver.submit(arm, "none")
    assert final_state(effects) is State.FAILED
    (failure,) = [moved.failure for moved in of(effects, fx.ActionMoved) if moved.failure is not None]
    assert failure.message.startswith(
        "the image of e.t is for linux/arm64 or linux/riscv64, and no host is; the hosts are n (linux/amd64)."
    )
    driver.do(ev.NodeConnected("m", 2, "boot", Inventory(1000, 8 * GIB, 0, platform="linux/arm64")))
    (assigned,) = of(driver.submit(arm, "one"), fx.Assign)
    assert assigned.node == "m"
    effects = driver.submit(arm, "two")
    (reason,) = [moved.detail for moved in of(effects, fx.ActionMoved) if "needs" in moved.detail]
    assert reason == (
        "m: needs 1 cores, 0 free; n: is linux/amd64, and the image is for linux/arm64 or linux/riscv64"
    )
    (assigned,) = of(driver.submit(Task("d2", "e.t", ONE_CORE), "anywhere"), fx.Assign)
    assert assigned.node == "n"


def test_what_no_host_of_its_platform_can_give_is_refused_with_the_largest_of_that_platform() -> None:
    """A larger host of another platform is no consolation."""
    driver = Driver(Inventory(64000, 64 * GIB, 0, platform="linux/amd64"))
    driver.do(ev.NodeConnected("m", 2, "boot", Inventory(1000, 8 * GIB, 0, platform="linux/arm64")))
    effects = driver.submit(Task("d", "e.t", Resources(2000, GIB, platforms=("linux/arm64",))), "large")
    (failure,) = [moved.failure for moved in of(effects, fx.ActionMoved) if moved.failure is not None]
    assert "the largest is m with 1 cores" in failure.message


def test_a_host_that_has_the_image_goes_before_a_fuller_one() -> None:
    """Where an image was started before, its next action goes too, until that host is full."""
    driver = Driver(Inventory(2000, 8 * GIB, 0))
    driver.do(ev.NodeConnected("a", 2, "boot", Inventory(2000, 8 * GIB, 0)))

    def submitted(image: str, name: str) -> fx.Assign:
        (assigned,) = of(driver.submit(Task(f"d-{image}", "e.t", ONE_CORE, image=image), name), fx.Assign)
        driver.do(ev.LeaseStarted(assigned.node, assigned.lease_id, assigned.lease_id, 1))
        return assigned

    assert submitted("other", "first").node == "a"
    end = submitted("torch", "second")
    assert end.node == "a"
    driver.do(ev.LeaseEnded("a", end.lease_id, None, b"", killed=False, ended_at=2))
    nodes = driver.scheduler.world.nodes
    nodes["n"].has_started("torch")
    del nodes["a"].images["torch"]
    assert [submitted("torch", name).node for name in ("third", "fourth", "fifth")] == ["n", "n", "a"]


def test_gpus_are_booked_by_model_and_never_twice() -> None:
    """Two actions with a GPU each get different devices; a third waits and says for what."""
    gpus = tuple(Gpu(f"GPU-{i}", "A10G", 24 * GIB, healthy=i != 2) for i in range(3))
    driver = Driver(Inventory(8000, 64 * GIB, 0, gpus))
    wanted = Resources(1000, GIB, 0, 1, "A10G")
    assigned = []
    for number in range(3):
        effects = driver.submit(Task(f"d{number}", "e.t", wanted), f"r{number}")
        assigned += [e.gpu_uuids for e in effects if isinstance(e, fx.Assign)]
    assert sorted(assigned) == [("GPU-0",), ("GPU-1",)]
    moved = [e for e in effects if isinstance(e, fx.ActionMoved)]
    assert "needs 1 A10G, 0 free" in moved[-1].detail


def test_an_abort_of_a_queued_run_is_immediate_and_of_a_running_one_waits_for_the_kill() -> None:
    """ABORTED is entered only once nothing runs any more."""
    driver = Driver(Inventory(1000, 8 * GIB, 0))
    driver.submit(Task("a", "e.a", ONE_CORE), "first")
    driver.submit(Task("b", "e.b", ONE_CORE), "second")
    waiting = driver.do(ev.AbortRun("t", "default", "development", "second", "no"))
    assert final_state(waiting) is State.ABORTED
    running = driver.do(ev.AbortRun("t", "default", "development", "first", "no"))
    assert final_state(running) is State.ABORTING
    assert of(running, fx.Kill)
    ended = driver.end(1, Failure(FailureKind.SYSTEM, "Killed", "killed"), killed=True)
    assert final_state(ended) is State.ABORTED


POOL = PoolPolicy("pool", 1, 2, 2, 30 * SECOND, 40 * SECOND)


def pooled(number: int) -> Task:
    """A task of a reusable environment."""
    return Task(f"d{number}", "env.t", ONE_CORE, pool=POOL)


def ready(driver: Driver, effects: list[fx.Effect]) -> list[fx.Effect]:
    """Report every started worker as ready."""
    out: list[fx.Effect] = []
    for effect in effects:
        if isinstance(effect, fx.StartWorker):
            out += driver.do(ev.WorkerReported("n", effect.worker_id, WorkerState.READY))
    return out


def test_a_pool_grows_to_its_maximum_and_shrinks_to_nothing_when_idle() -> None:
    """Replicas follow the work; without any for the idle time the pool ends and its resources are free."""
    driver = Driver()
    started: list[fx.StartWorker] = []
    assigned: list[fx.Assign] = []
    for number in range(6):
        effects = driver.submit(pooled(number), f"r{number}")
        started += of(effects, fx.StartWorker)
        effects += ready(driver, effects)
        assigned += of(effects, fx.Assign)
    assert len(started) == 2
    leases: set[int] = set()
    while len(leases) < 6:
        for lease in set(driver.scheduler.world.leases) - leases:
            leases.add(lease)
            driver.end(lease)
    stopped: list[int] = []
    while len(stopped) < 2:
        for effect in driver.tick():
            if isinstance(effect, fx.StopWorker):
                stopped.append(effect.worker_id)
                driver.do(ev.WorkerReported("n", effect.worker_id, WorkerState.EXITED))
    assert driver.scheduler.world.pools == {}
    assert driver.scheduler.world.nodes["n"].free_cpu == 4000


def test_a_pool_whose_workers_never_start_fails_what_waits_with_the_cause() -> None:
    """A crash loop ends after a few tries, and the action says why."""
    driver = Driver()
    effects = driver.submit(pooled(0))
    cause = Failure(FailureKind.SYSTEM, "WorkerDied", "no interpreter")
    for _ in range(3):
        (start,) = of(effects, fx.StartWorker)
        effects = driver.do(ev.WorkerReported("n", start.worker_id, WorkerState.EXITED, cause))
        while not of(effects, fx.StartWorker) and driver.scheduler.world.runs:
            effects = driver.tick()
    assert final_state(effects) is State.FAILED


def test_idle_warm_workers_make_room_for_cold_work() -> None:
    """A pool that has nothing to do does not keep others waiting until its idle time is over."""
    driver = Driver(Inventory(1000, GIB, 0))
    ready(driver, driver.submit(pooled(0), "warm"))
    driver.end(1)
    effects = driver.submit(Task("cold", "e.cold", ONE_CORE), "cold")
    (stop,) = of(effects, fx.StopWorker)
    effects = driver.do(ev.WorkerReported("n", stop.worker_id, WorkerState.EXITED))
    assert of(effects, fx.Assign)


def test_a_task_that_keeps_ending_its_workers_is_quarantined_with_the_reason() -> None:
    """Retries do not take one worker after the other down for ever; a success clears the record."""
    driver = Driver()
    died = Failure(FailureKind.USER, "WorkerDied", "exit code 1.")
    driver.submit(Task("d", "e.t", ONE_CORE, retries=100))
    lease = 0
    while driver.scheduler.world.runs:
        lease += 1
        effects = driver.end(lease, died)
    assert lease == 10
    failure = next(e.failure for e in effects if isinstance(e, fx.ActionMoved) and e.state is State.FAILED)
    assert failure is not None
    assert "quarantined" in failure.message
    again = driver.submit(Task("d", "e.t", ONE_CORE), "again")
    assert final_state(again) is State.FAILED
    other = driver.submit(Task("changed", "e.t", ONE_CORE), "other")
    assert final_state(other) is State.ASSIGNED


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 8), st.booleans()), max_size=60))
def test_random_events_never_break_an_invariant(steps: list[tuple[int, int, bool]]) -> None:
    """Whatever arrives in whatever order, also nonsense: `validate` holds after every step."""
    driver = Driver(Inventory(2000, 4 * GIB, 0))
    names = itertools.count()
    for kind, number, flag in steps:
        match kind:
            case 0:
                driver.submit(
                    pooled(number) if flag else Task(f"c{number}", "e.c", ONE_CORE, 1), f"r{next(names)}"
                )
            case 1:
                driver.start(number, number)
            case 2:
                driver.end(number, USER if flag else None)
            case 3:
                driver.do(
                    ev.ChildRequested("n", number, f"k{number % 3}", Task("k", "e.k", ONE_CORE), None, None)
                )
                if flag:
                    driver.do(ev.LeaseParked("n", number, 1))
            case 4:
                state = WorkerState.EXITED if flag else WorkerState.READY
                driver.do(ev.WorkerReported("n", number, state))
            case 5:
                driver.do(ev.AbortAction("t", number, "no"))
            case 6:
                driver.now += SECOND * number
                driver.do(
                    ev.NodeDisconnected("n", 1)
                    if flag
                    else ev.NodeConnected("n", 1, "boot", Inventory(2000, 4 * GIB, 0))
                )
