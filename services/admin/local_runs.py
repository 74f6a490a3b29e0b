"""Local runs of this machine, which the SDK has recorded: read for the pages, never written.

The SDK keeps them in an SQLite file, `local/runs.db` of the data directory, and what their tasks print beside it, in
`local/logs/<run>/<action>/<attempt>.log` (`docs/decisions/0025-local-runs.md`). What is given out has the form of the
API's messages, so that the pages show local runs as they show others.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from services.common.errors import FailedPrecondition, NotFound

_VERSION = 1
_MOST_RUNS = 100
_BUSY_SECONDS = 5.0
_TERMINAL = frozenset({"succeeded", "failed", "aborted", "timed_out"})
_RUNS = """
SELECT run.labels, run.path, run.process, action.*,
  (SELECT count(*) FROM action AS any_action WHERE any_action.run = run.name) AS actions
FROM run JOIN action ON action.run = run.name AND action.name = 'a0'
"""
_LOST = {
    "kind": "FAILURE_KIND_SYSTEM",
    "code": "ProcessEndedError",
    "message": "the process that carried it out ended before it did",
}

Json = dict[str, Any]


class LocalRuns:
    """Recorded local runs. The methods block.

    Args:
        directory: Directory that the SDK records them in; it need not exist. None: there are no local runs here.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def runs(self) -> list[Json]:
        """The newest runs, newest first.

        Raises:
            FailedPrecondition: The file cannot be read (reason ``LOCAL_RUNS_UNREADABLE``).
        """
        return [_run(row) for row in self._query(f"{_RUNS} ORDER BY run.created_at DESC LIMIT {_MOST_RUNS}")]

    def run(self, name: str) -> Json:
        """One run.

        Raises:
            NotFound: There is none.
            FailedPrecondition: As `runs`.
        """
        rows = self._query(f"{_RUNS} WHERE run.name = ?", name)
        if not rows:
            raise NotFound(f"there is no local run {name!r} on this machine", reason="LOCAL_RUN_NOT_FOUND")
        return _run(rows[0])

    def actions(self, run: str, alive: bool) -> list[Json]:
        """Actions of a run in the order of their calls."""
        return [
            _action(row, alive)
            for row in self._query("SELECT * FROM action WHERE run = ? ORDER BY position", run)
        ]

    def action(self, run: str, name: str) -> Json:
        """One action with its attempts, inputs and outputs.

        Raises:
            NotFound: There is none.
            FailedPrecondition: As `runs`.
        """
        alive = bool(self.run(run)["alive"])
        rows = self._query("SELECT * FROM action WHERE run = ? AND name = ?", run, name)
        if not rows:
            raise NotFound(f"local run {run!r} has no action {name!r}", reason="LOCAL_ACTION_NOT_FOUND")
        row = rows[0]
        content = _action(row, alive)
        content["attempts"] = [_attempt(each) for each in json.loads(row["attempts"])]
        content["events"] = []
        content["inputs"] = _document(row["inputs"])
        content["outputs"] = _document(row["outputs"]) if row["outputs"] is not None else None
        return content

    def lines(self, run: str, action: str, attempt: int, after: int) -> list[Json]:
        """Lines that an attempt of a known action printed, but for the first ones."""
        assert self._directory is not None  # there is such an action
        path = self._directory / "logs" / run / action / f"{attempt}.log"
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", errors="replace") as file:
            kept = [line for number, line in enumerate(file) if number >= after]
        return [
            {"captured_at": time, "text": text}
            for time, _, text in (line.rstrip("\n").partition(" ") for line in kept)
        ]

    def _query(self, statement: str, *values: str) -> list[sqlite3.Row]:
        if self._directory is None or not (path := self._directory / "runs.db").is_file():
            return []
        try:
            with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA query_only = ON")
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version != _VERSION:
                    raise sqlite3.DatabaseError(f"it is of version {version}, not {_VERSION}")
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            message = f"the record of local runs {path} cannot be read: {error}"
            raise FailedPrecondition(message, reason="LOCAL_RUNS_UNREADABLE") from error


def _run(row: sqlite3.Row) -> Json:
    alive = _is_alive(json.loads(row["process"]))
    action = _action(row, alive)
    return {
        **{
            key: action[key]
            for key in ("phase", "task_name", "created_at", "started_at", "ended_at", "failure")
        },
        "id": {"project": "", "domain": "", "name": row["run"]},
        "labels": json.loads(row["labels"]),
        "action_count": row["actions"],
        "abort_reason": action["abort_reason"],
        "path": row["path"],
        "alive": alive,
    }


def _action(row: sqlite3.Row, alive: bool) -> Json:
    lost = not alive and row["phase"] not in _TERMINAL
    phase = "failed" if lost else row["phase"]
    failure = _failure(json.loads(row["failure"])) if row["failure"] else None
    return {
        "id": {"run": {"project": "", "domain": "", "name": row["run"]}, "name": row["name"]},
        "parent": row["parent"] or "",
        "task_name": row["task"],
        "short_name": row["short_name"],
        "group": row["groups"],
        "phase": f"PHASE_{phase.upper()}",
        "cache_status": f"CACHE_STATUS_{row['cache_status'].upper()}",
        "created_at": row["created_at"],
        "started_at": row["started_at"],
        "ended_at": row["ended_at"],
        "attempt_count": len(json.loads(row["attempts"])),
        "failure": _LOST if lost else failure if phase != "aborted" else None,
        "abort_reason": failure["message"] if failure and phase == "aborted" else "",
    }


def _failure(kept: Json) -> Json:
    return {
        "kind": f"FAILURE_KIND_{kept['kind']}",
        "code": kept["code"],
        "message": kept["message"],
        "traceback": kept["traceback"],
    }


def _attempt(kept: Json) -> Json:
    return {
        "number": kept["number"],
        "phase": f"PHASE_{kept['phase'].upper()}",
        "started_at": kept["started_at"],
        "ended_at": kept["ended_at"],
        "failure": _failure(kept["failure"]) if kept["failure"] else None,
    }


def _document(content: bytes) -> Json:
    return {"text": content.decode(errors="replace"), "size": len(content), "url": ""}


def _is_alive(process: Json) -> bool:
    """Whether the process that carries out a run exists; of another host's that is not known, and assumed."""
    if process["host"] != socket.gethostname():
        return True
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{process['pid']}/stat").read_text("ascii", "replace")
    except OSError:
        return True
    return bool(process["started"] in ("", stat.rpartition(")")[2].split()[19]))
