"""The ledger as its writer sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.exc import IntegrityError

from hangar.core.v1.failure_pb2 import Failure
from services.common.db import reader_engine, writer_engine
from services.ledger.queries import payloads, recovery, runs, tasks
from services.ledger.queries.failures import failure_columns
from services.ledger.tables import ACTION, CACHE_ENTRY, GENERATION, RUN, SPAN_EXPORT, WRITER
from services.scheduler.documents import Document
from services.scheduler.loading import Loaded, load
from services.scheduler.rows import Rows, Statements
from services.scheduler.specs import Specs
from services.scheduler.writer_lease import NEXT_IDS, SESSIONS, Holder, Superseded, WriterLease, superseded

__all__ = ["Store", "Superseded"]
_PAGE = 1000


class Store:
    """Reads and writes the ledger. Blocks: call it from a thread; `commit` from one thread only.

    Args:
        where: Path or URL of the database.
    """

    def __init__(self, where: str | Path) -> None:
        self._where = where
        self._writer = writer_engine(where, name=SESSIONS)
        self._reader = reader_engine(where, name="hangar scheduler reader", seconds=None)
        self._statements = Statements(self._writer.dialect.name)
        self._batch = 0
        self.generation = 0
        """Number of this writer; 0 before `open`."""
        c = GENERATION.c
        self._fence = (
            GENERATION.update()
            .where(c.id == 1, c.number == bindparam("number_"), c.batch == bindparam("batch_") - 1)
            .values(batch=bindparam("batch_"), **{name: bindparam(name) for name in NEXT_IDS})
        )

    def open(self, now: int) -> None:
        """Migrates the database and becomes its writer, whoever else is: their commits fail from now on.

        Args:
            now: Current time in microseconds.

        Raises:
            FailedPrecondition: The database cannot be used.
        """
        lease = WriterLease(self._where)
        try:
            lease.migrate()
            lease.take(now, only_if_lapsed=False)
        finally:
            lease.close()
        self.begin(lease.generation)

    def begin(self, generation: int) -> None:
        """Writes as this generation from now on, from its first batch."""
        self.generation, self._batch = generation, 0

    def close(self) -> None:
        """Closes all connections."""
        self._writer.dispose()
        self._reader.dispose()

    def load(self, specs: Specs) -> Loaded:
        """Loads everything that is live."""
        with self._reader.connect() as connection:
            return load(connection, specs)

    def commit(self, rows: Rows) -> None:
        """Writes changes in one transaction. Repeating it after an error is safe: they are written once.

        Raises:
            Superseded: There is a newer writer.
            sqlalchemy.exc.SQLAlchemyError: The database refused or could not be reached.
        """
        batch = self._batch + 1
        try:
            with self._writer.begin() as connection:
                if self._enter(connection, batch, rows):
                    self._statements.write(connection, rows)
        except IntegrityError:
            self._check_generation()
            raise
        self._batch = batch

    def _enter(self, connection: Connection, batch: int, rows: Rows) -> bool:
        """Passes the fence. False when this batch was committed already and only its answer was lost."""
        values = {"number_": self.generation, "batch_": batch, **rows.next_ids}
        if connection.execute(self._fence, values).rowcount == 1:
            return True
        c = GENERATION.c
        number, committed = connection.execute(select(c.number, c.batch).where(c.id == 1)).one()
        if number != self.generation:
            raise self._superseded(connection)
        if committed != batch:
            raise RuntimeError(
                f"the ledger is at batch {committed} of generation {number}, expected {batch - 1}"
            )
        return False

    def _check_generation(self) -> None:
        with self._reader.connect() as connection:
            number = connection.execute(select(GENERATION.c.number).where(GENERATION.c.id == 1)).scalar_one()
            if number != self.generation:
                raise self._superseded(connection)

    def _superseded(self, connection: Connection) -> Superseded:
        c = WRITER.c
        row = connection.execute(select(c.generation, c.address).where(c.id == 1)).one()
        return superseded(self.generation, Holder(row.generation, row.address, lapsed=False))

    def inputs(self, action_ids: Sequence[int]) -> dict[int, Document]:
        """Returns inputs of actions."""
        with self._reader.connect() as connection:
            found = payloads.inputs_of(connection, action_ids)
        return {
            key: Document(each.inline, each.blob_key, each.size, each.digest) for key, each in found.items()
        }

    def outcomes(self, action_ids: Sequence[int]) -> tuple[dict[int, Document], dict[int, Failure]]:
        """Returns the outputs of those actions that have any, and how the other ones failed."""
        failed: dict[int, Failure] = {}
        with self._reader.connect() as connection:
            found = payloads.outputs_of(connection, action_ids)
            missing = [action_id for action_id in action_ids if action_id not in found]
            query = select(ACTION.c.id, ACTION.c.abort_reason, *failure_columns(ACTION))
            for start in range(0, len(missing), _PAGE):
                page = missing[start : start + _PAGE]
                for action_id, abort_reason, *failure in connection.execute(
                    query.where(ACTION.c.id.in_(page))
                ):
                    failed[action_id] = _failure(abort_reason, failure)
        outputs = {
            key: Document(each.inline, each.blob_key, each.size, each.digest) for key, each in found.items()
        }
        return outputs, failed

    def spec(self, digest: str) -> bytes | None:
        """Returns a serialised task definition, None when there is none."""
        with self._reader.connect() as connection:
            return tasks.get_spec(connection, digest)

    def deployed_versions(
        self, project: str, domain: str, names: Sequence[str]
    ) -> dict[str, list[tuple[str, str]]]:
        """Returns versions and digests of the deployments of some tasks, last deployed first."""
        with self._reader.connect() as connection:
            return tasks.deployed_versions(connection, project, domain, names)

    def deployed_spec(self, project: str, domain: str, name: str, version: str) -> bytes | None:
        """Returns the serialised definition of a task, None when there is none."""
        with self._reader.connect() as connection:
            found = tasks.get_task(connection, project, domain, name, version)
        return None if found is None else found.spec

    def run(self, project: str, domain: str, name: str) -> runs.RunRecord | None:
        """Returns a run, None when there is none of this name."""
        with self._reader.connect() as connection:
            return runs.get_run(connection, project, domain, name)

    def action_id(self, project: str, domain: str, run: str, action: str) -> int | None:
        """Returns the identity of an action, None when there is none of this name."""
        query = (
            select(ACTION.c.id)
            .join_from(ACTION, RUN, RUN.c.id == ACTION.c.run_id)
            .where(
                RUN.c.project == project, RUN.c.domain == domain, RUN.c.name == run, ACTION.c.name == action
            )
        )
        with self._reader.connect() as connection:
            found: int | None = connection.execute(query).scalar_one_or_none()
        return found

    def cached(self, keys: Sequence[str]) -> dict[str, int]:
        """Returns the actions whose outputs are kept under some keys, for those keys that there are."""
        c = CACHE_ENTRY.c
        found: dict[str, int] = {}
        with self._reader.connect() as connection:
            for start in range(0, len(keys), _PAGE):
                query = select(c.key, c.action_id).where(c.key.in_(keys[start : start + _PAGE]))
                found.update((key, action_id) for key, action_id in connection.execute(query))
        return found

    def sources(self, run_id: int) -> tuple[int, ...]:
        """Returns a run, the one that it recovered, and so on."""
        with self._reader.connect() as connection:
            return recovery.recovered_runs(connection, run_id)

    def succeeded(self, runs: Sequence[int], keys: Sequence[str]) -> dict[str, int]:
        """Returns the actions that succeeded under some keys in the first of some runs that has one."""
        with self._reader.connect() as connection:
            return recovery.succeeded_actions(connection, runs, keys)

    def span_cursor(self) -> int:
        """Returns how far spans were exported."""
        with self._reader.connect() as connection:
            return connection.execute(select(SPAN_EXPORT.c.cursor)).scalar_one_or_none() or 0

    def read(self) -> Connection:
        """Returns a connection for reading; close it soon."""
        return self._reader.connect()


def _failure(abort_reason: str, values: Sequence[object]) -> Failure:
    kind, code, message, traceback, non_recoverable, worker = values
    if not kind:
        return Failure(code="Aborted", message=abort_reason or "The action was aborted.")
    return Failure(
        kind=kind,  # type: ignore[arg-type]
        code=str(code),
        message=str(message),
        traceback=str(traceback),
        non_recoverable=bool(non_recoverable),
        worker=str(worker),
    )
