import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hangar.admin.v1 import run_pb2 as _run_pb2
from hangar.core.v1 import identifiers_pb2 as _identifiers_pb2
from hangar.core.v1 import payload_pb2 as _payload_pb2
from hangar.core.v1 import phase_pb2 as _phase_pb2
from hangar.core.v1 import task_spec_pb2 as _task_spec_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateRunRequest(_message.Message):
    __slots__ = ("id", "task", "inputs", "context", "cache_key")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.RunIdentifier
    task: _task_spec_pb2.TaskSpec
    inputs: _payload_pb2.Payload
    context: _task_spec_pb2.RunContext
    cache_key: str
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.RunIdentifier, _Mapping]] = ..., task: _Optional[_Union[_task_spec_pb2.TaskSpec, _Mapping]] = ..., inputs: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., context: _Optional[_Union[_task_spec_pb2.RunContext, _Mapping]] = ..., cache_key: _Optional[str] = ...) -> None: ...

class CreateRunResponse(_message.Message):
    __slots__ = ("run", "created")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    run: _run_pb2.Run
    created: bool
    def __init__(self, run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class RerunRunRequest(_message.Message):
    __slots__ = ("id", "name", "recover", "env_vars", "labels", "overwrite_cache", "queue", "interruptible")
    class EnvVarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RECOVER_FIELD_NUMBER: _ClassVar[int]
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_CACHE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTIBLE_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.RunIdentifier
    name: str
    recover: bool
    env_vars: _containers.ScalarMap[str, str]
    labels: _containers.ScalarMap[str, str]
    overwrite_cache: bool
    queue: str
    interruptible: bool
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.RunIdentifier, _Mapping]] = ..., name: _Optional[str] = ..., recover: _Optional[bool] = ..., env_vars: _Optional[_Mapping[str, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., overwrite_cache: _Optional[bool] = ..., queue: _Optional[str] = ..., interruptible: _Optional[bool] = ...) -> None: ...

class RerunRunResponse(_message.Message):
    __slots__ = ("run", "created")
    RUN_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    run: _run_pb2.Run
    created: bool
    def __init__(self, run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.RunIdentifier
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.RunIdentifier, _Mapping]] = ...) -> None: ...

class GetRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: _run_pb2.Run
    def __init__(self, run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ...) -> None: ...

class RunFilter(_message.Message):
    __slots__ = ("phases", "task_name", "task_version", "created_after", "created_before", "labels", "updated_after", "updated_before")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PHASES_FIELD_NUMBER: _ClassVar[int]
    TASK_NAME_FIELD_NUMBER: _ClassVar[int]
    TASK_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    UPDATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    phases: _containers.RepeatedScalarFieldContainer[_phase_pb2.Phase]
    task_name: str
    task_version: str
    created_after: _timestamp_pb2.Timestamp
    created_before: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    updated_after: _timestamp_pb2.Timestamp
    updated_before: _timestamp_pb2.Timestamp
    def __init__(self, phases: _Optional[_Iterable[_Union[_phase_pb2.Phase, str]]] = ..., task_name: _Optional[str] = ..., task_version: _Optional[str] = ..., created_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., updated_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("project", "domain", "filter", "page_size", "page_token", "order_by")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    filter: RunFilter
    page_size: int
    page_token: str
    order_by: str
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., filter: _Optional[_Union[RunFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "next_page_token")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[_run_pb2.Run]
    next_page_token: str
    def __init__(self, runs: _Optional[_Iterable[_Union[_run_pb2.Run, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchRunsRequest(_message.Message):
    __slots__ = ("project", "domain", "filter", "after")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    filter: RunFilter
    after: int
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., filter: _Optional[_Union[RunFilter, _Mapping]] = ..., after: _Optional[int] = ...) -> None: ...

class WatchRunsResponse(_message.Message):
    __slots__ = ("runs", "cursor")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[_run_pb2.Run]
    cursor: int
    def __init__(self, runs: _Optional[_Iterable[_Union[_run_pb2.Run, _Mapping]]] = ..., cursor: _Optional[int] = ...) -> None: ...

class AbortRunRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.RunIdentifier
    reason: str
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.RunIdentifier, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class AbortRunResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    def __init__(self, accepted: _Optional[bool] = ...) -> None: ...

class GetActionRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.ActionIdentifier
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ...) -> None: ...

class GetActionResponse(_message.Message):
    __slots__ = ("action",)
    ACTION_FIELD_NUMBER: _ClassVar[int]
    action: _run_pb2.Action
    def __init__(self, action: _Optional[_Union[_run_pb2.Action, _Mapping]] = ...) -> None: ...

class ActionFilter(_message.Message):
    __slots__ = ("phases", "parent", "names")
    PHASES_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    phases: _containers.RepeatedScalarFieldContainer[_phase_pb2.Phase]
    parent: str
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, phases: _Optional[_Iterable[_Union[_phase_pb2.Phase, str]]] = ..., parent: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class ListActionsRequest(_message.Message):
    __slots__ = ("run", "filter", "page_size", "page_token")
    RUN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run: _identifiers_pb2.RunIdentifier
    filter: ActionFilter
    page_size: int
    page_token: str
    def __init__(self, run: _Optional[_Union[_identifiers_pb2.RunIdentifier, _Mapping]] = ..., filter: _Optional[_Union[ActionFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListActionsResponse(_message.Message):
    __slots__ = ("actions", "next_page_token")
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedCompositeFieldContainer[_run_pb2.Action]
    next_page_token: str
    def __init__(self, actions: _Optional[_Iterable[_Union[_run_pb2.Action, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchActionsRequest(_message.Message):
    __slots__ = ("run", "filter", "after")
    RUN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    run: _identifiers_pb2.RunIdentifier
    filter: ActionFilter
    after: int
    def __init__(self, run: _Optional[_Union[_identifiers_pb2.RunIdentifier, _Mapping]] = ..., filter: _Optional[_Union[ActionFilter, _Mapping]] = ..., after: _Optional[int] = ...) -> None: ...

class WatchActionsResponse(_message.Message):
    __slots__ = ("run", "actions", "cursor")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    run: _run_pb2.Run
    actions: _containers.RepeatedCompositeFieldContainer[_run_pb2.Action]
    cursor: int
    def __init__(self, run: _Optional[_Union[_run_pb2.Run, _Mapping]] = ..., actions: _Optional[_Iterable[_Union[_run_pb2.Action, _Mapping]]] = ..., cursor: _Optional[int] = ...) -> None: ...

class AbortActionRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.ActionIdentifier
    reason: str
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class AbortActionResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    def __init__(self, accepted: _Optional[bool] = ...) -> None: ...

class SignalActionRequest(_message.Message):
    __slots__ = ("id", "value_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.ActionIdentifier
    value_json: str
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ..., value_json: _Optional[str] = ...) -> None: ...

class SignalActionResponse(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.ActionIdentifier
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ...) -> None: ...

class GetActionDataRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.ActionIdentifier
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ...) -> None: ...

class GetActionDataResponse(_message.Message):
    __slots__ = ("inputs", "outputs", "inputs_url", "outputs_url")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_URL_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_URL_FIELD_NUMBER: _ClassVar[int]
    inputs: _payload_pb2.Payload
    outputs: _payload_pb2.Payload
    inputs_url: str
    outputs_url: str
    def __init__(self, inputs: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., outputs: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., inputs_url: _Optional[str] = ..., outputs_url: _Optional[str] = ...) -> None: ...

class GetReportRequest(_message.Message):
    __slots__ = ("id", "attempt")
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    id: _identifiers_pb2.ActionIdentifier
    attempt: int
    def __init__(self, id: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ..., attempt: _Optional[int] = ...) -> None: ...

class GetReportResponse(_message.Message):
    __slots__ = ("attempt", "size", "updated_at", "url")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    size: int
    updated_at: _timestamp_pb2.Timestamp
    url: str
    def __init__(self, attempt: _Optional[int] = ..., size: _Optional[int] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., url: _Optional[str] = ...) -> None: ...
