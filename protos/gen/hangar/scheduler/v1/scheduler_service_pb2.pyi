from hangar.core.v1 import identifiers_pb2 as _identifiers_pb2
from hangar.core.v1 import payload_pb2 as _payload_pb2
from hangar.core.v1 import resources_pb2 as _resources_pb2
from hangar.core.v1 import task_spec_pb2 as _task_spec_pb2
from hangar.scheduler.v1 import event_pb2 as _event_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_STATE_UNSPECIFIED: _ClassVar[NodeState]
    NODE_STATE_READY: _ClassVar[NodeState]
    NODE_STATE_SUSPECT: _ClassVar[NodeState]
    NODE_STATE_LOST: _ClassVar[NodeState]
    NODE_STATE_DRAINING: _ClassVar[NodeState]
NODE_STATE_UNSPECIFIED: NodeState
NODE_STATE_READY: NodeState
NODE_STATE_SUSPECT: NodeState
NODE_STATE_LOST: NodeState
NODE_STATE_DRAINING: NodeState

class CreateRunRequest(_message.Message):
    __slots__ = ("run", "task", "inputs", "context", "cache_key")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    run: _identifiers_pb2.RunIdentifier
    task: _task_spec_pb2.TaskSpec
    inputs: _payload_pb2.Payload
    context: _task_spec_pb2.RunContext
    cache_key: str
    def __init__(self, run: _Optional[_Union[_identifiers_pb2.RunIdentifier, _Mapping]] = ..., task: _Optional[_Union[_task_spec_pb2.TaskSpec, _Mapping]] = ..., inputs: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ..., context: _Optional[_Union[_task_spec_pb2.RunContext, _Mapping]] = ..., cache_key: _Optional[str] = ...) -> None: ...

class CreateRunResponse(_message.Message):
    __slots__ = ("created",)
    CREATED_FIELD_NUMBER: _ClassVar[int]
    created: bool
    def __init__(self, created: _Optional[bool] = ...) -> None: ...

class AbortRunRequest(_message.Message):
    __slots__ = ("run", "reason")
    RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run: _identifiers_pb2.RunIdentifier
    reason: str
    def __init__(self, run: _Optional[_Union[_identifiers_pb2.RunIdentifier, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class AbortRunResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    def __init__(self, accepted: _Optional[bool] = ...) -> None: ...

class AbortActionRequest(_message.Message):
    __slots__ = ("action", "reason")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    action: _identifiers_pb2.ActionIdentifier
    reason: str
    def __init__(self, action: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class AbortActionResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    def __init__(self, accepted: _Optional[bool] = ...) -> None: ...

class PrepareImagesRequest(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[_task_spec_pb2.Image]
    def __init__(self, images: _Optional[_Iterable[_Union[_task_spec_pb2.Image, _Mapping]]] = ...) -> None: ...

class PrepareImagesResponse(_message.Message):
    __slots__ = ("hosts",)
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    hosts: int
    def __init__(self, hosts: _Optional[int] = ...) -> None: ...

class DeployTasksRequest(_message.Message):
    __slots__ = ("project", "domain", "tasks")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    tasks: _containers.RepeatedCompositeFieldContainer[_task_spec_pb2.TaskSpec]
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., tasks: _Optional[_Iterable[_Union[_task_spec_pb2.TaskSpec, _Mapping]]] = ...) -> None: ...

class DeployTasksResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, changed: _Optional[_Iterable[str]] = ...) -> None: ...

class SignalActionRequest(_message.Message):
    __slots__ = ("action", "outputs")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    action: _identifiers_pb2.ActionIdentifier
    outputs: _payload_pb2.Payload
    def __init__(self, action: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ..., outputs: _Optional[_Union[_payload_pb2.Payload, _Mapping]] = ...) -> None: ...

class SignalActionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("after", "from_now")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    FROM_NOW_FIELD_NUMBER: _ClassVar[int]
    after: int
    from_now: bool
    def __init__(self, after: _Optional[int] = ..., from_now: _Optional[bool] = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("events", "cursor")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_event_pb2.Event]
    cursor: int
    def __init__(self, events: _Optional[_Iterable[_Union[_event_pb2.Event, _Mapping]]] = ..., cursor: _Optional[int] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("name", "state", "capacity", "free", "leases", "workers", "queues", "interruptible")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTIBLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: NodeState
    capacity: _resources_pb2.Inventory
    free: _resources_pb2.Inventory
    leases: int
    workers: int
    queues: _containers.RepeatedScalarFieldContainer[str]
    interruptible: bool
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[NodeState, str]] = ..., capacity: _Optional[_Union[_resources_pb2.Inventory, _Mapping]] = ..., free: _Optional[_Union[_resources_pb2.Inventory, _Mapping]] = ..., leases: _Optional[int] = ..., workers: _Optional[int] = ..., queues: _Optional[_Iterable[str]] = ..., interruptible: _Optional[bool] = ...) -> None: ...
