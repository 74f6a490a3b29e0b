"""The record of builds: what was asked for, how far it is, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Engine,
    MetaData,
    String,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from services.common.db import unavailable_while_away
from services.image_builder.builds import Build, Image, LogLine, State
from services.image_builder.dockerfile import Step
from services.image_builder.failures import BuildError

_NAMES = {"pk": "pk_%(table_name)s", "ix": "ix_%(column_0_label)s"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BuilderModel(SQLModel, registry=registry(metadata=MetaData(naming_convention=_NAMES))):
    """Base of the image builder's tables."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=_NAMES)


class ImageBuildRow(BuilderModel, table=True):
    """A build: the newest of its image."""

    __tablename__ = "image_build"

    name: str = Field(primary_key=True, sa_type=String)
    number: int = Field(sa_type=BigInteger, index=True)
    definition_json: str = Field(sa_type=Text)
    definition_digest: str = Field(sa_type=Text)
    reference: str = Field(sa_type=Text)
    base_image: str = Field(sa_type=Text)
    title: str = Field(default="", sa_type=Text)
    platform: str = Field(sa_type=Text)
    is_environment: bool = False
    fresh: bool = False
    state: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    started_at: int | None = Field(default=None, sa_type=BigInteger, nullable=True)
    finished_at: int | None = Field(default=None, sa_type=BigInteger, nullable=True)
    asked_at: int = Field(sa_type=BigInteger)
    image_digest: str = Field(default="", sa_type=Text)
    image_id: str = Field(default="", sa_type=Text)
    bases: dict[str, Any] = Field(default_factory=dict, sa_type=JSON, nullable=False)
    size_bytes: int = Field(default=0, sa_type=BigInteger)
    failure: dict[str, Any] | None = Field(default=None, sa_type=JSON, nullable=True)
    log: list[Any] = Field(default_factory=list, sa_type=JSON, nullable=False)
    sbom: str = Field(default="", sa_type=Text)
    provenance: str = Field(default="", sa_type=Text)


class ImageBuilderRow(BuilderModel, table=True):
    """The image builder itself: one row."""

    __tablename__ = "image_builder"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    owner: str = Field(sa_type=Text)


BUILD = BuilderModel.metadata.tables["image_build"]
BUILDER = BuilderModel.metadata.tables["image_builder"]


@dataclass(frozen=True, slots=True)
class Request:
    """A build that has not ended.

    Attributes:
        build: The build, queued.
        definition_json: Its definition.
        fresh: True when nothing of earlier builds may be used.
    """

    build: Build
    definition_json: str
    fresh: bool


class Store:
    """Builds in the image builder's database. Calls block; make them from a thread.

    While the database cannot be reached every method raises `Unavailable` (reason ``DATABASE_UNAVAILABLE``).

    Args:
        engine: An engine that may write, of a migrated database.
        log_limit: Most lines of a log that builds keep in memory.
    """

    def __init__(self, engine: Engine, log_limit: int) -> None:
        self._engine = engine
        self._log_limit = log_limit
        self._owner = ""

    def owner(self) -> str:
        """Returns the identity of the image builder whose record this is, made at the first use."""
        while not self._owner:
            try:
                with self._begin() as connection:
                    found = connection.scalar(select(BUILDER.c.owner))
                    if found is None:
                        found = uuid.uuid4().hex
                        connection.execute(insert(BUILDER).values(id=1, owner=found))
                self._owner = found
            except IntegrityError:  # another process was faster
                continue
        return self._owner

    def begin(self, build: Build, definition_json: str, *, fresh: bool) -> None:
        """Puts a build on record, in place of an ended one of its image, and gives it its number."""
        image = build.image
        with self._begin() as connection:
            newest = connection.scalar(select(func.max(BUILD.c.number))) or 0
            build.number = newest + 1
            connection.execute(delete(BUILD).where(BUILD.c.name == image.name))
            values: dict[str, Any] = {
                "name": image.name,
                "number": build.number,
                "definition_json": definition_json,
                "definition_digest": image.definition_digest,
                "reference": image.reference,
                "base_image": image.base_image,
                "title": image.title,
                "platform": image.platform,
                "is_environment": image.is_environment,
                "fresh": fresh,
                "state": State.QUEUED.value,
                "created_at": _micros(build.created_at),
                "asked_at": _micros(build.created_at),
                "image_digest": "",
                "image_id": "",
                "bases": {},
                "size_bytes": 0,
                "log": [],
                "sbom": "",
                "provenance": "",
            }
            connection.execute(insert(BUILD).values(**values))

    def end(self, build: Build, provenance: str = "") -> None:
        """Puts the end of a build on record, with its log."""
        error = build.error
        failure = None
        if error is not None:
            step = [error.step.text, error.step.layer] if error.step else None
            failure = {
                "code": error.code,
                "message": error.message,
                "is_system": error.is_system,
                "exit_code": error.exit_code,
                "step": step,
            }
        lines = build.lines(0, build.log_limit)
        values = {
            "state": build.state.value,
            "started_at": _micros(build.started_at) if build.started_at else None,
            "finished_at": _micros(build.finished_at) if build.finished_at else None,
            "image_digest": build.image_digest,
            "image_id": build.image_id,
            "bases": dict(build.bases),
            "size_bytes": build.size_bytes,
            "failure": failure,
            "log": [[line.number, line.text, line.step, _micros(line.captured_at)] for line in lines],
            "provenance": provenance,
        }
        with self._begin() as connection:
            connection.execute(update(BUILD).where(BUILD.c.name == build.image.name).values(**values))

    def describe(self, build: Build, sbom: str) -> None:
        """Puts on record what is in the image of a build, unless a later build has taken its place."""
        same = (BUILD.c.name == build.image.name) & (BUILD.c.number == build.number)
        with self._begin() as connection:
            connection.execute(update(BUILD).where(same).values(sbom=sbom))

    def touch(self, name: str, now: datetime) -> None:
        """Notes that somebody asked for an image."""
        with self._begin() as connection:
            connection.execute(update(BUILD).where(BUILD.c.name == name).values(asked_at=_micros(now)))

    def get(self, name: str) -> Build | None:
        """Returns the newest build of an image, None when none is on record."""
        with self._begin() as connection:
            row = connection.execute(select(BUILD).where(BUILD.c.name == name)).mappings().one_or_none()
        return None if row is None else self._build(row)

    def attestation(self, name: str) -> tuple[str, str]:
        """Returns what is in an image and how it was made; empty texts when that is not on record."""
        with self._begin() as connection:
            query = select(BUILD.c.sbom, BUILD.c.provenance).where(BUILD.c.name == name)
            row = connection.execute(query).one_or_none()
        return ("", "") if row is None else (row[0], row[1])

    def newest(self, before: int | None, limit: int) -> list[Build]:
        """Returns builds, newest first, or those before a number; without their logs."""
        columns = [column for column in BUILD.c if column.name not in {"log", "sbom", "provenance"}]
        query = select(*columns).order_by(BUILD.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(BUILD.c.number < before)
        with self._begin() as connection:
            return [self._build(row) for row in connection.execute(query).mappings()]

    def unfinished(self) -> list[Request]:
        """Returns the builds that have not ended, oldest first."""
        states = [State.QUEUED.value, State.BUILDING.value]
        query = select(BUILD).where(BUILD.c.state.in_(states)).order_by(BUILD.c.number)
        with self._begin() as connection:
            rows = connection.execute(query).mappings().all()
        return [Request(self._build(row), row["definition_json"], row["fresh"]) for row in rows]

    def unasked_since(self, moment: datetime) -> set[str]:
        """Returns the names of images on record that nobody asked for since."""
        with self._begin() as connection:
            query = select(BUILD.c.name).where(BUILD.c.asked_at <= _micros(moment))
            return set(connection.scalars(query))

    def names(self) -> set[str]:
        """Returns the names of all images on record."""
        with self._begin() as connection:
            return set(connection.scalars(select(BUILD.c.name)))

    def delete(self, name: str) -> None:
        """Takes a build off the record."""
        with self._begin() as connection:
            connection.execute(delete(BUILD).where(BUILD.c.name == name))

    def _build(self, row: Any) -> Build:
        image = Image(
            row["name"],
            row["reference"],
            row["definition_digest"],
            row["base_image"],
            row["platform"],
            row["is_environment"],
            row["title"],
        )
        build = Build(image, row["number"], _moment(row["created_at"]), self._log_limit)
        build.state = State(row["state"])
        build.started_at = _moment(row["started_at"]) if row["started_at"] is not None else None
        build.finished_at = _moment(row["finished_at"]) if row["finished_at"] is not None else None
        build.image_digest, build.image_id = row["image_digest"], row["image_id"]
        build.bases, build.size_bytes = row["bases"], row["size_bytes"]
        failure = row["failure"]
        if failure:
            step = Step(*failure["step"]) if failure["step"] else None
            build.error = BuildError(
                failure["code"],
                failure["message"],
                is_system=failure["is_system"],
                step=step,
                exit_code=failure["exit_code"],
            )
            build.step = step
        build.restore(
            [LogLine(number, text, step, _moment(at)) for number, text, step, at in row.get("log") or ()]
        )
        return build

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with (
            unavailable_while_away("the image builder's database", "DATABASE_UNAVAILABLE"),
            self._engine.begin() as connection,
        ):
            yield connection


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
