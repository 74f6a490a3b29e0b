"""Object stores that cannot be used: what is said, how soon, and what is not said."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from services.common.blobs import BlobStore
from services.common.errors import FailedPrecondition, InvalidArgument, Unavailable

SECRET = "very-secret-key"


@pytest.fixture
def aws(monkeypatch):
    """Sets AWS variables, with credentials that nobody knows unless others are given."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)

    def set_variables(**variables: str) -> None:
        given = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
        for name, value in {**given, **variables}.items():
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)

    return set_variables


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
async def test_wrong_credentials_are_named_at_the_start(s3, aws, wrong):
    """The message has bucket, endpoint, the variables and the fix, and no credential."""
    aws(**{**s3.environ, wrong: SECRET})
    bucket = s3.bucket("refused")
    store = BlobStore(bucket)
    with pytest.raises(FailedPrecondition) as caught:
        await store.check()
    message = str(caught.value)
    for part in (
        bucket.removeprefix("s3://"),
        s3.endpoint,
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "refuse",
    ):
        assert part in message
    assert SECRET not in message
    assert s3.secret_key not in message
    with pytest.raises(Unavailable, match="refuses access"):
        await store.get("a")


async def test_a_missing_bucket_is_named_at_the_start(s3, aws):
    """Not as a missing object: what is stored would seem to be gone for ever."""
    aws(**s3.environ)
    store = BlobStore("s3://there-is-no-such-bucket")
    with pytest.raises(FailedPrecondition, match=r"'there-is-no-such-bucket' at http.*Make the bucket"):
        await store.check()
    with pytest.raises(Unavailable, match="does not exist"):
        await store.get("a")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "AWS_ALLOW_HTTP=true is not set"),
        ({"AWS_ACCESS_KEY_ID": ""}, "one is set without the other"),
        (
            {
                "AWS_ENDPOINT_URL": "https://127.0.0.1:9",
                "AWS_ACCESS_KEY_ID": "",
                "AWS_SECRET_ACCESS_KEY": "",
            },
            "are not set: set both",
        ),
    ],
)
def test_missing_variables_are_named(aws, variables, words):
    """Before anything is asked of the network."""
    aws(**variables)
    with pytest.raises(FailedPrecondition, match=words) as caught:
        BlobStore("s3://bucket/prefix")
    assert "s3://bucket/prefix" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_wrong_addresses_are_refused(aws):
    """A URL without bucket, and a public endpoint that cannot be signed for."""
    aws(AWS_ENDPOINT_URL="https://127.0.0.1:9")
    with pytest.raises(InvalidArgument, match="no bucket"):
        BlobStore("s3:///prefix")
    for endpoint in ("blobs.example.com", "https://example.com/blobs", "ftp://example.com"):
        with pytest.raises(InvalidArgument, match="public endpoint"):
            BlobStore("s3://bucket", public_endpoint=endpoint)


async def test_a_store_that_is_not_there_is_given_up_soon(aws):
    """Every operation says where it asked, within a bounded time."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        aws(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", AWS_ALLOW_HTTP="true")
        store = BlobStore("s3://bucket/prefix")
        before = time.monotonic()
        for operation in (
            store.check(),
            store.get("a"),
            store.put("a", b"x"),
            store.head("a"),
            store.delete("a"),
        ):
            with pytest.raises(Unavailable, match=rf"'bucket' at http://127.0.0.1:{port}.*does not answer"):
                await operation
        assert time.monotonic() - before < 60


async def test_passing_errors_of_the_store_are_tried_again(aws):
    """A store that answers 503 twice and then works is used without anybody noticing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answers = [b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"] * 2
        answers.append(
            b'HTTP/1.1 206 Partial\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/5\r\nETag: "x"\r\n'
            b"Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nConnection: close\r\n\r\nhello"
        )

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    while not connection.recv(65536).endswith(b"\r\n\r\n"):
                        pass
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        aws(AWS_ENDPOINT_URL=f"http://127.0.0.1:{listener.getsockname()[1]}", AWS_ALLOW_HTTP="true")
        assert await BlobStore("s3://bucket").get("a") == b"hello"
        thread.join(30)
        assert not thread.is_alive()
