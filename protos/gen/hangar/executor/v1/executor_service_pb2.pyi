from hangar.core.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetNodeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetNodeResponse(_message.Message):
    __slots__ = ("node", "inventory", "engine", "connected", "unacknowledged_results", "leases")
    NODE_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    UNACKNOWLEDGED_RESULTS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    node: str
    inventory: _resources_pb2.Inventory
    engine: str
    connected: bool
    unacknowledged_results: int
    leases: int
    def __init__(self, node: _Optional[str] = ..., inventory: _Optional[_Union[_resources_pb2.Inventory, _Mapping]] = ..., engine: _Optional[str] = ..., connected: _Optional[bool] = ..., unacknowledged_results: _Optional[int] = ..., leases: _Optional[int] = ...) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[Worker]
    def __init__(self, workers: _Optional[_Iterable[_Union[Worker, _Mapping]]] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("worker_id", "pool_key", "state", "lease_ids", "pid")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    POOL_KEY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LEASE_IDS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    worker_id: int
    pool_key: str
    state: str
    lease_ids: _containers.RepeatedScalarFieldContainer[int]
    pid: int
    def __init__(self, worker_id: _Optional[int] = ..., pool_key: _Optional[str] = ..., state: _Optional[str] = ..., lease_ids: _Optional[_Iterable[int]] = ..., pid: _Optional[int] = ...) -> None: ...
