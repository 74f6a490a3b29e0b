from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ActionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_KIND_UNSPECIFIED: _ClassVar[ActionKind]
    ACTION_KIND_TASK: _ClassVar[ActionKind]
    ACTION_KIND_TRACE: _ClassVar[ActionKind]
    ACTION_KIND_CONDITION: _ClassVar[ActionKind]
    ACTION_KIND_SLEEP: _ClassVar[ActionKind]
ACTION_KIND_UNSPECIFIED: ActionKind
ACTION_KIND_TASK: ActionKind
ACTION_KIND_TRACE: ActionKind
ACTION_KIND_CONDITION: ActionKind
ACTION_KIND_SLEEP: ActionKind
