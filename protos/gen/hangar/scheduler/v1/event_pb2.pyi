import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hangar.core.v1 import identifiers_pb2 as _identifiers_pb2
from hangar.core.v1 import phase_pb2 as _phase_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("cursor", "action", "phase", "attempt", "occurred_at", "detail")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    action: _identifiers_pb2.ActionIdentifier
    phase: _phase_pb2.Phase
    attempt: int
    occurred_at: _timestamp_pb2.Timestamp
    detail: str
    def __init__(self, cursor: _Optional[int] = ..., action: _Optional[_Union[_identifiers_pb2.ActionIdentifier, _Mapping]] = ..., phase: _Optional[_Union[_phase_pb2.Phase, str]] = ..., attempt: _Optional[int] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., detail: _Optional[str] = ...) -> None: ...
