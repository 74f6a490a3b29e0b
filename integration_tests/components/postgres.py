"""A PostgreSQL server of the tests' own: data in a temporary directory, loopback and a unix socket only."""

from __future__ import annotations

import itertools
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from integration_tests.components.lacking import lacking
from integration_tests.components.process import ServerProcess, become
from integration_tests.ports import free_ports

OLDEST = 15
_USER = "hangar"
_START_SECONDS = 60


def find_binaries() -> Path:
    """Directory of the server's programs of the newest version that is installed and new enough."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin")]
    if config := shutil.which("pg_config"):
        places.append(Path(subprocess.check_output([config, "--bindir"], text=True).strip()))
    found = {_version(place): place for place in places if (place / "initdb").exists()}
    newest = max(found, default=0)
    if newest < OLDEST:
        lacking(f"there is no PostgreSQL >= {OLDEST} here (Debian: apt-get install postgresql)")
    return found[newest]


def _version(binaries: Path) -> int:
    text = subprocess.check_output([binaries / "postgres", "--version"], text=True)
    match = re.search(r"(\d+)", text)
    assert match, text
    return int(match[1])


class Postgres:
    """A server. Its databases go with it.

    Args:
        binaries: What `find_binaries` returned.
        durable: False for one that is never killed, and does not wait for the disk.
    """

    def __init__(self, binaries: Path, *, durable: bool = True) -> None:
        self._binaries = binaries
        self._durable = durable
        self._user = "postgres" if os.getuid() == 0 else None  # the server refuses to run as root
        self.home = Path(tempfile.mkdtemp(prefix="hangar-pg-"))
        self._password = secrets.token_urlsafe(12)
        [self.port] = free_ports(1)
        self._names = itertools.count()
        self._process: ServerProcess | None = None
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise

    def _initialise(self) -> None:
        password = self.home / "password"
        password.write_text(self._password)
        if self._user:
            entry = pwd.getpwnam(self._user)
            for path in (self.home, password):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        options = ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
        arguments = ["-U", _USER, f"--pwfile={password}", str(self.home / "data")]
        done = subprocess.run(
            [*become(self._user), str(self._binaries / "initdb"), *options, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        password.unlink()

    def url(self, name: str = "test", *, like: str = "") -> str:
        """Makes a fresh database and returns its URL: `postgresql+psycopg://…`.

        Args:
            name: What its name starts with, for people.
            like: URL of a database here that it is a copy of, to which nobody is connected; empty for none.
        """
        database = f"{re.sub(r'[^a-z0-9]+', '_', name.lower())[:40]}_{next(self._names)}"
        with psycopg.connect(self.connection_string(), autocommit=True) as connection:
            template = like.rpartition("/")[2] or "template1"
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"'.encode())
        return f"postgresql+psycopg://{_USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def drop(self, url: str) -> None:
        """Removes a database that `url` made, whoever is still connected."""
        database = url.rpartition("/")[2]
        with psycopg.connect(self.connection_string(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)'.encode())

    def connection_string(self, database: str = "postgres") -> str:
        """What libpq connects with, as the server's administrator."""
        return f"host=127.0.0.1 port={self.port} user={_USER} password={self._password} dbname={database}"

    @property
    def is_running(self) -> bool:
        """True between `start` and `stop`."""
        return self._process is not None

    def start(self) -> None:
        """Starts the server, on the same data and the same port, and waits until it answers."""
        assert self._process is None
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.home,
            "max_connections": 200,
            "shared_buffers": "64MB",
            "fsync": "on" if self._durable else "off",
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        command = [str(self._binaries / "postgres"), "-D", str(self.home / "data"), *options]
        self._process = ServerProcess(command, self.home / "log", cwd=self.home, user=self._user)
        self._process.wait_ready(self._answers, "PostgreSQL answers", _START_SECONDS)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.connection_string(), connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False

    def stop(self) -> None:
        """Ends the server as an administrator does in a hurry: connections are cut, what was committed is kept."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Ends the server at once, as if the machine had lost its power but not its disk."""
        self._end(signal.SIGQUIT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.stop(number)
            self._process = None

    def close(self) -> None:
        """Ends the server and removes all of it."""
        try:
            self._end(signal.SIGINT)
        finally:
            shutil.rmtree(self.home, ignore_errors=True)
