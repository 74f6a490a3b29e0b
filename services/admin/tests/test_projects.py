import grpc
import pytest
from sqlalchemy import text

from hangar.admin.v1 import project_service_pb2 as messages
from hangar.admin.v1.project_pb2 import Project
from services.admin import migrations
from services.admin.store import AdminModel, ProjectRecord, Store
from services.common import errors
from services.common.db import migrate, upgrade, version_table, writer_engine
from services.common.grpc_errors import from_rpc_error


async def refused(call) -> errors.HangarError:
    """Returns the error of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_the_default_project_exists_at_once(world):
    """A new installation has the project "default" with its three domains."""
    found = await world.projects.GetProject(messages.GetProjectRequest(id="default"))
    assert found.project.name == "Default"
    assert list(found.project.domains) == ["development", "staging", "production"]


async def test_projects_are_created_once_and_changed_in_part(world):
    """What an update leaves out stays; an identifier can be taken only once."""
    project = Project(id="vision", description="d", labels={"team": "a"})
    made = (await world.projects.CreateProject(messages.CreateProjectRequest(project=project))).project
    assert (made.name, made.labels) == ("vision", {"team": "a"})
    assert made.created_at.seconds > 0
    taken = await refused(world.projects.CreateProject(messages.CreateProjectRequest(project=project)))
    assert isinstance(taken, errors.AlreadyExists)
    assert taken.reason == "PROJECT_ALREADY_EXISTS"
    update = messages.UpdateProjectRequest(id="vision", name="Vision")
    changed = (await world.projects.UpdateProject(update)).project
    assert (changed.name, changed.description, changed.labels, changed.archived) == (
        "Vision",
        "d",
        {"team": "a"},
        False,
    )
    update = messages.UpdateProjectRequest(id="vision", replace_labels=True, archived=True)
    changed = (await world.projects.UpdateProject(update)).project
    assert (changed.labels, changed.archived) == ({}, True)


async def test_projects_are_listed_in_pages(world):
    """Pages follow each other by identifier; archived projects are listed when asked for."""
    for name in ("b", "a", "c"):
        await world.projects.CreateProject(
            messages.CreateProjectRequest(project=Project(id=name, archived=name == "c"))
        )
    names, token = [], ""
    while True:
        request = messages.ListProjectsRequest(page_size=1, page_token=token)
        page = await world.projects.ListProjects(request)
        names += [each.id for each in page.projects]
        token = page.next_page_token
        if not token:
            break
    assert names == ["a", "b", "default"]
    everything = await world.projects.ListProjects(messages.ListProjectsRequest(include_archived=True))
    assert [each.id for each in everything.projects] == ["a", "b", "c", "default"]


@pytest.mark.parametrize("identifier", ["", "Bad", "-", "a" * 64])
async def test_bad_identifiers_are_refused(world, identifier):
    """A project identifier that is not a name is refused, and nothing is made."""
    request = messages.CreateProjectRequest(project=Project(id=identifier))
    assert isinstance(await refused(world.projects.CreateProject(request)), errors.InvalidArgument)
    assert len((await world.projects.ListProjects(messages.ListProjectsRequest())).projects) == 1


async def test_unknown_projects_and_tokens_are_refused(world):
    """What does not exist is NOT_FOUND with the way to make it; a made-up page token is refused."""
    missing = await refused(world.projects.GetProject(messages.GetProjectRequest(id="nope")))
    assert isinstance(missing, errors.NotFound)
    assert "flyte create project" in missing.message
    assert isinstance(
        await refused(world.projects.UpdateProject(messages.UpdateProjectRequest(id="nope"))), errors.NotFound
    )
    listing = messages.ListProjectsRequest(page_token="made up")
    assert (await refused(world.projects.ListProjects(listing))).reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("revision", ["base", "0001", "0002"])
def test_migrations_make_the_tables(database_url, revision):
    """From nothing and from every revision a database gets to what the table classes say, and keeps its projects."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    engine = writer_engine(database_url)
    upgrade(engine, migrations, revision)
    record = ProjectRecord("kept", "Kept", "", {"a": "b"}, False, 5)
    if revision != "base":
        Store(engine).create_project(record)
    migrate(engine, migrations)
    with engine.connect() as connection:
        opts = {"version_table": version_table(engine, migrations)}
        assert compare_metadata(MigrationContext.configure(connection, opts=opts), AdminModel.metadata) == []
        assert connection.scalar(text(f"SELECT version_num FROM {opts['version_table']}")) == "0002"
    assert Store(engine).list_projects() == ([record] if revision != "base" else [])
    engine.dispose()
