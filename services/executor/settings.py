"""Settings of an executor: `HANGAR_EXECUTOR_<NAME>` and the shared ones."""

import os
import platform
import re
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from services.common.image_definition import PLATFORM
from services.common.platforms import normalised
from services.common.settings import ServiceSettings

_UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def parse_bytes(text: object) -> object:
    """Returns the bytes that a text such as "16Gi", "500M" or "1024" stands for; other things as they are."""
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?", text.strip())
    if match is None:
        raise ValueError(f"write a number of bytes with a unit such as '16Gi' or '500M', not {text!r}")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def parse_names(text: object) -> object:
    """Returns the names in a text such as "gpu,default"; other things as they are."""
    if not isinstance(text, str):
        return text
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _platform(name: str) -> str:
    if name and not PLATFORM.fullmatch(normalised(name)):
        raise ValueError("write a platform such as 'linux/arm64'")
    return normalised(name) if name else ""


LOCAL_DOCKER = "unix:///var/run/docker.sock"
Bytes = Annotated[int, BeforeValidator(parse_bytes)]
QueueName = Annotated[str, Field(pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$", max_length=128)]
Names = Annotated[tuple[QueueName, ...], NoDecode, BeforeValidator(parse_names)]


class Settings(ServiceSettings):
    """Settings of one executor. What is declared about capacity wins over what the machine has."""

    model_config = SettingsConfigDict(env_prefix="HANGAR_EXECUTOR_")

    node: str = Field(default_factory=platform.node, min_length=1)
    """Name of the host in the cluster, unique there. The host name by default."""
    cpu: float = Field(0, ge=0)
    """Cores to offer, 0 for those of the machine."""
    memory: Bytes = Field(0, ge=0)
    """Memory to offer, such as "16Gi"; 0 for that of the machine."""
    disk: Bytes = Field(0, ge=0)
    """Disk to offer, such as "100Gi"; 0 for what is free below the state directory."""
    gpus: Path | None = None
    """JSON file that describes GPUs in place of the driver's."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the host for placement, as a JSON object."""
    queues: Names = ()
    """Queues that the host serves, such as "gpu,default"; that for tasks that name none, "default", by default."""
    interruptible: bool = False
    """True when the host's capacity can be taken away at any time: only tasks that allow that run on it."""
    engine: Literal["process", "docker", "fake"] = "process"
    """What runs workers: processes of this host, or its Docker engine. "fake" runs nothing and is for tests."""
    docker: str = Field(default_factory=lambda: os.environ.get("DOCKER_HOST") or LOCAL_DOCKER, min_length=1)
    """Where the Docker engine listens: DOCKER_HOST, or the local socket by default. It must run on this host."""
    platform: Annotated[str, AfterValidator(_platform)] = ""
    """Platform of the images that the Docker engine runs, such as "linux/arm64", where its kernel emulates that. Its
    own by default."""
    user: Annotated[str, Field(pattern=r"^[1-9][0-9]*:[0-9]+$")] | None = None
    """User and group of workers in containers, such as "65532:65532": that by default, or the executor's own when it
    is not root."""
    pids: int = Field(4096, ge=16)
    """Most processes and threads of one worker."""
    tmp: Bytes = Field(1 << 30, ge=1 << 20)
    """Size of `/tmp` of a worker in a container. What is in it counts as memory."""
    host_state: Path | None = None
    """What the Docker engine's host calls the state directory, for an executor in a container. Found out by default."""
    image_builder: str = ""
    """Address of the image builder, for the Docker engine. That of the scheduler by default."""
    registry_credentials: Path | None = None
    """File of credentials for image registries, in the format of Docker's `config.json`. That of Docker's command line
    by default."""
    registry_secrets: str = ""
    """Directory of secrets with credentials of registries that authors name (`registry_secret=`), for pulls: a file for
    each, named by its key, read each time; empty for none."""
    keep_environments: float = Field(14 * 86400, ge=0)
    """Seconds after which the process engine removes an environment that no worker was started in; 0 for never."""
    network: Literal["none", "outside"] = "none"
    """What tasks in containers reach: nothing, or what is neither private nor the platform's."""
    network_allow: tuple[IPv4Network, ...] = ()
    """Private ranges that tasks may reach too, as a JSON list such as ["10.1.0.0/16"]."""
    state: Path | None = None
    """Directory of outbox, workers, environments and code. `<data directory>/executor` by default."""
    scheduler: str = "127.0.0.1:8090"
    """Address of the scheduler."""
    blobs: str = ""
    """URL of the blob store. `<data directory>/blobs` by default."""
    host: str = "127.0.0.1"
    """Address that ExecutorService listens on when the executor is a process of its own."""
    port: int = Field(8094, ge=0, le=65535)
    """Its port, 0 for any that is free."""
    log_flush_interval: float = Field(0.3, gt=0)
    """Longest time in seconds that a line of a log waits to be stored."""
    log_flush_bytes: Bytes = Field(256 * 1024, gt=0)
    """Size at which a log chunk is stored at once."""
    orphan_ttl: float = Field(60, gt=0)
    """Seconds after which a worker without an executor is ended."""
    kill_grace: float = Field(5, ge=0)
    """Seconds that a coroutine in a shared worker gets to end before the worker is ended with it."""
    adoption_timeout: float = Field(5, ge=0)
    """Seconds that workers get to connect again after a restart, before the session is opened."""
    object_cache: Bytes = Field(20 * 2**30, ge=0)
    """Disk for objects of an object store that tasks have read, such as "20Gi"; those that are open come on top."""
    inline_bytes: Bytes = Field(64 * 1024, ge=0)
    """Longest inputs or outputs document that travels inside messages; longer ones go to the blob store."""

    @model_validator(mode="after")
    def _fit_together(self) -> "Settings":
        if self.gpus is not None and not self.gpus.is_file():
            raise ValueError(f"gpus names {self.gpus}, which is not a file")
        if self.platform and self.engine != "docker":
            raise ValueError(
                f"platform is {self.platform}, and only the Docker engine runs other platforms than the host's: leave "
                "it out, or set HANGAR_EXECUTOR_ENGINE=docker"
            )
        return self

    @property
    def state_dir(self) -> Path:
        """Directory of everything that this executor keeps."""
        return self.state or self.data_dir / "executor"

    @property
    def blobs_url(self) -> str:
        """URL of the blob store."""
        return self.blobs or (self.data_dir.absolute() / "blobs").as_uri()
