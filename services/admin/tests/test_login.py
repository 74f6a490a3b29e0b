"""Admin's HTTP port when the installation has a token."""

import asyncio
import json
from http.cookies import SimpleCookie

import pytest

from services.admin.app import AdminApp
from services.admin.http.login import COOKIE, SESSION_SECONDS, Sessions
from services.admin.settings import Settings
from services.admin.tests.conftest import World
from services.admin.tests.fake_scheduler import FakeScheduler
from services.common.auth import Token
from services.common.blobs import BlobStore
from services.common.channel import connect
from services.common.serve import build_server

TOKEN = "hgr_0123456789abcdefghij"
RUN = "/api/v1/projects/default/domains/development/runs"
JSON = {"Content_Type": "application/json"}


@pytest.fixture
def public_url():
    """Address of the HTTP port as browsers see it; empty for the one that it listens on."""
    return ""


@pytest.fixture
async def guarded(tmp_path, public_url):
    """Admin that demands a token."""
    scheduler = FakeScheduler(tmp_path / "ledger.db")
    port = await scheduler.start()
    app = AdminApp(
        Settings.load(
            data_dir=tmp_path, http_port=0, scheduler=f"127.0.0.1:{port}", token=TOKEN, public_url=public_url
        )
    )
    server = build_server(app.registrations, token=Token(TOKEN))
    channel = connect(f"127.0.0.1:{server.bind('127.0.0.1', 0)}", Token(TOKEN))
    await app.start()
    await server.start()
    yield World(app, scheduler, port, channel, BlobStore((tmp_path / "blobs").as_uri()))
    await channel.close()
    await server.stop(0)
    await app.stop()
    await scheduler.stop()
    scheduler.close()


async def sign_in(world, token=TOKEN, **headers):
    """Signs a browser in and returns the answer."""
    return await world.http("POST", "/api/v1/login", json.dumps({"token": token}).encode(), **JSON, **headers)


def cookie_of(answer):
    """Returns the cookie that an answer sets, with its attributes."""
    return SimpleCookie(answer.headers["set-cookie"])[COOKIE]


async def test_nothing_is_shown_without_the_token(guarded):
    """JSON is refused with a reason, pages become one to sign in; neither shows whether the run exists."""
    await guarded.create("secret-run")
    for path in (
        f"{RUN}/secret-run",
        f"{RUN}/nope",
        "/api/v1/runs",
        "/api/v1/anything",
        f"{RUN}/secret-run/watch",
    ):
        answer = await guarded.http("GET", path)
        assert (answer.status, answer.json["reason"]) == (401, "TOKEN_MISSING"), path
        assert answer.headers["www-authenticate"] == "Bearer"
    abort = await guarded.http("POST", f"{RUN}/secret-run/abort", b"{}", **JSON)
    assert abort.status == 401
    for path in ("/", "/v2/runs/project/default/domain/development/secret-run", "/nowhere"):
        page = await guarded.http("GET", path)
        assert (page.status, page.headers["cache-control"]) == (401, "no-store")
        assert b"Sign in" in page.body
        assert b"secret-run" not in page.body
    wrong = await guarded.http("GET", "/api/v1/runs", Authorization="Bearer nonsense")
    assert (wrong.status, wrong.json["reason"]) == (401, "TOKEN_WRONG")
    assert guarded.scheduler.aborts == []


async def test_programs_show_the_token(guarded):
    """`authorization: Bearer` opens JSON, pages, and commands."""
    await guarded.create("x")
    shown = {"Authorization": f"Bearer {TOKEN}"}
    assert (await guarded.http("GET", f"{RUN}/x", **shown)).status == 200
    assert b"Recent runs" in (await guarded.http("GET", "/", **shown)).body
    assert (await guarded.http("POST", f"{RUN}/x/abort", b"{}", **JSON, **shown)).json == {"accepted": True}


async def test_health_the_look_and_signed_urls_stay_open(guarded):
    """Health, the files of the pages, and URLs with a signature need no token; a broken signature does not help."""
    assert (await guarded.http("GET", "/healthz")).json == {"status": "ok"}
    assert (await guarded.http("GET", "/static/login.js")).status == 200
    from services.admin.tests.test_http import upload

    content = b"code"
    asked = await upload(guarded, content)
    assert (await guarded.http("PUT", asked.url, content)).status == 201
    assert (await guarded.http("PUT", asked.url[:-3] + "000", content)).status == 403


async def test_browsers_sign_in_with_a_cookie(guarded):
    """The token becomes a cookie that scripts and other sites cannot use; JSON and live events work with it."""
    refused = await sign_in(guarded, TOKEN[:-1])
    assert (refused.status, refused.json["reason"]) == (401, "TOKEN_WRONG")
    assert "set-cookie" not in refused.headers
    for body in (b"", b"[]", b'{"token": 5}', b"x" * 5000):
        assert (await guarded.http("POST", "/api/v1/login", body, **JSON)).status == 400
    cross = await sign_in(guarded, Sec_Fetch_Site="cross-site")
    assert cross.status == 403
    answer = await sign_in(guarded)
    cookie = cookie_of(answer)
    assert (answer.status, answer.body) == (204, b"")
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (
        True,
        "strict",
        "/",
        "",
    )
    assert TOKEN not in answer.headers["set-cookie"]
    await guarded.create("x")
    shown = {"Cookie": f"a=b; {COOKIE}={cookie.value}"}
    assert (await guarded.http("GET", f"{RUN}/x", **shown)).status == 200
    streaming = asyncio.create_task(guarded.http("GET", f"{RUN}/x/watch", **shown))
    while not guarded.app._feed._watchers:  # noqa: ASYNC110  # until it watches
        await asyncio.sleep(0.01)
    await guarded.app.drain()
    assert b'"name":"x"' in (await asyncio.wait_for(streaming, 30)).body
    crossing = await guarded.http(
        "POST", f"{RUN}/x/abort", b"{}", **JSON, **shown, Sec_Fetch_Site="cross-site"
    )
    assert crossing.status == 403
    for forged in (cookie.value + "0", f"9999999999.{cookie.value.split('.')[1]}", "x", "1.", "٣.x", ""):
        answer = await guarded.http("GET", f"{RUN}/x", Cookie=f"{COOKIE}={forged}".encode().decode("latin-1"))
        assert answer.status == 401, forged


def test_sessions_end():
    """A cookie is good for its time only, and for its token only."""
    now = [1000.0]
    sessions = Sessions(Token(TOKEN), lambda: now[0])
    value = sessions.begin()
    assert sessions.is_valid(value)
    assert not Sessions(Token(f"{TOKEN}x"), lambda: now[0]).is_valid(value)
    now[0] += SESSION_SECONDS - 1
    assert sessions.is_valid(value)
    now[0] += 1
    assert not sessions.is_valid(value)


@pytest.mark.parametrize("public_url", ["https://hangar.example.com"])
async def test_the_public_name_is_served_and_others_are_not(guarded):
    """Requests may be for the host of the public address and for loopback; with https the cookie is for TLS only."""
    shown = {"Authorization": f"Bearer {TOKEN}"}
    port = guarded.app._listener.getsockname()[1]
    guarded.app.http_url = f"http://127.0.0.1:{port}"  # where the test connects
    for host, status in (
        ("hangar.example.com", 200),
        ("HANGAR.example.com:443", 200),
        ("localhost", 200),
        ("evil.hangar.example.com", 403),
        ("hangar.example.com.evil", 403),
        ("0.0.0.0", 403),
    ):
        assert (await guarded.http("GET", "/api/v1/projects", Host=host, **shown)).status == status, host
    assert cookie_of(await sign_in(guarded, Host="hangar.example.com"))["secure"] is True
