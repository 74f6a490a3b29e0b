"""Looking after a data directory: migrate, doctor, status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc.aio
import sqlalchemy

from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from hangar.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from services.admin import migrations as admin_migrations
from services.common.channel import connect
from services.common.data_directory import prepare_directory
from services.common.db import migrate, reader_engine, writer_engine
from services.common.errors import FailedPrecondition, NotFound
from services.embedded.backend_file import read_backend_file
from services.embedded.doctor import Finding, examine
from services.embedded.lock import DirectoryLock, is_held
from services.embedded.settings import Settings
from services.ledger import migrations as ledger_migrations

_ANSWER_SECONDS = 5.0


def migrate_databases(data_dir: Path | None) -> list[Path]:
    """Brings ledger and admin's database to this version, and returns their paths.

    Raises:
        FailedPrecondition: The backend runs, or a database is newer than the program.
    """
    directory = prepare_directory(Settings.load(data_dir=data_dir).data_dir)
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        done = []
        for name, migrations in (("ledger.db", ledger_migrations), ("admin.db", admin_migrations)):
            engine = writer_engine(directory / name)
            try:
                migrate(engine, migrations)
            finally:
                engine.dispose()
            done.append(directory / name)
        return done
    finally:
        lock.release()


def examine_ledger(data_dir: Path | None) -> list[Finding]:
    """Looks whether the ledger is in order. It may be in use.

    Raises:
        NotFound: There is no ledger in the data directory.
        FailedPrecondition: It cannot be read.
    """
    path = Settings.load(data_dir=data_dir).data_dir.expanduser().absolute() / "ledger.db"
    if not path.exists():
        raise NotFound(
            f"there is no ledger at {path}: name the right directory with --data-dir", reason="NO_LEDGER"
        )
    engine = reader_engine(path)
    try:
        with engine.connect() as connection:
            return examine(connection)
    except sqlalchemy.exc.DBAPIError as error:
        message = f"ledger {path} cannot be read: {error.orig}; bring it up to date with `hangar migrate`"
        raise FailedPrecondition(message, reason="LEDGER_UNREADABLE") from error
    finally:
        engine.dispose()


async def backend_status(data_dir: Path | None) -> dict[str, Any]:
    """Returns whether the backend runs, and what it says of itself."""
    directory = Settings.load(data_dir=data_dir).data_dir.expanduser().absolute()
    file = read_backend_file(directory)
    if not is_held(directory):
        return {"running": False, "reason": f"no backend uses {directory}; start one with `hangar up`"}
    if file is None:
        return {"running": False, "reason": f"the backend of {directory} is starting or stopping"}
    try:
        async with connect(file.grpc) as channel:
            stub = SchedulerServiceStub(channel)
            answer = await stub.ListNodes(messages.ListNodesRequest(), timeout=_ANSWER_SECONDS)
    except grpc.aio.AioRpcError as error:
        reason = f"process {file.pid} does not answer at {file.grpc} ({error.details()}); its log says more"
        return {"running": False, "reason": reason}
    nodes = [
        {
            "name": node.name,
            "state": messages.NodeState.Name(node.state).removeprefix("NODE_STATE_").lower(),
            "leases": node.leases,
            "workers": node.workers,
        }
        for node in answer.nodes
    ]
    return {"running": True, **vars(file), "nodes": nodes}
