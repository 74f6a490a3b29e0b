"""Looking after a data directory: migrate, doctor, status."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import grpc.aio
import sqlalchemy

from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from hangar.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from services.admin import migrations as admin_migrations
from services.admin.settings import Settings as AdminSettings
from services.common.auth import read_token
from services.common.channel import connect
from services.common.data_directory import prepare_directory
from services.common.db import database_url, is_sqlite, migrate, reader_engine, writer_engine
from services.common.errors import FailedPrecondition, NotFound
from services.embedded.backend_file import read_backend_file
from services.embedded.doctor import Finding, examine
from services.embedded.lock import DirectoryLock, is_held
from services.embedded.settings import Settings
from services.image_builder import migrations as builder_migrations
from services.image_builder.settings import Settings as ImageBuilderSettings
from services.ledger import migrations as ledger_migrations
from services.scheduler.settings import Settings as SchedulerSettings

_ANSWER_SECONDS = 5.0


def migrate_databases(data_dir: Path | None, database: str | None = None) -> list[str]:
    """Brings the ledger, admin's database and the record of image builds to this version.

    SQLite files must not be in use. With PostgreSQL services may run: a newer schema serves older services.

    Args:
        data_dir: Directory of everything that is kept; None for the one of the settings.
        database: URL of a database of both; None for what the settings of scheduler and admin say.

    Returns:
        What was brought up to date, without passwords.

    Raises:
        FailedPrecondition: The backend runs, or a database cannot be used or is newer than the program.
    """
    given = {"data_dir": data_dir} if data_dir else {}
    ledger = database or SchedulerSettings.load(**given).database
    admin = database or AdminSettings.load(**given).database
    builds = database or ImageBuilderSettings.load(**given).database
    directory = Settings.load(data_dir=data_dir).data_dir.expanduser().absolute()
    packages: list[tuple[str | Path, ModuleType]] = [
        (ledger or directory / "ledger.db", ledger_migrations),
        (admin or directory / "admin.db", admin_migrations),
        (builds or directory / "image-builder.db", builder_migrations),
    ]
    lock = None
    if any(is_sqlite(where) for where, _ in packages):
        lock = DirectoryLock(prepare_directory(directory))
        lock.acquire()
    try:
        return [_migrate(where, migrations) for where, migrations in packages]
    finally:
        if lock is not None:
            lock.release()


def _migrate(where: str | Path, migrations: ModuleType) -> str:
    engine = writer_engine(where)
    try:
        migrate(engine, migrations)
    finally:
        engine.dispose()
    return shown(where)


def examine_ledger(data_dir: Path | None, database: str | None = None) -> list[Finding]:
    """Looks whether the ledger is in order. It may be in use.

    Args:
        data_dir: Directory of everything that is kept; None for the one of the settings.
        database: Path or URL of the ledger; None for what the settings of the scheduler say.

    Raises:
        NotFound: There is no ledger in the data directory.
        FailedPrecondition: It cannot be read.
    """
    settings = SchedulerSettings.load(**({"data_dir": data_dir} if data_dir else {}))
    where = database or settings.database or settings.data_dir.expanduser().absolute() / "ledger.db"
    if is_sqlite(where) and not Path(database_url(where).database or "").exists():
        raise NotFound(
            f"there is no ledger at {shown(where)}: name the right directory with --data-dir, "
            "or the database with --database",
            reason="NO_LEDGER",
        )
    engine = reader_engine(where, seconds=None)
    try:
        with engine.connect() as connection:
            return examine(connection)
    except sqlalchemy.exc.DBAPIError as error:
        message = (
            f"ledger {shown(where)} cannot be read: {error.orig}; bring it up to date with `hangar migrate`"
        )
        raise FailedPrecondition(message, reason="LEDGER_UNREADABLE") from error
    finally:
        engine.dispose()


def shown(where: str | Path) -> str:
    """Returns a database for people: the path of a file, a URL without its password."""
    url = database_url(where)
    return url.database or "" if is_sqlite(where) else url.set(query={}).render_as_string()


async def backend_status(data_dir: Path | None) -> dict[str, Any]:
    """Returns whether the backend runs, and what it says of itself."""
    settings = Settings.load(data_dir=data_dir)
    directory = settings.data_dir.expanduser().absolute()
    file = read_backend_file(directory)
    if not is_held(directory):
        return {"running": False, "reason": f"no backend uses {directory}; start one with `hangar up`"}
    if file is None:
        return {"running": False, "reason": f"the backend of {directory} is starting or stopping"}
    try:
        token = read_token(Path(file.token_file)) if file.token_file else settings.access_token()
        async with connect(file.grpc, token) as channel:
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
