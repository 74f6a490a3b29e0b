"""The components that other tests rely on do what those tests take for granted."""

import obstore
import psycopg
import pytest
import sqlalchemy
from obstore.exceptions import BaseError

from integration_tests.components.engine import connect
from integration_tests.components.images import BASE_IMAGES, PYTHON


def test_the_engine_runs_the_base_images(docker_url):
    """A container of the Python image starts, and its Python has pip, venv and certificates."""
    client = connect(docker_url)
    try:
        assert {client.images.get(image).tags[0] for image in BASE_IMAGES} == set(BASE_IMAGES)
        code = "import pip, ssl, venv; print(len(ssl.create_default_context().get_ca_certs()) > 50)"
        out = client.containers.run(PYTHON, ["python3", "-c", code], remove=True, network_mode="none")
    finally:
        client.close()
    assert out.strip() == b"True"


def test_a_fresh_database_for_each_test(database_url):
    """The database is empty, and takes a table and a row."""
    engine = sqlalchemy.create_engine(database_url)
    try:
        assert sqlalchemy.inspect(engine).get_table_names() == []
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE t (x INTEGER)"))
            connection.execute(sqlalchemy.text("INSERT INTO t VALUES (1)"))
        assert sqlalchemy.inspect(engine).get_table_names() == ["t"]
    finally:
        engine.dispose()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_postgres_keeps_what_was_committed(postgres_own, end):
    """After an end, orderly or not, the server is back at the same address with the same rows."""
    url = postgres_own.url("kept").replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t AS SELECT 7 AS x")
    getattr(postgres_own, end)()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    postgres_own.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT x FROM t").fetchone() == (7,)


def test_the_s3_store_refuses_a_wrong_secret(s3):
    """Objects are there for those with the keys, and for nobody else."""
    bucket = s3.bucket("secret").removeprefix("s3://")
    store = s3.store(bucket)
    obstore.put(store, "a/b", b"content")
    assert bytes(obstore.get(store, "a/b").bytes()) == b"content"
    assert [each["path"] for page in obstore.list(store) for each in page] == ["a/b"]
    wrong = type(store)(
        bucket,
        endpoint=s3.endpoint,
        access_key_id=s3.access_key,
        secret_access_key="wrong",
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    with pytest.raises(BaseError, match=r"SignatureDoesNotMatch|403"):
        obstore.get(wrong, "a/b")


def test_the_s3_store_keeps_its_objects_over_a_restart(s3_own):
    """Stopped, it does not answer; started again, it has what it had."""
    store = s3_own.store(s3_own.bucket("kept").removeprefix("s3://"))
    obstore.put(store, "a", b"1")
    s3_own.stop()
    with pytest.raises(BaseError):
        obstore.get(store, "a")
    s3_own.start()
    assert bytes(obstore.get(store, "a").bytes()) == b"1"
