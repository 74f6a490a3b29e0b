import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hangar.core.v1 import action_kind_pb2 as _action_kind_pb2
from hangar.core.v1 import failure_pb2 as _failure_pb2
from hangar.core.v1 import identifiers_pb2 as _identifiers_pb2
from hangar.core.v1 import payload_pb2 as _payload_pb2
from hangar.core.v1 import phase_pb2 as _phase_pb2
from hangar.core.v1 import progress_pb2 as _progress_pb2
from hangar.core.v1 import resources_pb2 as _resources_pb2
from hangar.core.v1 import task_spec_pb2 as _task_spec_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKER_STATE_UNSPECIFIED: _ClassVar[WorkerState]
    WORKER_STATE_STARTING: _ClassVar[WorkerState]
    WORKER_STATE_READY: _ClassVar[WorkerState]
    WORKER_STATE_EXITED: _ClassVar[WorkerState]
WORKER_STATE_UNSPECIFIED: WorkerState
WORKER_STATE_STARTING: WorkerState
WORKER_STATE_READY: WorkerState
WORKER_STATE_EXITED: WorkerState

class FindTaskRequest(_message.Message):
    __slots__ = ("project", "domain", "name", "version")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    name: str
    version: str
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class FindTaskResponse(_message.Message):
    __slots__ = ("spec",)
    SPEC_FIELD_NUMBER: _ClassVar[int]
    spec: _task_spec_pb2.TaskSpec
    def __init__(self, spec: _Optional[_Union[_task_spec_pb2.TaskSpec, _Mapping]] = ...) -> None: ...

class NodeSessionRequest(_message.Message):
    __slots__ = ("hello", "started", "specs", "children", "cancellations", "parks", "results", "workers", "logs", "heartbeat", "progress", "traces", "user_progress")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    SPECS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    CANCELLATIONS_FIELD_NUMBER: _ClassVar[int]
    PARKS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    USER_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    started: _containers.RepeatedCompositeFieldContainer[LeaseStarted]
    specs: _containers.RepeatedCompositeFieldContainer[KeyedTaskSpec]
    children: _containers.RepeatedCompositeFieldContainer[ChildRequest]
    cancellations: _containers.RepeatedCompositeFieldContainer[ChildCancellation]
    parks: _containers.RepeatedCompositeFieldContainer[LeasePark]
    results: _containers.RepeatedCompositeFieldContainer[LeaseResult]
    workers: _containers.RepeatedCompositeFieldContainer[WorkerStatus]
    logs: _containers.RepeatedCompositeFieldContainer[LogChunk]
    heartbeat: Heartbeat
    progress: _containers.RepeatedCompositeFieldContainer[LeaseProgress]
    traces: _containers.RepeatedCompositeFieldContainer[TraceResult]
    user_progress: _containers.RepeatedCompositeFieldContainer[UserProgress]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., started: _Optional[_Iterable[_Union[LeaseStarted, _Mapping]]] = ..., specs: _Optional[_Iterable[_Union[KeyedTaskSpec, _Mapping]]] = ..., children: _Optional[_Iterable[_Union[ChildRequest, _Mapping]]] = ..., cancellations: _Optional[_Iterable[_Union[ChildCancellation, _Mapping]]] = ..., parks: _Optional[_Iterable[_Union[LeasePark, _Mapping]]] = ..., results: _Optional[_Iterable[_Union[LeaseResult, _Mapping]]] = ..., workers: _Optional[_Iterable[_Union[WorkerStatus, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[LogChunk, _Mapping]]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., progress: _Optional[_Iterable[_Union[LeaseProgress, _Mapping]]] = ..., traces: _Optional[_Iterable[_Union[TraceResult, _Mapping]]] = ..., user_progress: _Optional[_Iterable[_Union[UserProgress, _Mapping]]] = ...) -> None: ...

class NodeSessionResponse(_message.Message):
    __slots__ = ("welcome", "worker_starts", "specs", "assignments", "child_outcomes", "kills", "worker_stops", "acknowledged_results", "acknowledged_logs", "drain", "images", "acknowledged_traces")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    WORKER_STARTS_FIELD_NUMBER: _ClassVar[int]
    SPECS_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    CHILD_OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    KILLS_FIELD_NUMBER: _ClassVar[int]
    WORKER_STOPS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_RESULTS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_LOGS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_TRACES_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    worker_starts: _containers.RepeatedCompositeFieldContainer[WorkerStart]
    specs: _containers.RepeatedCompositeFieldContainer[KeyedTaskSpec]
    assignments: _containers.RepeatedCompositeFieldContainer[Assignment]
    child_outcomes: _containers.RepeatedCompositeFieldContainer[ChildOutcome]
    kills: _containers.RepeatedCompositeFieldContainer[LeaseKill]
    worker_stops: _containers.RepeatedCompositeFieldContainer[WorkerStop]
    acknowledged_results: _containers.RepeatedScalarFieldContainer[int]
    acknowledged_logs: _containers.RepeatedCompositeFieldContainer[LogChunkKey]
    drain: bool
    images: _containers.RepeatedCompositeFieldContainer[_task_spec_pb2.Image]
    acknowledged_traces: _containers.RepeatedCompositeFieldContainer[TraceKey]
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., worker_starts: _Optional[_Iterable[_Union[WorkerStart, _Mapping]]] = ..., specs: _Optional[_Iterable[_Union[KeyedTaskSpec, _Mapping]]] = ..., assignments: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ..., child_outcomes: _Optional[_Iterable[_Union[ChildOutcome, _Mapping]]] = ..., kills: _Optional[_Iterable[_Union[LeaseKill, _Mapping]]] = ..., worker_stops: _Optional[_Iterable[_Union[WorkerStop, _Mapping]]] = ..., acknowledged_results: _Optional[_Iterable[int]] = ..., acknowledged_logs: _Optional[_Iterable[_Union[LogChunkKey, _Mapping]]] = ..., drain: _Optional[bool] = ..., images: _Optional[_Iterable[_Union[_task_spec_pb2.Image, _Mapping]]] = ..., acknowledged_traces: _Optional[_Iterable[_Union[TraceKey, _Mapping]]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("node", "boot_id", "inventory", "workers", "leases", "labels", "engine", "queues", "interruptible")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTIBLE_FIELD_NUMBER: _ClassVar[int]
    node: str
    boot_id: str
    inventory: _resources_pb2.Inventory
    workers: _containers.RepeatedCompositeFieldContainer[WorkerStatus]
    leases: _containers.RepeatedCompositeFieldContainer[HeldLease]
    labels: _containers.ScalarMap[str, str]
    engine: str
    queues: _containers.RepeatedScalarFieldContainer[str]
    interruptible: bool
    def __init__(self, node: _Optional[str] = ..., boot_id: _Optional[str] = ..., inventory: _Optional[_Union[_resources_pb2.Inventory, _Mapping]] = ..., workers: _Optional[_Iterable[_Union[WorkerStatus, _Mapping]]] = ..., leases: _Optional[_Iterable[_Union[HeldLease, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., engine: _Optional[str] = ..., queues: _Optional[_Iterable[str]] = ..., interruptible: _Optional[bool] = ...) -> None: ...

class UserProgress(_message.Message):
    __slots__ = ("lease_id", "progress")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    progress: _progress_pb2.Progress
    def __init__(self, lease_id: _Optional[int] = ..., progress: _Optional[_Union[_progress_pb2.Progress, _Mapping]] = ...) -> None: ...

class HeldLease(_message.Message):
    __slots__ = ("lease_id", "started", "parked", "worker_id")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PARKED_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    started: bool
    parked: bool
    worker_id: int
    def __init__(self, lease_id: _Optional[int] = ..., started: _Optional[bool] = ..., parked: _Optional[bool] = ..., worker_id: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("generation", "heartbeat_interval_millis", "dropped_leases", "dropped_workers")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_MILLIS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_LEASES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_WORKERS_FIELD_NUMBER: _ClassVar[int]
    generation: int
    heartbeat_interval_millis: int
    dropped_leases: _containers.RepeatedScalarFieldContainer[int]
    dropped_workers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, generation: _Optional[int] = ..., heartbeat_interval_millis: _Optional[int] = ..., dropped_leases: _Optional[_Iterable[int]] = ..., dropped_workers: _Optional[_Iterable[int]] = ...) -> None: ...

class KeyedTaskSpec(_message.Message):
    __slots__ = ("key", "spec")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    key: str
    spec: _task_spec_pb2.TaskSpec
    def __init__(self, key: _Optional[str] = ..., spec: _Optional[_Union[_task_spec_pb2.TaskSpec, _Mapping]] = ...) -> None: ...

class WorkerStart(_message.Message):
    __slots__ = ("worker_id", "pool_key", "spec_digest", "gpu_uuids", "concurrency", "project", "domain")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    POOL_KEY_FIELD_NUMBER: _ClassVar[int]
    SPEC_DIGEST_FIELD_NUMBER: _ClassVar[int]
    GPU_UUIDS_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    worker_id: int
    pool_key: str
    spec_digest: str
    gpu_uuids: _containers.RepeatedScalarFieldContainer[str]
    concurrency: int
    project: str
    domain: str
    def __init__(self, worker_id: _Optional[int] = ..., pool_key: _Optional[str] = ..., spec_digest: _Optional[str] = ..., gpu_uuids: _Optional[_Iterable[str]] = ..., concurrency: _Optional[int] = ..., project: _Optional[str] = ..., domain: _Optional[str] = ...) -> None: ...

class WorkerStop(_message.Message):
    __slots__ = ("worker_id", "reason")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    worker_id: int
    reason: str
    def __init__(self, worker_id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("lease_id", "action", "attempt", "spec_digest", "inputs", "pool_key", "worker_id", "gpu_uuids", "context", "user_attempt", "custom_context", "replays")
    class CustomContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SPEC_DIGEST_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    POOL_KEY_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    GPU_UUIDS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    USER_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    REPLAYS_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    action: _identifiers_pb2.ActionIdentifier
    attempt: int
    spec_digest: str
    inputs: _payload_pb2.Payload
    pool_key: str
    worker_id: int
    gpu_uuids: _containers.RepeatedScalarFieldContainer[str]
    context: _task_spec_pb2.RunContext
    user_attempt: int
    custom_context: _containers.ScalarMap[str, str]
    replays: bool
    def __init__(self, lease_id: _Optional[int] = ..., action: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ..., attempt: _Optional[int] = ..., spec_digest: _Optional[str] = ..., inputs: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., pool_key: _Optional[str] = ..., worker_id: _Optional[int] = ..., gpu_uuids: _Optional[_Iterable[str]] = ..., context: _Optional[_Union[_task_spec_pb2.RunContext, _Mapping]] = ..., user_attempt: _Optional[int] = ..., custom_context: _Optional[_Mapping[str, str]] = ..., replays: _Optional[bool] = ...) -> None: ...

class LeaseStarted(_message.Message):
    __slots__ = ("lease_id", "worker_id", "started_at", "image")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    worker_id: int
    started_at: _timestamp_pb2.Timestamp
    image: str
    def __init__(self, lease_id: _Optional[int] = ..., worker_id: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., image: _Optional[str] = ...) -> None: ...

class LeaseProgress(_message.Message):
    __slots__ = ("lease_id", "detail")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    detail: str
    def __init__(self, lease_id: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class ChildRequest(_message.Message):
    __slots__ = ("parent_lease_id", "key", "spec_key", "inputs", "group", "sources", "cache_key", "custom_context", "kind", "wait", "began_at")
    class CustomContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PARENT_LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SPEC_KEY_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    BEGAN_AT_FIELD_NUMBER: _ClassVar[int]
    parent_lease_id: int
    key: str
    spec_key: str
    inputs: _payload_pb2.Payload
    group: str
    sources: _containers.RepeatedCompositeFieldContainer[InputSource]
    cache_key: str
    custom_context: _containers.ScalarMap[str, str]
    kind: _action_kind_pb2.ActionKind
    wait: _duration_pb2.Duration
    began_at: _timestamp_pb2.Timestamp
    def __init__(self, parent_lease_id: _Optional[int] = ..., key: _Optional[str] = ..., spec_key: _Optional[str] = ..., inputs: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., group: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[InputSource, _Mapping]]] = ..., cache_key: _Optional[str] = ..., custom_context: _Optional[_Mapping[str, str]] = ..., kind: _Optional[_Union[_action_kind_pb2.ActionKind, str]] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., began_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TraceResult(_message.Message):
    __slots__ = ("request", "outputs", "failure", "abandoned", "ended_at")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ABANDONED_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    request: ChildRequest
    outputs: _payload_pb2.Payload
    failure: _failure_pb2.Failure
    abandoned: str
    ended_at: _timestamp_pb2.Timestamp
    def __init__(self, request: _Optional[_Union[ChildRequest, _Mapping]] = ..., outputs: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., abandoned: _Optional[str] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TraceKey(_message.Message):
    __slots__ = ("lease_id", "key")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    key: str
    def __init__(self, lease_id: _Optional[int] = ..., key: _Optional[str] = ...) -> None: ...

class InputSource(_message.Message):
    __slots__ = ("input", "key")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    input: str
    key: str
    def __init__(self, input: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class ChildCancellation(_message.Message):
    __slots__ = ("parent_lease_id", "key")
    PARENT_LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    parent_lease_id: int
    key: str
    def __init__(self, parent_lease_id: _Optional[int] = ..., key: _Optional[str] = ...) -> None: ...

class ChildOutcome(_message.Message):
    __slots__ = ("parent_lease_id", "key", "action_name", "phase", "outputs", "failure")
    PARENT_LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ACTION_NAME_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    parent_lease_id: int
    key: str
    action_name: str
    phase: _phase_pb2.Phase
    outputs: _payload_pb2.Payload
    failure: _failure_pb2.Failure
    def __init__(self, parent_lease_id: _Optional[int] = ..., key: _Optional[str] = ..., action_name: _Optional[str] = ..., phase: _Optional[_Union[_phase_pb2.Phase, str]] = ..., outputs: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ...) -> None: ...

class LeasePark(_message.Message):
    __slots__ = ("lease_id", "awaiting")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    AWAITING_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    awaiting: int
    def __init__(self, lease_id: _Optional[int] = ..., awaiting: _Optional[int] = ...) -> None: ...

class LeaseResult(_message.Message):
    __slots__ = ("lease_id", "outputs", "failure", "killed", "ended_at", "started_at", "worker_id", "peak_memory_bytes", "cpu_millis", "image")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    KILLED_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_MILLIS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    outputs: _payload_pb2.Payload
    failure: _failure_pb2.Failure
    killed: bool
    ended_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    worker_id: int
    peak_memory_bytes: int
    cpu_millis: int
    image: str
    def __init__(self, lease_id: _Optional[int] = ..., outputs: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., killed: _Optional[bool] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., worker_id: _Optional[int] = ..., peak_memory_bytes: _Optional[int] = ..., cpu_millis: _Optional[int] = ..., image: _Optional[str] = ...) -> None: ...

class WorkerStatus(_message.Message):
    __slots__ = ("worker_id", "state", "pool_key", "failure")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    POOL_KEY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    worker_id: int
    state: WorkerState
    pool_key: str
    failure: _failure_pb2.Failure
    def __init__(self, worker_id: _Optional[int] = ..., state: _Optional[_Union[WorkerState, str]] = ..., pool_key: _Optional[str] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ...) -> None: ...

class LogChunk(_message.Message):
    __slots__ = ("key", "blob", "lines", "first_at")
    KEY_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    FIRST_AT_FIELD_NUMBER: _ClassVar[int]
    key: LogChunkKey
    blob: _payload_pb2.BlobReference
    lines: int
    first_at: _timestamp_pb2.Timestamp
    def __init__(self, key: _Optional[_Union[LogChunkKey, _Mapping]] = ..., blob: _Optional[_Union[_payload_pb2.BlobReference, _Mapping]] = ..., lines: _Optional[int] = ..., first_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LogChunkKey(_message.Message):
    __slots__ = ("lease_id", "index")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    index: int
    def __init__(self, lease_id: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("sent_at", "memory_used_bytes", "cpu_used_millis")
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_USED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    sent_at: _timestamp_pb2.Timestamp
    memory_used_bytes: int
    cpu_used_millis: int
    def __init__(self, sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., memory_used_bytes: _Optional[int] = ..., cpu_used_millis: _Optional[int] = ...) -> None: ...

class LeaseKill(_message.Message):
    __slots__ = ("lease_id", "reason", "kind")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    lease_id: int
    reason: str
    kind: _failure_pb2.FailureKind
    def __init__(self, lease_id: _Optional[int] = ..., reason: _Optional[str] = ..., kind: _Optional[_Union[_failure_pb2.FailureKind, str]] = ...) -> None: ...
