import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hangar.core.v1 import action_kind_pb2 as _action_kind_pb2
from hangar.core.v1 import failure_pb2 as _failure_pb2
from hangar.core.v1 import identifiers_pb2 as _identifiers_pb2
from hangar.core.v1 import phase_pb2 as _phase_pb2
from hangar.core.v1 import progress_pb2 as _progress_pb2
from hangar.core.v1 import task_spec_pb2 as _task_spec_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Run(_message.Message):
    __slots__ = ("id", "task_name", "task_version", "phase", "created_at", "started_at", "ended_at", "labels", "failure", "abort_reason", "trace_id", "url", "action_count", "annotations", "settings", "recovered_from", "counted_failures")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_NAME_FIELD_NUMBER: _ClassVar[int]
    TASK_VERSION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ABORT_REASON_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    ACTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_FROM_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FAILURES_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.RunIdentifier
    task_name: str
    task_version: str
    phase: _phase_pb2.Phase
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    failure: _failure_pb2.Failure
    abort_reason: str
    trace_id: str
    url: str
    action_count: int
    annotations: _containers.ScalarMap[str, str]
    settings: _task_spec_pb2.RunContext
    recovered_from: str
    counted_failures: int
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.RunIdentifier, _Mapping]] = ..., task_name: _Optional[str] = ..., task_version: _Optional[str] = ..., phase: _Optional[_Union[_phase_pb2.Phase, str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., abort_reason: _Optional[str] = ..., trace_id: _Optional[str] = ..., url: _Optional[str] = ..., action_count: _Optional[int] = ..., annotations: _Optional[_Mapping[str, str]] = ..., settings: _Optional[_Union[_task_spec_pb2.RunContext, _Mapping]] = ..., recovered_from: _Optional[str] = ..., counted_failures: _Optional[int] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("id", "parent", "task_name", "short_name", "group", "phase", "wait_reason", "created_at", "started_at", "ended_at", "failure", "abort_reason", "attempts", "attempt_count", "lineage", "sequence", "cache_status", "cached_from", "links", "custom_context", "cache_reason", "kind", "wait", "progress", "has_report", "counted_failures")
    class CustomContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    TASK_NAME_FIELD_NUMBER: _ClassVar[int]
    SHORT_NAME_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    WAIT_REASON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ABORT_REASON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CACHE_STATUS_FIELD_NUMBER: _ClassVar[int]
    CACHED_FROM_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CACHE_REASON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    HAS_REPORT_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FAILURES_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.ActionIdentifier
    parent: str
    task_name: str
    short_name: str
    group: str
    phase: _phase_pb2.Phase
    wait_reason: str
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    failure: _failure_pb2.Failure
    abort_reason: str
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    attempt_count: int
    lineage: _containers.RepeatedCompositeFieldContainer[Lineage]
    sequence: int
    cache_status: _task_spec_pb2.CacheStatus
    cached_from: _identifiers_pb2.ActionIdentifier
    links: _containers.RepeatedCompositeFieldContainer[_task_spec_pb2.Link]
    custom_context: _containers.ScalarMap[str, str]
    cache_reason: str
    kind: _action_kind_pb2.ActionKind
    wait: Wait
    progress: _progress_pb2.Progress
    has_report: bool
    counted_failures: int
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ..., parent: _Optional[str] = ..., task_name: _Optional[str] = ..., short_name: _Optional[str] = ..., group: _Optional[str] = ..., phase: _Optional[_Union[_phase_pb2.Phase, str]] = ..., wait_reason: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., abort_reason: _Optional[str] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., attempt_count: _Optional[int] = ..., lineage: _Optional[_Iterable[_Union[Lineage, _Mapping]]] = ..., sequence: _Optional[int] = ..., cache_status: _Optional[_Union[_task_spec_pb2.CacheStatus, str]] = ..., cached_from: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ..., links: _Optional[_Iterable[_Union[_task_spec_pb2.Link, _Mapping]]] = ..., custom_context: _Optional[_Mapping[str, str]] = ..., cache_reason: _Optional[str] = ..., kind: _Optional[_Union[_action_kind_pb2.ActionKind, str]] = ..., wait: _Optional[_Union[Wait, _Mapping]] = ..., progress: _Optional[_Union[_progress_pb2.Progress, _Mapping]] = ..., has_report: _Optional[bool] = ..., counted_failures: _Optional[int] = ...) -> None: ...

class Wait(_message.Message):
    __slots__ = ("until", "prompt", "schema_json")
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    until: _timestamp_pb2.Timestamp
    prompt: str
    schema_json: str
    def __init__(self, until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., prompt: _Optional[str] = ..., schema_json: _Optional[str] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("number", "phase", "node", "assigned_at", "started_at", "ended_at", "failure", "worker_id", "span_id", "peak_memory_bytes", "image")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    number: int
    phase: _phase_pb2.Phase
    node: str
    assigned_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    failure: _failure_pb2.Failure
    worker_id: int
    span_id: str
    peak_memory_bytes: int
    image: str
    def __init__(self, number: _Optional[int] = ..., phase: _Optional[_Union[_phase_pb2.Phase, str]] = ..., node: _Optional[str] = ..., assigned_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., worker_id: _Optional[int] = ..., span_id: _Optional[str] = ..., peak_memory_bytes: _Optional[int] = ..., image: _Optional[str] = ...) -> None: ...

class Lineage(_message.Message):
    __slots__ = ("input", "source")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    input: str
    source: str
    def __init__(self, input: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...
