"""Whether a database has the tables and columns that the program works with."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection, MetaData

from services.common.errors import FailedPrecondition

_MOST_NAMED = 5
# One cheap statement: SQLAlchemy's inspector asks once per table, or reads all that a database knows of types.
_COLUMNS = {
    "sqlite": "SELECT found.name, column.name FROM sqlite_master AS found, pragma_table_info(found.name) AS column "
    "WHERE found.type = 'table' AND found.name IN :tables",
    "postgresql": "SELECT found.relname, attname FROM pg_attribute JOIN pg_class AS found ON found.oid = attrelid "
    "WHERE found.relname IN :tables AND pg_table_is_visible(found.oid) AND attnum > 0 AND NOT attisdropped",
}


def check_schema(connection: Connection, expected: MetaData) -> None:
    """Accepts a database whose tables have the columns that the program writes, and no others.

    At the newest revision that is so, unless a version that was never released made the database: what such a revision
    does may have changed since, and the database is then at it without having all of it.

    Args:
        connection: To the database, which may have other tables as well.
        expected: The tables of the program.

    Raises:
        FailedPrecondition: Something is missing, or is there and unknown (reason ``DATABASE_DIFFERS``).
    """
    found: dict[str, set[str]] = defaultdict(set)
    statement = sqlalchemy.text(_COLUMNS[connection.dialect.name])
    statement = statement.bindparams(sqlalchemy.bindparam("tables", expanding=True))
    for table, column in connection.execute(statement, {"tables": list(expected.tables)}):
        found[table].add(column)
    differences = []
    for table in expected.sorted_tables:
        there, known = found.get(table.name), {column.name for column in table.columns}
        if there is None:
            differences.append(f"there is no table {table.name}")
            continue
        differences += [f"table {table.name} has no column {column}" for column in sorted(known - there)]
        differences += [
            f"table {table.name} has an unknown column {column}" for column in sorted(there - known)
        ]
    if not differences:
        return
    if len(differences) > _MOST_NAMED:
        differences[_MOST_NAMED:] = [f"and {len(differences) - _MOST_NAMED} more"]
    url = connection.engine.url
    anew = "use an empty database"
    if connection.dialect.name == "sqlite":
        anew = f"move the directory {Path(url.database or '').absolute().parent} away"
    raise FailedPrecondition(
        f"database {url.set(query={}).render_as_string()} is not what this version of hangar makes: "
        f"{', '.join(differences)}. An unreleased or newer version made it. Go on with that version, restore a backup "
        f"made with this one, or, to begin anew, {anew}",
        reason="DATABASE_DIFFERS",
    )
