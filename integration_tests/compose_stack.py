"""The platform in containers, as `make up` starts it: under names and on a port of the test's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from integration_tests.api import Api
from integration_tests.backend import BIN, clean_environ
from integration_tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
_BUILD_SECONDS = 900
_UP_SECONDS = 400


class ComposeStack:
    """An installation of its own on the engine of this machine.

    Args:
        docker_url: Where the engine listens.
    """

    def __init__(self, docker_url: str) -> None:
        self.docker_url = docker_url
        [self.port] = free_ports(1)
        self.project = f"hangar-test-{os.getpid()}"
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.token = ""
        self._environ = clean_environ(
            COMPOSE_PROJECT_NAME=self.project,
            DOCKER_HOST=docker_url,
            HANGAR_CPU="4",
            HANGAR_PORT=str(self.port),
            HANGAR_VERSION=self.project,
        )
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
            self._environ.pop(name, None)

    def take_place_of(self, other: ComposeStack, project: str) -> None:
        """Uses the images and the port of another installation, under a name of its own."""
        self.project, self.port = project, other.port
        self._environ |= {
            "COMPOSE_PROJECT_NAME": project,
            "HANGAR_PORT": str(other.port),
            "HANGAR_VERSION": other.project,
        }

    def configure(self, **environ: str) -> None:
        """Sets variables for what `make up` does from now on."""
        self._environ |= environ

    def build(self) -> None:
        """Builds the images of the services, and provides those that they and the stack start from."""
        self._run("integration_tests/tools/images.sh", seconds=_BUILD_SECONDS)
        self._run("deploy/build.sh", seconds=_BUILD_SECONDS)

    def up(self) -> str:
        """`make up` from the images that were built; returns what it printed."""
        said = self._run("make", "up", BUILD="0", seconds=_UP_SECONDS)
        found = re.search(r"^  token     (hgr_\S+)$", said, re.MULTILINE)
        self.token = found[1] if found else self.token
        return said

    def down(self, *, volumes: bool = False) -> None:
        """`make down`, with or without the data."""
        self._run("make", "down", *(["VOLUMES=1"] if volumes else []), seconds=_UP_SECONDS)

    def api(self) -> Api:
        """Its gRPC API, called with the token."""
        return Api(self.address, self.token)

    def user(self) -> dict[str, str]:
        """Variables of somebody who may use it."""
        return {"FLYTE_API_KEY": self.token}

    def grpcurl(
        self, *arguments: str, data: object = None, token: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs grpcurl with the token, another one, or none when it is empty."""
        shown = self.token if token is None else token
        header = ["-H", f"authorization: Bearer {shown}"] if shown else []
        body = ["-d", json.dumps(data)] if data is not None else []
        command = [
            str(BIN / "grpcurl"),
            "-plaintext",
            "-max-time",
            "20",
            *header,
            *body,
            self.address,
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def store_keys(self) -> dict[str, str]:
        """Variables of another host that reads and writes the store through the front door."""
        place = "/secrets"
        said = self.docker(
            "run", "--rm", "--volume", f"{self.project}_secrets:{place}:ro", "--entrypoint", "cat",
            "postgres:15", f"{place}/s3-access-key", f"{place}/s3-secret-key",
        )  # fmt: skip
        access, secret = said.split()
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
        }

    def archive(self, folder: Path, *options: str) -> None:
        """Runs tar on the volumes that a backup is made of: in `/v`, with the folder as `/backup`."""
        volumes = [f"{self.project}_{name}:/v/{name}" for name in ("postgres", "s3", "secrets")]
        mounts = [part for volume in (*volumes, f"{folder}:/backup") for part in ("--volume", volume)]
        self.docker("run", "--rm", *mounts, "--entrypoint", "tar", "postgres:15", "-C", "/v", *options)

    def docker(self, *arguments: str) -> str:
        """Runs `docker …` and returns what it printed."""
        return self._run("docker", *arguments, seconds=120)

    def container(self, service: str) -> str:
        """Id of the container of a service."""
        labels = (f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}")
        filters = [option for label in labels for option in ("--filter", f"label={label}")]
        [found] = self.docker("ps", "--all", "--quiet", *filters).split()
        return found

    def inspect(self, service: str) -> dict[str, Any]:
        """The engine's description of a service's container."""
        [found] = json.loads(self.docker("inspect", self.container(service)))
        return dict(found)

    def is_healthy(self, service: str) -> bool:
        """Says whether the container of a service runs and is healthy."""
        state = self.inspect(service)["State"]
        return bool(state["Running"] and state["Health"]["Status"] == "healthy")

    def services(self) -> list[str]:
        """Names of the services of which containers run."""
        label = f"com.docker.compose.project={self.project}"
        form = '{{.Label "com.docker.compose.service"}}'
        return self.docker("ps", "--filter", f"label={label}", "--format", form).split()

    def logs(self, lines: int = 40) -> str:
        """The last words of every service."""
        said = []
        for service in self.services():
            command = ["docker", "logs", "--tail", str(lines), self.container(service)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environ)
            said.append(f"--- {service}\n{done.stdout}{done.stderr}")
        return "\n".join(said)

    def executor_identity(self) -> str:
        """The value of the label `hangar.executor` of its workers' containers."""
        place = "/var/lib/hangar/executor/identity"
        return self.docker("exec", self.container("executor"), "cat", place).strip()

    def remove_images(self) -> None:
        """Removes the images that `build` built."""
        images = self.docker("images", "--quiet", "--filter", f"reference=hangar-*:{self.project}").split()
        if images:
            self.docker("rmi", "--force", *set(images))

    def leftovers(self) -> list[str]:
        """Containers, networks, volumes and images with the name of this installation."""
        kinds = {
            "container": ("ps", "--all", "--format", "{{.Names}}"),
            "network": ("network", "ls", "--format", "{{.Name}}"),
            "volume": ("volume", "ls", "--format", "{{.Name}}"),
            "image": ("images", "--format", "{{.Repository}}:{{.Tag}}"),
        }
        return [
            f"{kind} {name}"
            for kind, command in kinds.items()
            for name in self.docker(*command).split()
            if self.project in name
        ]

    def _run(self, *command: str, seconds: float, **environ: str) -> str:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=ROOT,
            env={**self._environ, **environ},
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout
