"""A real OTLP receiver, and the spans that it got."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import grpc

from integration_tests.backend import clean_environ, free_ports

_PROGRAM = Path(str(files("rotel"))) / "rotel-agent"
_FIELD = re.compile(r"\s*(Trace ID|Parent ID|ID|Name)\s+: ?(.*)")
_ATTRIBUTE = re.compile(r"\s*-> ([\w.]+): (?:Str|Int)\((.*)\)")


@dataclass
class ReceivedSpan:
    """A span as the receiver shows it."""

    trace: str = ""
    parent: str = ""
    id: str = ""
    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class OtlpReceiver:
    """The receiver as a process that writes every span to a file.

    Args:
        output: The file.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        grpc_port, http_port = free_ports(2)
        self.endpoint = f"http://127.0.0.1:{grpc_port}"
        debug = ["--debug-log", "traces", "--debug-log-verbosity", "detailed", "--exporter", "blackhole"]
        ports = [
            "--otlp-grpc-endpoint",
            f"127.0.0.1:{grpc_port}",
            "--otlp-http-endpoint",
            f"127.0.0.1:{http_port}",
        ]
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                [str(_PROGRAM), "start", *debug, *ports], stdout=file, stderr=file, env=clean_environ()
            )
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=30)

    def spans(self, of_run: str) -> list[ReceivedSpan]:
        """The spans of attempts of a run in the order of their arrival; one that was sent twice is there twice."""
        found: list[ReceivedSpan] = []
        for line in self._output.read_text(errors="replace").splitlines():
            if line.startswith("Span #"):
                found.append(ReceivedSpan())
            elif found and (match := _FIELD.fullmatch(line)):
                name = {"Trace ID": "trace", "Parent ID": "parent", "ID": "id", "Name": "name"}[match[1]]
                if not getattr(found[-1], name):  # events of the span have names too
                    setattr(found[-1], name, match[2].strip())
            elif found and (match := _ATTRIBUTE.fullmatch(line)):
                found[-1].attributes.setdefault(match[1], match[2])
        return [span for span in found if span.attributes.get("hangar.run") == of_run]

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(20)
