"""A ledger in memory: what a store has to do with the core's effects, in its simplest form."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from services.scheduler.core import effects as fx
from services.scheduler.core.model import (
    INITIAL_STATE,
    TERMINAL_STATES,
    Action,
    Child,
    Lease,
    NodeRecord,
    NodeState,
    Run,
    Snapshot,
    State,
    Task,
    Worker,
    WorkerState,
)


@dataclass
class ActionRow:
    """An action as stored."""

    created: fx.ActionCreated
    moved: fx.ActionMoved | None = None
    round: int = 0
    phases: list[str] = field(default_factory=list)

    @property
    def state(self) -> State:
        return self.moved.state if self.moved else INITIAL_STATE[self.created.kind]


@dataclass
class AttemptRow:
    """An attempt as stored."""

    granted: fx.LeaseGranted
    started_at: int = 0
    worker_id: int = 0
    closed: fx.LeaseClosed | None = None


class MemoryLedger:
    """Applies `Persist` effects and gives the snapshot for a restart."""

    def __init__(self) -> None:
        self.runs: dict[int, fx.RunCreated] = {}
        self.run_phases: dict[int, str] = {}
        self.actions: dict[int, ActionRow] = {}
        self.attempts: dict[int, AttemptRow] = {}
        self.workers: dict[int, fx.WorkerChanged] = {}
        self.nodes: dict[str, fx.NodeChanged] = {}
        self.tasks: dict[str, Task] = {}
        self.cache: dict[str, int] = {}

    def apply(self, effect: fx.Effect) -> None:
        """Apply one effect; those that are not `Persist` change nothing."""
        match effect:
            case fx.RunCreated():
                self.runs[effect.run_id] = effect
            case fx.RunMoved():
                self.run_phases[effect.run_id] = effect.phase.value
            case fx.ActionCreated():
                assert effect.action_id not in self.actions
                assert not any(
                    (row.created.run_id, row.created.name) == (effect.run_id, effect.name)
                    for row in self.actions.values()
                ), "action names are unique in a run"
                self.actions[effect.action_id] = ActionRow(effect, round=effect.round)
                self.tasks[effect.task.digest] = effect.task
            case fx.ActionMoved():
                row = self.actions[effect.action_id]
                assert row.state not in TERMINAL_STATES, "terminal is final"
                row.moved = effect
                row.phases.append(effect.phase.value)
                if effect.recovered:
                    assert effect.cached_from
                    source = self.actions[effect.cached_from].created
                    assert source.run_id in self.runs[effect.run_id].sources
                    assert source.key == row.created.key
                    assert not effect.attempts, "what is recovered does not run"
                if effect.cached_from:
                    assert self.actions[effect.cached_from].state is State.SUCCEEDED
            case fx.CacheStored():
                assert self.actions[effect.action_id].state is State.SUCCEEDED
                self.cache[effect.key] = effect.action_id
            case fx.ActionAdopted():
                self.actions[effect.action_id].round = effect.round
            case fx.LeaseGranted():
                assert effect.lease_id not in self.attempts
                self.attempts[effect.lease_id] = AttemptRow(effect, worker_id=effect.worker_id)
            case fx.LeaseRunning():
                self.attempts[effect.lease_id].started_at = effect.at
                self.attempts[effect.lease_id].worker_id = effect.worker_id
            case fx.LeaseClosed():
                assert self.attempts[effect.lease_id].closed is None
                self.attempts[effect.lease_id].closed = effect
            case fx.WorkerChanged():
                self.workers[effect.worker_id] = effect
            case fx.NodeChanged():
                self.nodes[effect.name] = effect
            case _:
                assert not isinstance(effect, fx.Persist)

    def snapshot(self) -> Snapshot:
        """Everything that is live, as a store loads it after a crash."""
        s = Snapshot()
        s.next_run_id = max(self.runs, default=0) + 1
        s.next_action_id = max(self.actions, default=0) + 1
        s.next_lease_id = max(self.attempts, default=0) + 1
        cold = [row.granted.worker_id for row in self.attempts.values()]
        s.next_worker_id = max([*self.workers, *cold], default=0) + 1
        wanted: set[int] = set()
        for action_id, row in self.actions.items():
            current: int | None = action_id
            if row.state in TERMINAL_STATES:
                continue
            while current is not None and current not in wanted:
                wanted.add(current)
                current = self.actions[current].created.parent_id
        for action_id in sorted(wanted):
            s.actions.append(self._action(self.actions[action_id]))
        run_ids = {action.run_id for action in s.actions}
        for run_id in sorted(run_ids):
            run = self.runs[run_id]
            names = (run.project, run.domain, run.name)
            queue, interruptible = run.context or ("", None)
            s.runs.append(
                Run(
                    run.run_id,
                    *names,
                    run.request_digest,
                    run.root_id,
                    queue=queue,
                    interruptible=interruptible,
                )
            )
        latest: dict[tuple[int, str], Child] = {}
        for action_id, row in sorted(self.actions.items()):
            parent = row.created.parent_id
            if parent not in wanted or self.actions[parent].state in TERMINAL_STATES or action_id in wanted:
                continue
            made = row.created
            child = Child(action_id, made.name, row.state, row.round, made.incarnation, kind=made.kind)
            if row.moved is not None:
                child = child._replace(withdrawn_by=row.moved.withdrawn_by)
            latest[parent, row.created.key] = child
        s.ended_children = [(parent, key, child) for (parent, key), child in latest.items()]
        s.leases = [self._lease(row) for row in self.attempts.values() if row.closed is None]
        for worker in self.workers.values():
            if worker.state is not WorkerState.EXITED:
                s.workers.append(
                    Worker(
                        worker.worker_id,
                        worker.node,
                        worker.pool_key,
                        worker.spec_digest,
                        worker.gpu_uuids,
                        worker.at,
                        worker.state,
                    )
                )
                s.pool_tasks[worker.spec_digest] = self.tasks[worker.spec_digest]
        for node in self.nodes.values():
            s.nodes.append(
                NodeRecord(node.name, node.boot_id, node.inventory, NodeState(node.state), dict(node.labels))
            )
        return copy.deepcopy(s)

    def _action(self, row: ActionRow) -> Action:
        made, moved = row.created, row.moved
        action = Action(
            made.action_id, made.run_id, made.name, made.key, made.parent_id, made.depth, made.task, made.at,
            round=row.round, incarnation=made.incarnation, cache=made.cache, kind=made.kind,
            state=row.state, started_at=made.started_at, ready_at=made.ready_at,
        )  # fmt: skip
        if moved is not None:
            action.state, action.attempts = moved.state, moved.attempts
            action.user_failures, action.system_failures = moved.user_failures, moved.system_failures
            action.withdrawn_by = moved.withdrawn_by
            action.ready_at, action.started_at, action.abort_reason = (
                moved.ready_at,
                moved.started_at,
                moved.abort_reason,
            )
        return action

    def _lease(self, row: AttemptRow) -> Lease:
        g = row.granted
        return Lease(
            g.lease_id, g.action_id, g.node, g.number, g.user_attempt, g.at,
            pool_key=g.pool_key, worker_id=row.worker_id, gpu_uuids=g.gpu_uuids, started_at=row.started_at,
        )  # fmt: skip

    def run_of(self, action_id: int) -> str:
        """Name of the run of an action."""
        return self.runs[self.actions[action_id].created.run_id].name

    def succeeded(self, runs: tuple[int, ...], key: str) -> int:
        """The action that succeeded under a key in the first of some runs that has one, 0 for none."""
        for run_id in runs:
            for row in self.actions.values():
                if (row.created.run_id, row.created.key) == (run_id, key) and row.state is State.SUCCEEDED:
                    return row.created.action_id
        return 0

    def by_name(self, run_name: str) -> dict[str, Any]:
        """The actions of a run by name."""
        run_ids = {run_id for run_id, run in self.runs.items() if run.name == run_name}
        return {row.created.name: row for row in self.actions.values() if row.created.run_id in run_ids}
