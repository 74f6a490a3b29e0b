import json
import stat

import grpc
import pytest

from hangar.admin.v1 import project_service_pb2, project_service_pb2_grpc
from services.embedded.tests.process import HangarProcess, hangar

FREE = ("--grpc-port", "0", "--http-port", "0")


def call(address: str, token: str) -> list[str]:
    """Asks a backend for its projects."""
    with grpc.insecure_channel(address) as channel:
        stub = project_service_pb2_grpc.ProjectServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        answer = stub.ListProjects(project_service_pb2.ListProjectsRequest(), metadata=metadata, timeout=30)
    return [project.id for project in answer.projects]


def test_the_token_is_made_once_and_printed(tmp_path):
    """The same token is printed every time, from the file that is named or that of the data directory."""
    first = hangar(tmp_path, "token")
    assert first.returncode == 0
    token = first.stdout.strip()
    assert token.startswith("hgr_")
    assert hangar(tmp_path, "token").stdout == first.stdout
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    named = hangar(tmp_path, "token", "--file", str(tmp_path / "x" / "other")).stdout.strip()
    assert named not in ("", token)
    assert hangar(tmp_path, "token", HANGAR_TOKEN_FILE=str(tmp_path / "x" / "other")).stdout.strip() == named
    assert hangar(tmp_path, "token", HANGAR_TOKEN=token).stdout.strip() == token
    (tmp_path / "broken").write_text("x")
    broken = hangar(tmp_path, "token", "--file", str(tmp_path / "broken"))
    assert broken.returncode == 1
    assert f"token file {tmp_path}/broken is not usable" in broken.stderr


def test_beyond_loopback_a_token_is_made_shown_and_demanded(tmp_path):
    """`hangar up --host 0.0.0.0` shows its token on the terminal and not in the log, and answers nobody without it."""
    with HangarProcess(tmp_path, "up", "--host", "0.0.0.0", *FREE) as process:
        file = process.ready()
        token = hangar(tmp_path, "token").stdout.strip()
        assert call(file.grpc, token) == ["default"]
        for wrong in ("", token[:-1]):
            with pytest.raises(grpc.RpcError) as caught:
                call(file.grpc, wrong)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        status = json.loads(hangar(tmp_path, "status", "--json").stdout)
        assert (status["running"], [node["state"] for node in status["nodes"]]) == (True, ["ready"])
        code, output = process.end()
    assert code == 0
    assert f"  token  {token}\n" in output
    assert "0.0.0.0" not in file.http
    for path in tmp_path.rglob("*"):
        if path.is_file() and path != tmp_path / "token":
            assert token.encode() not in path.read_bytes(), path


def test_on_loopback_a_token_is_demanded_when_it_is_configured(tmp_path):
    """A named token holds on loopback too; without one nothing is demanded, even when the file exists."""
    token = hangar(tmp_path, "token").stdout.strip()
    with HangarProcess(tmp_path, "up", *FREE) as process:
        assert call(process.ready().grpc, "") == ["default"]
        process.end()
    with HangarProcess(tmp_path, "up", *FREE, HANGAR_TOKEN=token) as process:
        file = process.ready()
        assert file.token_file == ""
        assert call(file.grpc, token) == ["default"]
        with pytest.raises(grpc.RpcError):
            call(file.grpc, "")
        assert hangar(tmp_path, "status", HANGAR_TOKEN=token).returncode == 0
        process.end()
