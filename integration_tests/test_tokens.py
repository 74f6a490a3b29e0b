"""The token, from the outside: command line, SDK, grpcurl, browser; and that it is found nowhere it should not be."""

import http.client
import json
from urllib.parse import urlsplit

import pytest

from integration_tests import browser
from integration_tests.polling import until
from integration_tests.stack import Stack

HELLO = """
    import os
    import time

    import flyte

    env = flyte.TaskEnvironment(name="env")

    @env.task
    def hello(name: str) -> str:
        return f"Hello, {name}!"

    @env.task
    def wait(path: str) -> None:
        while not os.path.exists(path):
            time.sleep(0.05)

    @env.task
    def variables() -> list[str]:
        return sorted(name for name, value in os.environ.items() if "hgr_" in value or "TOKEN" in name)
"""


@pytest.fixture(scope="module")
def stack(place, environments, closed):
    """The services that people and the SDK need, with a token."""
    made = Stack(place / "tokens", environments, without=["image-builder", "app-serving"])
    try:
        yield made.start()
    finally:
        made.close()
        closed.append(made)


@pytest.fixture
def user(stack, make_workspace):
    """A user's directory without the token."""
    made = make_workspace(stack)
    made.write("hello.py", HELLO)
    made.environ.pop("FLYTE_API_KEY", None)
    return made


def request(stack, path, **headers):
    """Asks admin's HTTP port."""
    connection = http.client.HTTPConnection(urlsplit(stack.http).netloc, timeout=30)
    try:
        connection.request(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_command_line_needs_the_token(stack, user):
    """Without it, and with another one, a command ends with code 6 and says what to set."""
    for token in ("", "hgr_not_the_right_one_at_all"):
        user.environ["FLYTE_API_KEY"] = token
        for arguments in (("run", "hello.py", "hello", "--name", "x"), ("get", "run")):
            refused = user.flyte(*arguments, code=6)
            assert "FLYTE_API_KEY" in refused.err
            assert "Traceback" not in refused.err
            assert token == "" or token not in refused.err + refused.out
    user.environ["FLYTE_API_KEY"] = stack.token
    assert user.flyte("run", "hello.py", "hello", "--name", "World").lines[-1] == "Hello, World!"


def test_a_way_to_sign_in_that_is_not_built_is_named(stack, user):
    """An authType in the configuration is refused by name when the backend demands a token and there is none."""
    config = user.directory / "config.yaml"
    config.write_text(config.read_text().replace("insecure: true", "insecure: true\n  authType: Pkce"))
    refused = user.flyte("get", "run", code=6)
    assert "authType 'Pkce' is not available" in refused.err
    user.environ["FLYTE_API_KEY"] = stack.token
    user.flyte("get", "run")


def test_programs_show_the_token(stack, user):
    """`flyte.init(api_key=…)` and `flyte.init_from_api_key` reach the backend; errors have a class of their own."""
    user.write(
        "program.py",
        f"""
        import flyte, flyte.remote
        flyte.init(endpoint={stack.grpc!r}, insecure=True)
        try:
            list(flyte.remote.Project.listall())
        except flyte.errors.AuthenticationError as error:
            print(error.code)
        flyte.init(endpoint={stack.grpc!r}, insecure=True, api_key={stack.token!r})
        print([project.id for project in flyte.remote.Project.listall()])
        """,
    )
    assert user.python("program.py").lines == ["TokenMissingError", "['default']"]


def test_the_run_page_asks_to_sign_in(stack, user):
    """Pages need the token or a cookie; with a header the page is shown."""
    user.environ["FLYTE_API_KEY"] = stack.token
    run = user.launch("hello.py", "hello", "--name", "page")
    stack.api.succeeded(run)
    path = f"/v2/runs/project/default/domain/development/{run}"
    status, text = request(stack, path)
    assert (status, "Sign in" in text, run in text) == (401, True, False)
    status, text = request(stack, path, authorization=f"Bearer {stack.token}")
    assert (status, "Sign in" in text) == (200, False)
    status, text = request(stack, f"/api/v1/projects/default/domains/development/runs/{run}")
    assert (status, json.loads(text)["reason"]) == (401, "TOKEN_MISSING")
    assert request(stack, "/healthz")[0] == 200


@pytest.mark.usefixtures("chromium")
def test_a_browser_signs_in(stack, user, place):
    """The page of a run asks for the token, says when it is wrong, and then shows the run with live updates."""
    user.environ["FLYTE_API_KEY"] = stack.token
    gate = user.directory / "gate"
    run = user.launch("hello.py", "wait", "--path", gate)
    with browser.Browser(place / "browser") as page:
        page.open(f"{stack.http}/v2/runs/project/default/domain/development/{run}")
        page.until("document.querySelector('#sign-in:enabled') !== null", "the page to sign in")
        for token in ("hgr_not_the_right_one_at_all", stack.token):
            page.evaluate(f"document.getElementById('token').value = {json.dumps(token)}")
            page.evaluate("document.getElementById('sign-in').click()")
            if token != stack.token:
                page.until(
                    "document.getElementById('problem').textContent.includes('not the one')", "the problem"
                )
        page.until("document.body.innerText.includes('Running')", "the run")
        assert page.evaluate("document.cookie") == ""
        gate.touch()
        page.until("document.body.innerText.includes('Succeeded')", "the end of the run, live")


def test_the_token_is_found_nowhere(stack, user):
    """Not in logs, databases, workers' environments or command lines: only in its file."""
    user.environ["FLYTE_API_KEY"] = stack.token
    run = user.launch("hello.py", "variables")
    assert stack.api.succeeded(run) == []
    user.environ["FLYTE_API_KEY"] = "hgr_not_the_right_one_at_all"
    user.flyte("get", "run", code=6)
    secret = stack.token.removeprefix("hgr_").encode()
    found = [
        path
        for path in stack.data.rglob("*")
        if path.is_file() and not path.is_symlink() and _holds(path, secret)
    ]
    assert found == [stack.data / "token"]
    assert all(secret.decode() not in process.command for process in stack.processes())
    until(lambda: not stack.orphans(), "no orphan")
    stack.check_ledger()


def _holds(path, secret):
    try:
        return secret in path.read_bytes()
    except FileNotFoundError:  # removed meanwhile
        return False
