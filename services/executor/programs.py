"""Programs of images: what they get, and what becomes of what they leave."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from hangar.core.v1 import failure_pb2
from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.task_spec_pb2 import TaskSpec, Variable
from services.common.errors import FailedPrecondition, HangarError, NotFound
from services.executor import failures
from services.executor.container_values import filled, from_bytes, to_bytes
from services.executor.engines.base import INPUTS, OUTPUTS, Program, WorkerExit
from services.executor.leases import Lease, LeaseState
from services.executor.outgoing import Outgoing
from services.executor.payloads import Payloads
from services.executor.program_files import PLACES, ProgramError, ProgramFiles
from services.executor.reaches import Reaches
from services.executor.results import Results
from services.executor.worker_files import open_plain
from services.executor.workers import Worker


class Programs:
    """The part that the SDK's worker has for other tasks: inputs before the start, outputs after the end.

    Args:
        payloads: Fetches inputs.
        files: Moves files and directories.
        outgoing: Shows why inputs are waited for.
        results: Ends leases.
        reaches: Says what outputs may refer to.
    """

    def __init__(
        self, payloads: Payloads, files: ProgramFiles, outgoing: Outgoing, results: Results, reaches: Reaches
    ) -> None:
        self._payloads = payloads
        self._files = files
        self._outgoing = outgoing
        self._results = results
        self._reaches = reaches

    async def prepare(self, worker: Worker) -> Program:
        """Writes inputs as files, and returns what to run.

        Raises:
            ProgramError: An input is not one that the program can be given.
            HangarError: The inputs are gone.
            OSError: They cannot be written.
        """
        [lease] = worker.leases.values()
        spec = lease.spec
        waiting = self._outgoing.explains(lease.lease_id, "the inputs cannot be fetched yet")
        try:
            document = await self._payloads.fetch(lease.assignment.inputs, waiting)
        except NotFound as error:
            raise FailedPrecondition(
                f"the inputs are gone: {error.message}", reason="INPUTS_MISSING"
            ) from error
        self._reaches.learn(lease, document)
        values = _values(spec, document)
        await asyncio.to_thread(_write, worker.directory, spec, values)
        for variable in spec.interface.inputs:
            if variable.name in values and _kind(variable):
                place = worker.directory / INPUTS / variable.name
                await self._files.bring(lease, variable.name, values[variable.name], place)
                values[variable.name] = f"{spec.container.input_directory}/{variable.name}"
        container = spec.container
        return Program(
            tuple(filled(container.command, values)),
            tuple(filled(container.arguments, values)),
            container.input_directory,
            container.output_directory,
            Path(worker.log_path(lease.lease_id)).name,
        )

    @staticmethod
    def environ(worker: Worker) -> dict[str, str]:
        """Environment variables of a program: those of its task and its run, and which attempt it is."""
        [lease] = worker.leases.values()
        context = lease.assignment.context
        found = {**lease.spec.env_vars, **context.env_vars}
        found["FLYTE_ATTEMPT_NUMBER"] = str(lease.assignment.attempt)
        if context.traceparent:
            found["TRACEPARENT"] = context.traceparent
        return found

    async def ended(self, worker: Worker, ended: WorkerExit) -> None:
        """A program has ended by itself: its outputs, or its exit code, are the result of its lease."""
        for lease in list(worker.leases.values()):
            if lease.state is LeaseState.GIVEN:
                lease.state = LeaseState.RUNNING
            if lease.kill is not None or ended.killed or ended.oom or ended.code is None:
                continue
            if ended.code:
                self._results.fail(lease, _exited(lease, ended))
                continue
            try:
                document = await self._outputs(worker, lease)
            except ProgramError as error:
                self._results.fail(lease, _user(lease, error.code, error.message))
                continue
            except (HangarError, OSError) as error:
                message = f"the outputs cannot be read or stored: {error}"
                self._results.fail(lease, failures.system("OutputsNotStored", message))
                continue
            if lease.kill is not None:
                continue
            if refusal := self._reaches.refusal(lease, document, "the outputs"):
                self._results.fail(lease, refusal)
            else:
                self._results.succeed(lease, document, _digest(document))

    async def _outputs(self, worker: Worker, lease: Lease) -> bytes:
        """The outputs document of what a program has written.

        Raises:
            ProgramError: A file is missing, too long, or no value of its type.
            HangarError: The blob store refuses a file.
            OSError: A file cannot be read.
        """
        container, interface = lease.spec.container, lease.spec.interface
        document, left = {}, lease.spec.max_inline_io_bytes or (1 << 62)
        for name, variable in zip(container.output_files, interface.outputs, strict=True):
            path, shown = worker.directory / OUTPUTS / name, f"{container.output_directory}/{name}"
            if kind := _kind(variable):
                document[variable.name] = await self._files.keep(lease, name, kind, path, shown)
                continue
            content = await asyncio.to_thread(_read, path, shown, left)
            left -= len(content)
            document[variable.name] = _value(content, variable, shown)
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _kind(variable: Variable) -> str:
    """Kind of the references that an input or output is, empty when it is a value."""
    form = json.loads(variable.schema_json or "{}").get("format")
    return form if form in PLACES else ""


def _values(spec: TaskSpec, document: bytes) -> dict[str, Any]:
    """Inputs in JSON form by name, with defaults for those that are missing."""
    defaults = {
        each.name: json.loads(each.default_json) for each in spec.interface.inputs if each.default_json
    }
    return {**defaults, **json.loads(document or b"{}")}


def _write(directory: Path, spec: TaskSpec, values: dict[str, Any]) -> None:
    for name in (INPUTS, OUTPUTS):
        (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    for variable in spec.interface.inputs:
        if variable.name in values and not _kind(variable):
            content = to_bytes(values[variable.name], json.loads(variable.schema_json or "{}"))
            (directory / INPUTS / variable.name).write_bytes(content)


def _read(path: Path, shown: str, most: int) -> bytes:
    try:
        with open_plain(path) as file:
            content = file.read(most + 1)
    except OSError as error:
        why = error.strerror if isinstance(error, FileNotFoundError) else "it is no plain file"
        message = f"the program exited with code 0 and has not written {shown}: {why}"
        raise ProgramError("OutputMissing", message) from error
    if len(content) > most:
        raise ProgramError(
            "InlineIOMaxBytesBreached",
            f"{shown} makes the outputs longer than max_inline_io_bytes: write less, or raise it",
        )
    return content


def _value(content: bytes, variable: Variable, shown: str) -> Any:
    try:
        return from_bytes(content, json.loads(variable.schema_json or "{}"))
    except ValueError as error:
        raise ProgramError("OutputInvalid", f"{shown} is no {variable.type_name}: {error}") from error


def _digest(document: bytes) -> str:
    canonical = json.dumps(json.loads(document), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def _exited(lease: Lease, ended: WorkerExit) -> Failure:
    detail = f"; {ended.reason}" if ended.reason else ""
    return _user(lease, "ContainerExited", f"the container exited with code {ended.code}{detail}")


def _user(lease: Lease, code: str, message: str) -> Failure:
    kind = failure_pb2.FAILURE_KIND_USER
    return Failure(kind=kind, code=code, message=message, worker=str(lease.worker_id))
