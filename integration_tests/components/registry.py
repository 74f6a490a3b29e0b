"""An image registry on loopback, also on that of other network namespaces: engines trust loopback without TLS."""

from __future__ import annotations

import base64
import http
import json
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from integration_tests.components.lacking import lacking
from integration_tests.components.process import ServerProcess
from integration_tests.ports import free_ports

_START_SECONDS = 30
USER, PASSWORD = "hangar", "pebble-4711-granite"
_HASH = "$2b$04$210b2oKyTtWZK0lUPIe0Iu1xJ5IMidJI/qsENTwArmAm12yXlxCwy"
"""Of the password, as the registry wants it: bcrypt."""


def find_program() -> str:
    """The registry's program."""
    return shutil.which("docker-registry") or lacking(
        "there is no docker-registry here (Debian: apt-get install docker-registry)"
    )


class Registry:
    """A registry whose images are in a temporary directory.

    Args:
        program: What `find_program` returned.
        private: True for one that wants `USER` and `PASSWORD`.
    """

    def __init__(self, program: str, *, private: bool = False) -> None:
        self._program = program
        self.home = Path(tempfile.mkdtemp(prefix="hangar-registry-"))
        [self._port] = free_ports(1)
        self._processes: list[ServerProcess] = []
        (self.home / "config.yaml").write_text(
            "version: 0.1\n"
            "log: {accesslog: {disabled: true}, level: warn}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.home / 'images'}}}}}\n"
            f"{self._guard() if private else ''}"
            f"http: {{addr: '127.0.0.1:{self._port}', relativeurls: true}}\n"
        )
        try:
            self._serve([]).wait_ready(self._answers, "the registry answers", _START_SECONDS)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Host and port, the same in every namespace."""
        return f"127.0.0.1:{self._port}"

    def _guard(self) -> str:
        users = self.home / "htpasswd"
        users.write_text(f"{USER}:{_HASH}\n")
        return f"auth: {{htpasswd: {{realm: test, path: {users}}}}}\n"

    def credentials(self, path: Path, password: str = PASSWORD) -> Path:
        """Writes a file of credentials for it, in the format of Docker's `config.json`.

        Args:
            path: The file.
            password: What is to be shown.
        """
        entry = {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}
        path.write_text(json.dumps({"auths": {self.address: entry}}))
        return path

    def serve_in(self, launcher: list[str]) -> ServerProcess:
        """Serves the same images at the same address in another network namespace, until the process is stopped.

        Args:
            launcher: Words before a command that run it there.
        """
        return self._serve(launcher)

    def _serve(self, launcher: list[str]) -> ServerProcess:
        command = [*launcher, self._program, "serve", str(self.home / "config.yaml")]
        process = ServerProcess(command, self.home / "log", cwd=self.home)
        self._processes.append(process)
        return process

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/v2/", timeout=2) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            return error.code == http.HTTPStatus.UNAUTHORIZED
        except urllib.error.URLError:
            return False

    def close(self) -> None:
        """Ends it everywhere and removes its images."""
        try:
            for process in self._processes:
                process.stop()
        finally:
            shutil.rmtree(self.home, ignore_errors=True)
