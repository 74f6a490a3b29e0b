"""The environment variables that workers start with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from services.executor.engines.base import WorkerSpec

WORKER_DIRECTORY = "HANGAR_WORKER_DIRECTORY"
"""Variable that tells processes of a worker apart from all others."""

# What processes need of their host. Everything else stays out: the executor's own variables hold credentials.
_FROM_HOST = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CUDA_HOME", "CUDA_PATH"}
    | {
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    }
    | {"NVIDIA_DRIVER_CAPABILITIES"}
)


def host_environ() -> dict[str, str]:
    """The variables of this process that workers may have."""
    return {name: value for name, value in os.environ.items() if name in _FROM_HOST or name.startswith("LC_")}


def worker_environ(spec: WorkerSpec, host: Mapping[str, str]) -> dict[str, str]:
    """All variables of a worker: the host's, the environment's, the image's, the task's, and its GPUs."""
    environment = Path(spec.image.reference)
    environ = dict(host)
    environ["PATH"] = f"{environment / 'bin'}:{host.get('PATH', os.defpath)}"
    environ["VIRTUAL_ENV"] = str(environment)
    environ.update(spec.image.env_vars)
    environ.update(spec.env_vars)
    devices = ",".join(spec.gpu_uuids)
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        if not devices or name not in spec.env_vars:
            environ[name] = devices
    environ[WORKER_DIRECTORY] = str(spec.directory)
    return environ
