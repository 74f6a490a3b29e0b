import asyncio
import hashlib
import json

from hangar.admin.v1 import data_service_pb2 as messages
from hangar.admin.v1 import run_service_pb2 as run_messages
from hangar.core.v1.phase_pb2 import Phase
from services.admin.tests.test_projects import refused
from services.common import errors

RUN = "/api/v1/projects/default/domains/development/runs"


async def upload(world, content, kind=messages.UPLOAD_KIND_CODE_BUNDLE, size=None):
    """Asks for an upload of some content."""
    request = messages.UploadRequest(
        kind=kind, sha256=hashlib.sha256(content).hexdigest(), size=len(content) if size is None else size
    )
    create = messages.CreateUploadsRequest(project="default", domain="development", uploads=[request])
    return (await world.data.CreateUploads(create)).uploads[0]


async def test_content_is_uploaded_once(world):
    """An object that is not there gets a URL that takes it; afterwards it exists."""
    content = bytes(range(256)) * 40_000
    asked = await upload(world, content)
    assert (asked.exists, asked.key) == (False, f"code/{hashlib.sha256(content).hexdigest()}.tar.gz")
    assert (await world.http("PUT", asked.url, content)).status == 201
    again = await upload(world, content)
    assert (again.exists, again.url) == (True, "")
    assert await world.blobs.get(asked.key) == content


async def test_other_content_than_announced_is_refused(world):
    """Content with another digest, other keys, methods or signatures, or too much of it, is not stored."""
    asked = await upload(world, b"announced")
    wrong = await world.http("PUT", asked.url, b"something else")
    assert (wrong.status, wrong.json["reason"]) == (400, "DIGEST_MISMATCH")
    forged = await world.http("PUT", asked.url.replace("code/", "inputs/"), b"announced")
    assert (forged.status, forged.json["reason"]) == (403, "SIGNATURE_INVALID")
    assert (await world.http("GET", asked.url)).status == 403
    assert (await world.http("PUT", asked.url.split("?")[0], b"announced")).status == 403
    assert (await world.http("PUT", "/v1/blobs/../../etc/passwd?expires=1&signature=x", b"x")).status in (
        400,
        404,
    )
    large = await world.http("PUT", asked.url, b"", Content_Length=str(2**50))
    assert (large.status, large.json["reason"]) == (413, "BLOB_TOO_LARGE")
    assert not await world.blobs.exists(asked.key)
    for change in ({"size": 0}, {"size": 2**50}, {"kind": 0}):
        assert isinstance(await refused(upload(world, b"x", **change)), errors.InvalidArgument)


async def test_ranges_are_those_of_the_object(world, tmp_path):
    """GET with a range returns it, an impossible one is refused."""
    from datetime import timedelta

    from services.common.blob_urls import UrlSigner, load_signing_key

    await world.blobs.put("runs/x.json", b"0123456789")
    signer = UrlSigner(world.app.http_url, load_signing_key(tmp_path / "secret.key"))
    url = signer.sign("GET", "runs/x.json", timedelta(minutes=1))
    whole = await world.http("GET", url)
    assert (whole.status, whole.body, whole.headers["content-disposition"]) == (
        200,
        b"0123456789",
        "attachment",
    )
    for asked, expected in {
        "bytes=2-4": b"234",
        "bytes=8-": b"89",
        "bytes=-3": b"789",
        "bytes=5-99": b"56789",
    }.items():
        part = await world.http("GET", url, Range=asked)
        assert (part.status, part.body) == (206, expected)
    assert (await world.http("GET", url, Range="bytes=2-4")).headers["content-range"] == "bytes 2-4/10"
    assert (await world.http("GET", url, Range="bytes=10-")).status == 400
    head = await world.http("HEAD", url)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "10")
    missing = signer.sign("GET", "runs/y.json", timedelta(minutes=1))
    assert (await world.http("GET", missing)).json["reason"] == "BLOB_NOT_FOUND"


async def test_both_shapes_of_a_runs_address_show_its_page(world):
    """The two addresses of a run give the page; an unknown run or path is a clear 404."""
    await world.create("shown")
    for path in (
        "/v2/runs/project/default/domain/development/shown",
        "/v2/domain/development/project/default/runs/shown",
        "/",
    ):
        page = await world.http("GET", path)
        assert page.status == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
    missing = await world.http("GET", "/v2/runs/project/default/domain/development/gone")
    assert missing.status == 404
    assert b"gone" in missing.body
    script = await world.http("GET", "/v2/runs/project/default/domain/%3Cscript%3E/x")
    assert script.status == 400
    assert b"<script>" not in script.body
    assert (await world.http("GET", "/nothing")).status == 404
    assert (await world.http("GET", "/healthz")).json == {"status": "ok"}
    for name in ("style.css", "common.js", "run.js", "runs.js", "tree.js", "panel.js"):
        static = await world.http("GET", f"/static/{name}")
        assert (static.status, static.headers["cache-control"]) == (200, "no-cache")


async def test_pages_load_nothing_from_elsewhere():
    """No file of the pages names another host, has inline code, or parses text of users as HTML."""
    from services.admin.http.app import _STATIC

    texts = {path.name: path.read_text() for path in _STATIC.iterdir()}
    assert {"run.html", "runs.html"} <= set(texts)
    for name, text in texts.items():
        assert "://" not in text, name
        for bad in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=",
            "onclick=",
        ):
            assert bad not in text, (name, bad)


async def test_the_pages_json_is_that_of_the_services(world):
    """Runs, actions with what happened, data and logs are given as JSON with the API's field names."""
    run = await world.create("j")
    await world.create("k")
    await world.scheduler.move(run, "a0", Phase.PHASE_RUNNING, detail="<b>placed</b>")
    listed = (await world.http("GET", "/api/v1/runs")).json["runs"]
    assert [each["id"]["name"] for each in listed] == ["k", "j"]
    assert (await world.http("GET", "/api/v1/runs?project=nope")).status == 404
    assert (await world.http("GET", f"{RUN}/j")).json["phase"] == "PHASE_RUNNING"
    action = (await world.http("GET", f"{RUN}/j/actions/a0")).json
    assert action["inputs"] == {"text": '{"x":5}', "size": 7, "url": ""}
    assert action["outputs"] is None
    assert [(each["phase"], each["detail"]) for each in action["events"]] == [
        ("PHASE_QUEUED", ""),
        ("PHASE_RUNNING", "<b>placed</b>"),
    ]
    assert (await world.http("GET", f"{RUN}/j/actions/a0/logs")).json["cursor"] == "0:0:0"
    assert [each["id"] for each in (await world.http("GET", "/api/v1/projects")).json["projects"]] == [
        "default"
    ]
    assert (await world.http("GET", f"{RUN}/nope")).json["reason"] == "RUN_NOT_FOUND"
    assert (await world.http("GET", f"{RUN}/j/actions/a0/logs?attempt=x")).status == 400


async def test_live_updates_come_as_events(world):
    """The stream of a run has its state, its changes with cursors as ids, and an end."""
    run = await world.create("live")
    streaming = asyncio.create_task(world.http("GET", f"{RUN}/live/watch"))
    await world.scheduler.move(run, "a0", Phase.PHASE_RUNNING)
    await world.scheduler.move(run, "a0", Phase.PHASE_SUCCEEDED)
    answer = await asyncio.wait_for(streaming, 30)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.body.decode().strip().split("\n\n")
    assert events[-1] == "event: end\ndata: {}"
    last = dict(line.split(": ", 1) for line in events[-2].split("\n"))
    assert int(last["id"]) == len(world.scheduler.events)
    assert json.loads(last["data"])["run"]["phase"] == "PHASE_SUCCEEDED"
    tail = await world.http("GET", f"{RUN}/live/actions/a0/logs/tail")
    assert tail.body == b"event: end\ndata: {}\n\n"
    assert (await world.http("GET", f"{RUN}/nope/watch")).status == 404


async def test_only_our_own_pages_may_change_anything(world):
    """An abort needs JSON of the same site; requests for another host name are refused."""
    await world.create("x")
    body = json.dumps({"reason": "from the page"}).encode()
    abort = f"{RUN}/x/abort"
    assert (await world.http("POST", abort, body)).status == 403
    other = await world.http(
        "POST", abort, body, Content_Type="application/json", Sec_Fetch_Site="cross-site"
    )
    assert other.status == 403
    rebound = await world.http("GET", "/", Host="evil.example")
    assert (rebound.status, rebound.json["reason"]) == (403, "REQUEST_REFUSED")
    assert world.scheduler.aborts == []
    for wrong in (b"[1]", b"not json", b'{"reason": 5}', b"x" * 70_000):
        assert (await world.http("POST", abort, wrong, Content_Type="application/json")).status == 400
    good = await world.http(
        "POST", abort, body, Content_Type="application/json", Sec_Fetch_Site="same-origin"
    )
    assert (good.status, good.json) == (200, {"accepted": True})
    wrong = await world.http("POST", f"{RUN}/x/rerun", b'{"recover": 1}', Content_Type="application/json")
    assert (wrong.status, wrong.json["reason"]) == (400, "INVALID_ARGUMENT")
    again = await world.http("POST", f"{RUN}/x/rerun", b"{}", Content_Type="application/json")
    assert (again.json["created"], again.json["run"]["task_name"]) == (True, "env.main")
    action = await world.http("POST", f"{RUN}/x/actions/a0/abort", b"{}", Content_Type="application/json")
    assert action.json == {"accepted": True}
    assert world.scheduler.aborts == [("x", "from the page"), ("a0", "")]


async def test_a_report_is_served_in_a_sandbox(world):
    """A report is HTML that runs with no origin: the newest that there is, or that of the attempt asked for."""
    run = await world.create("r")
    url = f"{RUN}/r/actions/a0/report"
    for number in (0, 1, 2):
        world.scheduler.add_attempt(run, "a0", number)
    assert (await world.http("GET", url)).json == {}
    assert (await world.http("GET", f"{url}.html")).json["reason"] == "REPORT_NOT_FOUND"
    assert isinstance(
        await refused(world.runs.GetReport(run_messages.GetReportRequest(id=world.action(run)))),
        errors.NotFound,
    )
    for number in (0, 1):
        await world.blobs.put(f"runs/default/development/r/a0/{number}/report.html", b"<p>%d</p>" % number)
    known = (await world.http("GET", url)).json
    assert (known["attempt"], known["size"]) == (1, 8)
    page = await world.http("GET", f"{url}.html")
    assert (page.body, page.headers["content-type"]) == (b"<p>1</p>", "text/html; charset=utf-8")
    policy = [part.split() for part in page.headers["content-security-policy"].split(";")]
    [sandbox] = [part for part in policy if part[0] == "sandbox"]
    assert "allow-scripts" in sandbox
    assert not {"allow-same-origin", "allow-top-navigation", "allow-forms"} & set(sandbox)
    assert (await world.http("GET", f"{url}.html?attempt=0")).body == b"<p>0</p>"
    assert (await world.http("GET", f"{url}?attempt=2")).json == {}
    assert (await world.http("GET", f"{RUN}/r/actions/none/report")).status == 404
    answer = await world.runs.GetReport(run_messages.GetReportRequest(id=world.action(run)))
    assert (answer.attempt, answer.size) == (1, 8)
    direct = await world.http("GET", answer.url)
    assert (direct.body, direct.headers["content-disposition"]) == (b"<p>1</p>", "attachment")
    await world.blobs.put("runs/default/development/r/a0/1/report.html", b"<p>more</p>")
    assert (await world.http("GET", url)).json["state"] != known["state"]


async def test_watches_end_when_admin_stops(world):
    """A stop does not wait for those who watch: their streams end with a reason to come back."""
    await world.create("w")
    streaming = asyncio.create_task(world.http("GET", f"{RUN}/w/watch"))
    while not world.app._feed._watchers:  # noqa: ASYNC110  # until it watches
        await asyncio.sleep(0.01)
    await asyncio.wait_for(world.app.stop(), 30)
    assert "STOPPING" in (await asyncio.wait_for(streaming, 30)).body.decode()


async def test_data_is_uploaded_and_read_again(world):
    """A file has a key by its content, a directory one by its collection; both are listed and downloaded."""
    content = b"a,b"
    single = messages.UploadRequest(
        kind=messages.UPLOAD_KIND_DATA, sha256=hashlib.sha256(content).hexdigest(), size=3, name="x y.csv"
    )
    inside = [
        messages.UploadRequest(kind=messages.UPLOAD_KIND_DATA, size=3, name=name, collection="0" * 32)
        for name in ("d/1", "d/sub/%2Ehidden")
    ]
    create = messages.CreateUploadsRequest(project="default", domain="development", uploads=[single, *inside])
    uploads = (await world.data.CreateUploads(create)).uploads
    assert [each.key for each in uploads] == [
        f"data/{single.sha256}/x y.csv", f"data/{'0' * 32}/d/1", f"data/{'0' * 32}/d/sub/%2Ehidden",
    ]  # fmt: skip
    for each in uploads:
        assert (await world.http("PUT", each.url, content)).status == 201
    wrong = await world.http("PUT", uploads[0].url, b"c,d")
    assert wrong.json["reason"] == "DIGEST_MISMATCH"
    keys = [*(each.key for each in uploads), "data/x/none"]
    ask = messages.CreateDownloadsRequest(project="default", domain="development", keys=keys)
    found = (await world.data.CreateDownloads(ask)).downloads
    assert [(each.exists, each.size) for each in found] == [(True, 3)] * 3 + [(False, 0)]
    for each in found[:3]:
        assert (await world.http("GET", each.url)).body == content
    listing = messages.ListObjectsRequest(
        project="default", domain="development", prefix=f"data/{'0' * 32}/d/", page_size=1
    )
    first = await world.data.ListObjects(listing)
    listing.page_token = first.next_page_token
    second = await world.data.ListObjects(listing)
    assert [each.key for each in (*first.objects, *second.objects)] == [each.key for each in uploads[1:]]
    assert first.next_page_token
    assert not second.next_page_token


async def test_what_is_no_data_cannot_be_read(world):
    """Inputs, logs and data of another project are out of reach, as are wrong names; code is had by its digest."""
    await world.blobs.put("runs/default/development/r/a0/0/data/x", b"1")
    await world.blobs.put("runs/other/development/r/a0/0/data/x", b"1")

    def ask(key):
        return world.data.CreateDownloads(
            messages.CreateDownloadsRequest(project="default", domain="development", keys=[key])
        )

    assert (await ask("runs/default/development/r/a0/0/data/x")).downloads[0].exists
    assert not (await ask(f"code/{'0' * 64}.tar.gz")).downloads[0].exists
    for key in (
        "runs/other/development/r/a0/0/data/x", "runs/default/development/r/a0/0/outputs.json",
        "code/x.tar.gz", "inputs/x.json", "data/x",
    ):  # fmt: skip
        error = await refused(ask(key))
        assert isinstance(error, errors.PermissionDenied), key
    listing = messages.ListObjectsRequest(project="default", domain="development", prefix="runs/default/")
    assert isinstance(await refused(world.data.ListObjects(listing)), errors.PermissionDenied)
    for change in (
        {"name": "a/b", "sha256": "0" * 64}, {"name": "../x", "collection": "0" * 32}, {"name": "x"},
        {"name": "x", "collection": "short"}, {"name": ".x", "collection": "0" * 32},
    ):  # fmt: skip
        wanted = messages.UploadRequest(kind=messages.UPLOAD_KIND_DATA, size=1, **change)
        create = messages.CreateUploadsRequest(project="default", domain="development", uploads=[wanted])
        assert isinstance(await refused(world.data.CreateUploads(create)), errors.InvalidArgument), change
