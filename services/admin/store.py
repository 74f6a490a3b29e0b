"""Admin's own rows: the projects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy
from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Engine,
    MetaData,
    String,
    Text,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from services.common.db import unavailable_while_away
from services.common.errors import AlreadyExists, NotFound

_NAMES = {"pk": "pk_%(table_name)s"}
# Pages go by it: ordered by its bytes, whatever the database's collation is.
_ORDERED = String().with_variant(String(collation="C"), "postgresql")


class AdminModel(SQLModel, registry=registry(metadata=MetaData(naming_convention=_NAMES))):
    """Base of admin's tables: a metadata of its own, apart from the ledger's."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=_NAMES)


class ProjectRow(AdminModel, table=True):
    """A project."""

    __tablename__ = "project"

    id: str = Field(primary_key=True, sa_type=_ORDERED)
    name: str = Field(sa_type=Text)
    description: str = Field(default="", sa_type=Text)
    labels: dict[str, str] = Field(default_factory=dict, sa_type=JSON, nullable=False)
    archived: bool = False
    created_at: int = Field(sa_type=BigInteger)


PROJECT = AdminModel.metadata.tables["project"]


@dataclass(frozen=True, slots=True)
class ProjectRecord:
    """A project as the store returns it."""

    id: str
    name: str
    description: str
    labels: Mapping[str, str]
    archived: bool
    created_at: int
    """Microseconds since the epoch, UTC."""


class Store:
    """Projects in admin's database. Calls block; make them from a thread.

    While the database cannot be reached every method raises `Unavailable` (reason ``DATABASE_UNAVAILABLE``).

    Args:
        engine: An engine that may write, of a migrated database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create_project(self, record: ProjectRecord) -> None:
        """Adds a project.

        Raises:
            AlreadyExists: Its identifier is taken (reason ``PROJECT_ALREADY_EXISTS``).
        """
        try:
            with self._begin() as connection:
                connection.execute(insert(PROJECT).values(**_values(record)))
        except sqlalchemy.exc.IntegrityError as error:
            message = (
                f"project {record.id!r} exists already: choose another identifier, or update that project"
            )
            raise AlreadyExists(message, reason="PROJECT_ALREADY_EXISTS", project=record.id) from error

    def ensure_project(self, record: ProjectRecord) -> None:
        """Adds a project unless its identifier is taken."""
        make = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        with self._begin() as connection:
            connection.execute(make(PROJECT).values(**_values(record)).on_conflict_do_nothing())

    def get_project(self, project: str) -> ProjectRecord:
        """Returns a project.

        Raises:
            NotFound: There is none of this identifier (reason ``PROJECT_NOT_FOUND``).
        """
        with self._begin() as connection:
            row = connection.execute(select(PROJECT).where(PROJECT.c.id == project)).one_or_none()
        if row is None:
            message = (
                f"project {project!r} does not exist: create it with `flyte create project --id {project}`"
            )
            raise NotFound(message, reason="PROJECT_NOT_FOUND", project=project)
        return ProjectRecord(**row._mapping)

    def list_projects(
        self, *, after: str = "", archived: bool = False, limit: int = 100
    ) -> list[ProjectRecord]:
        """Lists projects by identifier.

        Args:
            after: Identifier of the last project of the page before; empty for the first page.
            archived: True to list archived ones too.
            limit: Most projects in the answer.
        """
        query = select(PROJECT).where(PROJECT.c.id > after)
        if not archived:
            query = query.where(PROJECT.c.archived.is_(False))
        with self._begin() as connection:
            rows = connection.execute(query.order_by(PROJECT.c.id).limit(limit)).all()
        return [ProjectRecord(**row._mapping) for row in rows]

    def update_project(self, project: str, changes: Mapping[str, Any]) -> ProjectRecord:
        """Changes columns of a project and returns it.

        Raises:
            NotFound: There is none of this identifier.
        """
        if changes:
            with self._begin() as connection:
                connection.execute(update(PROJECT).where(PROJECT.c.id == project).values(**changes))
        return self.get_project(project)

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with (
            unavailable_while_away("admin's database", "DATABASE_UNAVAILABLE"),
            self._engine.begin() as connection,
        ):
            yield connection


def _values(record: ProjectRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in PROJECT.c.keys()}  # noqa: SIM118  # a column collection
