"""An engine behind TLS, as `DOCKER_HOST` and its companions name one: calls, sessions and builds are encrypted."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest

from integration_tests.components.lacking import lacking
from services.common.errors import Unavailable
from services.image_builder.buildkit import BuildKit, Job
from services.image_builder.engine import BuilderEngine
from services.image_builder.trees import Tree

pytestmark = pytest.mark.timeout(120)
_MAKE = """
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
key ca-key.pem; openssl req -x509 -key ca-key.pem -out ca.pem -days 2 -subj /CN=test
key key.pem; openssl req -new -key key.pem -out request.pem -subj /CN=test
echo "subjectAltName=IP:127.0.0.1" > names
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -out cert.pem -days 2 -extfile names
"""


def certificates(place: Path) -> ssl.SSLContext:
    """Makes an authority, and a certificate for both sides; returns what the engine's side is encrypted with."""
    if shutil.which("openssl") is None:
        lacking("certificates need openssl (Debian: apt-get install openssl)")
    place.mkdir()
    subprocess.run(["bash", "-ec", _MAKE], cwd=place, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "cert.pem", place / "key.pem")
    context.load_verify_locations(place / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_an_engine_behind_tls_builds(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides show certificates; those that this host trusts for the web do not count for engines."""
    context = certificates(tmp_path / "certificates")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other, to_other = await asyncio.open_unix_connection(urlsplit(docker_url).path)
        await asyncio.gather(copy(reader, to_other), copy(other, writer), return_exceptions=True)

    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    address = "tcp://{}:{}".format(*server.sockets[0].getsockname())
    monkeypatch.setenv("DOCKER_HOST", address)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "certificates"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificates" / "key.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    tag, lines = f"hangar-test-{uuid.uuid4().hex}", list[str]()
    dockerfile = f"FROM busybox:latest\nCOPY file /file\nRUN wc -c /file; : {tag}\n"
    client = BuilderEngine("")
    async with server:
        try:
            tree = Tree({"file": bytes(3 << 20)})
            job = Job(tree, dockerfile, {}, None, tag, await client.platform(), {})
            await BuildKit(client, "none", tmp_path).build(job, lambda output: lines.append(output.text))
            assert "3145728 /file" in lines
            with pytest.raises(
                Unavailable
            ):  # named by itself it is spoken to in plain text, which it refuses
                await BuilderEngine(address).platform()
        finally:
            await client.close()
            engine.images.remove(tag)
