"""What the engine is asked for: one hardened container per worker. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.executor.engines.base import INPUTS, OUTPUTS, Program, WorkerSpec
from services.executor.engines.docker.options import DockerEngineOptions
from services.executor.engines.process_environ import WORKER_DIRECTORY

EXECUTOR_LABEL = "hangar.executor"
WORKER_LABEL = "hangar.worker"
PROJECT_LABEL = "hangar.project"
DOMAIN_LABEL = "hangar.domain"
DISK_LABEL = "hangar.disk"
"""What a worker may write, in bytes, for whoever adopts it."""
LOG_LABEL = "hangar.log"
"""Name of the file for what a program prints, for whoever adopts it; not there for workers of the SDK."""
IMAGE_LABEL = "hangar.image-record"
"""What it was started from, for whoever adopts it."""
SMALLEST_MEMORY = 6 * 2**20
"""No engine starts a container with less memory."""

_CPU_PERIOD = 100_000
_SMALLEST_QUOTA = 1_000
_WORK = "work"
_CACHE = ".cache"


@dataclass(frozen=True, slots=True)
class Placement:
    """What the host adds to a worker's specification.

    Attributes:
        executor: Identity of the executor.
        network: Name of the network, "none" for none.
        directory: What the engine's host calls the worker's directory.
        code_dir: What it calls the directory of the code, empty when there is none.
    """

    executor: str
    network: str
    directory: str
    code_dir: str = ""


def container_name(executor: str, worker_id: int) -> str:
    """The name of a worker's container."""
    return f"hangar-{executor}-{worker_id}"


def work_directory(spec: WorkerSpec) -> str:
    """The home and working directory of a worker."""
    return f"{spec.directory}/{_WORK}"


def create_arguments(spec: WorkerSpec, options: DockerEngineOptions, placement: Placement) -> dict[str, Any]:
    """The body of the engine's "create container" call.

    Everything that makes a container harder to leave is here, and nothing in a specification can undo it: no root,
    no capability, no new privileges, the engine's own seccomp profile, a root file system that cannot be written, no
    namespace of the host, no device but the granted GPUs, and no mount but the worker's directory and its code.
    """
    work = work_directory(spec)
    return {
        "Image": spec.image.reference,
        **_process(spec, work),
        "Labels": {
            EXECUTOR_LABEL: placement.executor,
            WORKER_LABEL: str(spec.worker_id),
            PROJECT_LABEL: spec.project,
            DOMAIN_LABEL: spec.domain,
            DISK_LABEL: str(spec.resources.disk_bytes),
            **({IMAGE_LABEL: spec.image.record} if spec.image.record else {}),
            **({LOG_LABEL: spec.program.log} if spec.program is not None else {}),
        },
        "Hostname": f"worker-{spec.worker_id}",
        "User": f"{options.uid}:{options.gid}",
        "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["NONE"]},
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": {
            **_isolation(options),
            **_limits(spec, options),
            **_mounts(spec, placement),
            "NetworkMode": placement.network,
            "DeviceRequests": _device_requests(spec.gpu_uuids),
            "LogConfig": {"Type": "json-file", "Config": _log(spec.program)},
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,
            "Init": False,
        },
    }


def _process(spec: WorkerSpec, work: str) -> dict[str, Any]:
    """What runs: the supervisor of the SDK's worker, or a program of the image where the image starts it."""
    program = spec.program
    if program is not None:
        entry_point = {"Entrypoint": list(program.entry_point)} if program.entry_point else {}
        environ = {"HOME": "/tmp", **spec.image.env_vars, **spec.env_vars, **_devices(spec)}  # noqa: S108
        return {**entry_point, "Cmd": list(program.arguments), "Env": _assignments(environ)}
    return {
        "Entrypoint": ["python3", "-m", "flyte._runtime.container", str(spec.directory)],
        "Cmd": [],
        "Env": _assignments(_environ(spec, work)),
        "WorkingDir": work,
    }


def _assignments(environ: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environ.items()]


def _log(program: Program | None) -> dict[str, str]:
    """How much the engine keeps: of a worker what it writes beside its captured output, of a program all output."""
    if program is None:
        return {"max-size": "1m", "max-file": "1"}
    return {"max-size": "16m", "max-file": "2"}


def _isolation(options: DockerEngineOptions) -> dict[str, Any]:
    return {
        "Privileged": False,
        "CapAdd": [],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={options.tmp_bytes}"},  # noqa: S108
        "PidMode": "",
        "UTSMode": "",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Devices": [],
        "GroupAdd": [],
    }


def _limits(spec: WorkerSpec, options: DockerEngineOptions) -> dict[str, Any]:
    """Limits that the kernel keeps. Quota and period: `NanoCpus` refuses more than the machine has."""
    resources = spec.resources
    limits: dict[str, Any] = {"PidsLimit": options.pids_limit, "OomKillDisable": False}
    if resources.memory_bytes:
        limits["Memory"] = limits["MemorySwap"] = resources.memory_bytes
    if resources.cpu_millis:
        limits["CpuPeriod"] = _CPU_PERIOD
        limits["CpuQuota"] = max(resources.cpu_millis * _CPU_PERIOD // 1000, _SMALLEST_QUOTA)
    if resources.shm_bytes > 0:
        limits["ShmSize"] = resources.shm_bytes
    elif resources.shm_bytes < 0 and resources.memory_bytes:
        limits["ShmSize"] = resources.memory_bytes
    return limits


def _mounts(spec: WorkerSpec, placement: Placement) -> dict[str, Any]:
    program = spec.program
    if program is not None:
        inputs = _bind(f"{placement.directory}/{INPUTS}", program.input_directory, read_only=True)
        outputs = _bind(f"{placement.directory}/{OUTPUTS}", program.output_directory, read_only=False)
        return {"Mounts": [inputs, outputs]}
    mounts = [_bind(placement.directory, str(spec.directory), read_only=False)]
    if spec.code_dir:
        mounts.append(_bind(placement.code_dir, spec.code_dir, read_only=True))
    return {"Mounts": mounts}


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    """A mount. Its propagation is the engine's choice: private, or that of a volume of its own below its root."""
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def _device_requests(uuids: tuple[str, ...]) -> list[dict[str, Any]]:
    if not uuids:
        return []
    return [{"Driver": "", "Count": 0, "DeviceIDs": list(uuids), "Capabilities": [["gpu"]], "Options": {}}]


def _environ(spec: WorkerSpec, work: str) -> Mapping[str, str]:
    """Variables over those of the image. A user without a name needs a name for what asks for one."""
    environ = {
        "HOME": work,
        "USER": "worker",
        "LOGNAME": "worker",
        "TMPDIR": "/tmp",  # noqa: S108
        "XDG_CACHE_HOME": f"{work}/{_CACHE}",
    }
    environ.update(spec.image.env_vars)
    environ.update(spec.env_vars)
    environ[WORKER_DIRECTORY] = str(spec.directory)
    environ.update(_devices(spec))
    return environ


def _devices(spec: WorkerSpec) -> dict[str, str]:
    """An image may ask for all devices by itself, and an engine whose default runtime gives them would listen."""
    return {} if spec.gpu_uuids else {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": ""}


def labels_filter(executor: str) -> dict[str, list[str]]:
    """What lists or watches the containers of one executor only."""
    return {"label": [f"{EXECUTOR_LABEL}={executor}"]}
