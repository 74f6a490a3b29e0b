"""The run page over HTTP: both addresses, its parts, and what it is told while a run goes on."""

import json
import re
import subprocess
import urllib.error
import urllib.request

import pytest

from integration_tests import browser
from integration_tests.api import phase_of
from integration_tests.polling import until

SCRIPT = """
    import time
    from dataclasses import dataclass
    from pathlib import Path

    import flyte

    env = flyte.TaskEnvironment(name="env", resources=flyte.Resources(cpu="250m", memory="256Mi"))

    @env.task
    def child(x: int) -> int:
        return x + 1

    @env.task
    def parent(path: str) -> int:
        print("a line for the page", flush=True)
        while not Path(path).exists():
            time.sleep(0.05)
        return child(41)

    @env.task
    def broken() -> int:
        raise ValueError("<b>not bold</b>")

    @env.task
    def listed() -> list[int]:
        return [4, 8, 15]

    @env.task
    def summed(values: list[int]) -> int:
        return sum(values)

    @dataclass
    class Plan:
        name: str
        size: int = 3

    @env.task
    async def asks() -> str:
        ready = await flyte.condition.aio("ready", bool, prompt="Ready?")
        plan = await flyte.condition.aio("plan", Plan, prompt="Which <b>plan</b>?")
        return f"{ready} {plan.name} {plan.size}"

    @env.task(report=True)
    def reported() -> int:
        flyte.report.log("<h1>Sums</h1>" + PROBE)
        flyte.report.get_tab("more").log("<p>more</p>")
        with flyte.group("one"), flyte.group("two"):
            return summed(listed())
"""

# Runs inside a report, and tells the page around it what was in its reach.
PROBE = """
    <script>
    const tried = (reach) => { try { return String(reach()); } catch (error) { return error.name; } };
    const [cookie, page] = [tried(() => document.cookie), tried(() => parent.document.title)];
    const told = { origin: self.origin, cookie, page };
    fetch("/api/v1/runs").then(() => "answered", () => "refused").then((api) =>
      parent.postMessage({ probe: { ...told, api } }, "*"));
    </script>
"""


def get(url: str, **headers: str):
    """Opens a URL."""
    request = urllib.request.Request(
        url, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )
    return urllib.request.urlopen(request, timeout=60)


def events(answer):
    """Server-sent events as (name, id, data), as they come."""
    event = {"event": "message", "id": "", "data": ""}
    for raw in answer:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        else:
            yield event["event"], event["id"], json.loads(event["data"] or "null")
            event = {"event": "message", "id": "", "data": ""}


def address(backend, run: str) -> str:
    """Where the page asks about a run."""
    return f"{backend.http}/api/v1/projects/default/domains/development/runs/{run}"


def test_the_page_and_all_that_it_loads(backend, workspace):
    """Both addresses of a run show the same page, whose scripts and styles are there; an unknown run has none."""
    workspace.write("script.py", SCRIPT)
    run = workspace.launch("script.py", "broken")
    urls = [
        f"{backend.http}/v2/runs/project/default/domain/development/{run}",
        f"{backend.http}/v2/domain/development/project/default/runs/{run}",
    ]
    pages = []
    for url in urls:
        with get(url) as page:
            pages.append(page.read().decode())
    assert pages[0] == pages[1]
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', pages[0])
    assert len(loaded) >= 2
    for path in loaded:
        with get(backend.http + path) as part:
            assert part.read()
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"{urls[0]}-not")
    refused.value.close()
    assert refused.value.code == 404


def test_updates_while_a_run_goes_on(backend, workspace):
    """The page is told of every state of run and actions as it happens, and can go on where it was cut off."""
    workspace.write("script.py", SCRIPT)
    gate = workspace.directory / "gate"
    run = workspace.launch("script.py", "parent", "--path", gate)
    with get(address(backend, run) + "/watch") as stream:
        cursor = next(
            cursor
            for _, cursor, update in events(stream)
            if any(action["phase"] == "PHASE_RUNNING" for action in update.get("actions", []))
        )
        gate.touch()
    phases: dict[str, list[str]] = {}
    with get(address(backend, run) + "/watch", Last_Event_ID=cursor) as stream:
        for name, _, update in events(stream):
            if name == "end":
                break
            for action in update.get("actions", []):
                phases.setdefault(action["short_name"], []).append(action["phase"])
            last = update["run"]
    assert name == "end"
    assert last["phase"] == "PHASE_SUCCEEDED"
    assert {task: seen[-1] for task, seen in phases.items()} == {
        "parent": "PHASE_SUCCEEDED",
        "child": "PHASE_SUCCEEDED",
    }


def test_inputs_outputs_errors_and_logs(backend, workspace):
    """The page gets inputs, outputs, attempts, failures with their traceback, and the log as it grows."""
    workspace.write("script.py", SCRIPT)
    gate = workspace.directory / "gate"
    run, failed = (
        workspace.launch("script.py", "parent", "--path", gate),
        workspace.launch("script.py", "broken"),
    )
    with get(address(backend, run) + "/actions/a0/logs/tail") as tail:
        _, _, first = next(events(tail))
        assert [line["text"] for line in first["lines"]] == ["a line for the page"]
        assert not gate.exists()
        gate.touch()
        assert [name for name, _, _ in events(tail)][-1] == "end"
    backend.api.succeeded(run)
    with get(address(backend, run) + "/actions/a0") as answer:
        action = json.load(answer)
    assert json.loads(action["inputs"]["text"]) == {"path": str(gate)}
    assert json.loads(action["outputs"]["text"]) == {"o0": 42}
    assert [attempt["phase"] for attempt in action["attempts"]] == ["PHASE_SUCCEEDED"]
    backend.api.wait(failed)
    with get(address(backend, failed) + "/actions/a0") as answer:
        failure = json.load(answer)["failure"]
    assert (failure["code"], failure["message"]) == ("ValueError", "<b>not bold</b>")
    assert "script.py" in failure["traceback"]


def test_abort_from_the_page(backend, workspace):
    """The page can abort a run; a page of another site cannot."""
    workspace.write("script.py", SCRIPT)
    run = workspace.launch("script.py", "parent", "--path", workspace.directory / "never")
    until(lambda: phase_of(backend.api.run(run)) == "running", "it runs")
    url, body = address(backend, run) + "/abort", json.dumps({"reason": "from the page"}).encode()
    headers = {"Content-Type": "application/json"}
    foreign = urllib.request.Request(url, body, {**headers, "Sec-Fetch-Site": "cross-site"}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(foreign, timeout=20)
    refused.value.close()
    assert refused.value.code == 403
    own = urllib.request.Request(url, body, {**headers, "Sec-Fetch-Site": "same-origin"}, method="POST")
    with urllib.request.urlopen(own, timeout=20) as answer:
        assert json.load(answer) == {"accepted": True}
    assert backend.api.wait(run).abort_reason == "from the page"


def test_the_page_in_a_browser(backend, workspace, place, chromium):
    """A browser shows the tree of actions and the failure, and user text is text, not markup."""
    workspace.write("script.py", SCRIPT)
    run = workspace.launch("script.py", "broken")
    backend.api.wait(run)
    workspace.environ = recorded(workspace.environ, backend)
    workspace.flyte("run", "--local", "--name", "in-browser", "script.py", "child", "--x", 41)
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    )
    quiet = "--disable-component-update --disable-sync --virtual-time-budget=5000 --dump-dom"
    profile = f"--user-data-dir={place / 'chromium'}"

    def shown(path):
        command = [chromium, *options.split(), *quiet.split(), profile, f"{backend.http}{path}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False).stdout

    page = shown(f"/v2/runs/project/default/domain/development/{run}")
    assert "broken" in page
    assert "ValueError" in page
    assert "&lt;b&gt;not bold&lt;/b&gt;" in page
    assert "<b>not bold</b>" not in page
    assert re.search(
        r"in-browser</a></td><td>env\.child</td>.*?<span class=\"badge\">local</span>", shown("/")
    )
    local = shown("/local/runs/in-browser")
    assert "local run on this machine / in-browser" in local
    assert "Completed" in local or "Succeeded" in local


def recorded(environ, backend):
    """The environment of commands whose local runs the pages of a backend show."""
    return environ | {"HANGAR_DATA_DIR": str(backend.data), "FLYTE_LOCAL_PERSISTENCE": "1"}


def test_local_runs_are_shown_and_marked(backend, workspace, tmp_path):
    """Runs that the SDK has recorded on this machine are listed as local, with their actions, values and logs, live."""
    workspace.write("script.py", SCRIPT)
    gate = tmp_path / "gate"
    workspace.environ = recorded(workspace.environ, backend)
    local = workspace.popen("run", "--local", "--name", "here", "script.py", "parent", "--path", gate)

    def read(path):
        with get(f"{backend.http}{path}") as answer:
            return answer.read()

    def listed():
        found = json.loads(read("/api/v1/local/runs"))["runs"]
        return [each for each in found if each["id"]["name"] == "here"]

    until(lambda: listed() and listed()[0]["phase"] == "PHASE_RUNNING", "the local run is listed")
    base = "/api/v1/local/runs/here"
    with (
        get(f"{backend.http}{base}/watch") as watch,
        get(f"{backend.http}{base}/actions/a0/logs/tail") as tail,
    ):
        changes, lines = events(watch), events(tail)
        assert [each["short_name"] for each in next(changes)[2]["actions"]] == ["parent"]
        assert [line["text"] for line in next(lines)[2]["lines"]] == ["a line for the page"]
        gate.touch()
        out, _ = local.communicate(timeout=60)
        assert (local.returncode, out.splitlines()[-1]) == (0, "42")
        *_, (_, _, last), (end, _, _) = changes
        assert (last["run"]["phase"], end) == ("PHASE_SUCCEEDED", "end")
    assert listed()[0]["action_count"] == 2
    action = json.loads(read(f"{base}/actions/a0"))
    assert json.loads(action["inputs"]["text"]) == {"path": str(gate)}
    assert json.loads(action["outputs"]["text"]) == {"o0": 42}
    assert action["attempts"][0]["phase"] == "PHASE_SUCCEEDED"
    with pytest.raises(urllib.error.HTTPError) as caught:
        read("/api/v1/local/runs/nowhere/watch")
    caught.value.close()
    assert caught.value.code == 404
    assert b"run.js" in read("/local/runs/here")


@pytest.mark.usefixtures("chromium")
def test_report_graph_and_rerun_in_a_browser(backend, workspace, place):
    """Scripts of a report have nothing of the page in reach; the graph shows data flow; a run can be repeated."""
    workspace.write("script.py", f"{SCRIPT}\n    PROBE = {PROBE!r}")
    run = workspace.launch("script.py", "reported")
    backend.api.succeeded(run)
    url = f"{backend.http}/v2/domain/development/project/default/runs/{run}"
    with browser.Browser(place / "page-browser") as page:
        page.open(url)
        page.until("document.querySelector('#tab-report:not([hidden])') !== null", "the tab of the report")
        tree = "[...document.querySelectorAll('#tree li .name')].map((each) => each.textContent).join(' ')"
        assert page.evaluate(tree) == "reported one two listed summed"
        page.evaluate(
            "addEventListener('message', ({ data }) => { if (data.probe) window.probe = data.probe; })"
        )
        page.evaluate("document.getElementById('tab-report').click()")
        probe = page.until("window.probe", "the report's own script")
        assert probe == {
            "origin": "null",
            "cookie": "SecurityError",
            "page": "SecurityError",
            "api": "refused",
        }
        page.until("document.querySelector('iframe.shown') !== null", "the report")

        page.evaluate("document.getElementById('as-graph').click()")
        edges = "[...document.querySelectorAll('#graph .edge title')].map((each) => each.textContent).join()"
        assert page.until(edges, "the graph") == "listed → summed: values"
        page.evaluate("document.querySelectorAll('#graph .box')[1].dispatchEvent(new Event('click'))")
        page.until("document.querySelector('#panel h2').textContent === 'summed'", "the box that was clicked")

        page.evaluate("document.getElementById('rerun').click()")
        page.evaluate("document.getElementById('rerun-confirm').click()")
        again = page.until(
            f"!location.pathname.endsWith({json.dumps(run)}) && location.pathname", "the new run"
        )
        assert backend.api.succeeded(again.rpartition("/")[2]) == 27
        page.until("document.getElementById('badge').textContent.includes('Succeeded')", "its end")


@pytest.mark.usefixtures("chromium")
def test_conditions_are_answered_in_a_browser(backend, workspace, place):
    """A waiting condition has a form made from its schema; what is sent is what the task gets."""
    workspace.write("script.py", SCRIPT)
    run = workspace.launch("script.py", "asks")
    row = "[...document.querySelectorAll('#tree li')].find((row) => row.querySelector('.name').textContent === '{}')"
    with browser.Browser(place / "page-browser") as page:
        page.open(f"{backend.http}/v2/runs/project/default/domain/development/{run}")
        page.until(f"Boolean({row.format('ready')})", "the first condition")
        page.evaluate(f"{row.format('ready')}.click()")
        page.until("document.querySelector('.signal button')?.textContent === 'Yes'", "its form")
        page.evaluate("document.querySelector('.signal button').click()")
        page.until(f"Boolean({row.format('plan')})", "the second condition")
        page.evaluate(f"{row.format('plan')}.click()")
        page.until("document.querySelector('.signal p')?.textContent === 'Which <b>plan</b>?'", "its form")
        page.evaluate("document.querySelector('.signal input[type=text]').value = 'big'")
        page.evaluate("document.querySelector('.signal button').click()")
        assert backend.api.succeeded(run) == "True big 3"
