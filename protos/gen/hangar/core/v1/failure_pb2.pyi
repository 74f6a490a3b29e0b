from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FailureKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_KIND_UNSPECIFIED: _ClassVar[FailureKind]
    FAILURE_KIND_USER: _ClassVar[FailureKind]
    FAILURE_KIND_SYSTEM: _ClassVar[FailureKind]
    FAILURE_KIND_OOM: _ClassVar[FailureKind]
    FAILURE_KIND_GPU_OOM: _ClassVar[FailureKind]
    FAILURE_KIND_TIMEOUT: _ClassVar[FailureKind]
    FAILURE_KIND_LOST: _ClassVar[FailureKind]
    FAILURE_KIND_IMAGE: _ClassVar[FailureKind]
    FAILURE_KIND_PREEMPTED: _ClassVar[FailureKind]
FAILURE_KIND_UNSPECIFIED: FailureKind
FAILURE_KIND_USER: FailureKind
FAILURE_KIND_SYSTEM: FailureKind
FAILURE_KIND_OOM: FailureKind
FAILURE_KIND_GPU_OOM: FailureKind
FAILURE_KIND_TIMEOUT: FailureKind
FAILURE_KIND_LOST: FailureKind
FAILURE_KIND_IMAGE: FailureKind
FAILURE_KIND_PREEMPTED: FailureKind

class Failure(_message.Message):
    __slots__ = ("kind", "code", "message", "traceback", "non_recoverable", "worker")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    NON_RECOVERABLE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    kind: FailureKind
    code: str
    message: str
    traceback: str
    non_recoverable: bool
    worker: str
    def __init__(self, kind: _Optional[_Union[FailureKind, str]] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., non_recoverable: _Optional[bool] = ..., worker: _Optional[str] = ...) -> None: ...
