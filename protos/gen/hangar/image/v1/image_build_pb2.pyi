import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hangar.core.v1 import failure_pb2 as _failure_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImageBuildState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_BUILD_STATE_UNSPECIFIED: _ClassVar[ImageBuildState]
    IMAGE_BUILD_STATE_QUEUED: _ClassVar[ImageBuildState]
    IMAGE_BUILD_STATE_BUILDING: _ClassVar[ImageBuildState]
    IMAGE_BUILD_STATE_SUCCEEDED: _ClassVar[ImageBuildState]
    IMAGE_BUILD_STATE_FAILED: _ClassVar[ImageBuildState]
    IMAGE_BUILD_STATE_CANCELLED: _ClassVar[ImageBuildState]
IMAGE_BUILD_STATE_UNSPECIFIED: ImageBuildState
IMAGE_BUILD_STATE_QUEUED: ImageBuildState
IMAGE_BUILD_STATE_BUILDING: ImageBuildState
IMAGE_BUILD_STATE_SUCCEEDED: ImageBuildState
IMAGE_BUILD_STATE_FAILED: ImageBuildState
IMAGE_BUILD_STATE_CANCELLED: ImageBuildState

class ImageBuild(_message.Message):
    __slots__ = ("name", "state", "reference", "definition_digest", "base_image", "platform", "created_at", "started_at", "finished_at", "cached", "image_digest", "size_bytes", "step", "failed_layer", "exit_code", "failure", "log_lines", "steps", "step_number", "environment", "image_id", "missing_secrets", "bases", "title")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BASE_IMAGE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FAILED_LAYER_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    LOG_LINES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STEP_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MISSING_SECRETS_FIELD_NUMBER: _ClassVar[int]
    BASES_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: ImageBuildState
    reference: str
    definition_digest: str
    base_image: str
    platform: str
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    cached: bool
    image_digest: str
    size_bytes: int
    step: str
    failed_layer: int
    exit_code: int
    failure: _failure_pb2.Failure
    log_lines: int
    steps: int
    step_number: int
    environment: bool
    image_id: str
    missing_secrets: _containers.RepeatedScalarFieldContainer[str]
    bases: _containers.RepeatedCompositeFieldContainer[BaseImage]
    title: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[ImageBuildState, str]] = ..., reference: _Optional[str] = ..., definition_digest: _Optional[str] = ..., base_image: _Optional[str] = ..., platform: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cached: _Optional[bool] = ..., image_digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., step: _Optional[str] = ..., failed_layer: _Optional[int] = ..., exit_code: _Optional[int] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., log_lines: _Optional[int] = ..., steps: _Optional[int] = ..., step_number: _Optional[int] = ..., environment: _Optional[bool] = ..., image_id: _Optional[str] = ..., missing_secrets: _Optional[_Iterable[str]] = ..., bases: _Optional[_Iterable[_Union[BaseImage, _Mapping]]] = ..., title: _Optional[str] = ...) -> None: ...

class BaseImage(_message.Message):
    __slots__ = ("address", "digest", "current_digest")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CURRENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    address: str
    digest: str
    current_digest: str
    def __init__(self, address: _Optional[str] = ..., digest: _Optional[str] = ..., current_digest: _Optional[str] = ...) -> None: ...

class ImageBuildLogLine(_message.Message):
    __slots__ = ("number", "text", "step", "captured_at")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    number: int
    text: str
    step: str
    captured_at: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., text: _Optional[str] = ..., step: _Optional[str] = ..., captured_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
