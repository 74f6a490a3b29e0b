from hangar.image.v1 import image_build_pb2 as _image_build_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BuildImageRequest(_message.Message):
    __slots__ = ("definition_json", "platform", "force", "dry_run", "secrets", "container")
    class SecretsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    DEFINITION_JSON_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    definition_json: str
    platform: str
    force: bool
    dry_run: bool
    secrets: _containers.ScalarMap[str, bytes]
    container: bool
    def __init__(self, definition_json: _Optional[str] = ..., platform: _Optional[str] = ..., force: _Optional[bool] = ..., dry_run: _Optional[bool] = ..., secrets: _Optional[_Mapping[str, bytes]] = ..., container: _Optional[bool] = ...) -> None: ...

class BuildImageResponse(_message.Message):
    __slots__ = ("build",)
    BUILD_FIELD_NUMBER: _ClassVar[int]
    build: _image_build_pb2.ImageBuild
    def __init__(self, build: _Optional[_Union[_image_build_pb2.ImageBuild, _Mapping]] = ...) -> None: ...

class GetImageBuildRequest(_message.Message):
    __slots__ = ("name", "check_bases")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHECK_BASES_FIELD_NUMBER: _ClassVar[int]
    name: str
    check_bases: bool
    def __init__(self, name: _Optional[str] = ..., check_bases: _Optional[bool] = ...) -> None: ...

class GetImageBuildResponse(_message.Message):
    __slots__ = ("build",)
    BUILD_FIELD_NUMBER: _ClassVar[int]
    build: _image_build_pb2.ImageBuild
    def __init__(self, build: _Optional[_Union[_image_build_pb2.ImageBuild, _Mapping]] = ...) -> None: ...

class ListImageBuildsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListImageBuildsResponse(_message.Message):
    __slots__ = ("builds", "next_page_token")
    BUILDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    builds: _containers.RepeatedCompositeFieldContainer[_image_build_pb2.ImageBuild]
    next_page_token: str
    def __init__(self, builds: _Optional[_Iterable[_Union[_image_build_pb2.ImageBuild, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchImageBuildRequest(_message.Message):
    __slots__ = ("name", "from_line")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FROM_LINE_FIELD_NUMBER: _ClassVar[int]
    name: str
    from_line: int
    def __init__(self, name: _Optional[str] = ..., from_line: _Optional[int] = ...) -> None: ...

class WatchImageBuildResponse(_message.Message):
    __slots__ = ("build", "lines", "next_line")
    BUILD_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    NEXT_LINE_FIELD_NUMBER: _ClassVar[int]
    build: _image_build_pb2.ImageBuild
    lines: _containers.RepeatedCompositeFieldContainer[_image_build_pb2.ImageBuildLogLine]
    next_line: int
    def __init__(self, build: _Optional[_Union[_image_build_pb2.ImageBuild, _Mapping]] = ..., lines: _Optional[_Iterable[_Union[_image_build_pb2.ImageBuildLogLine, _Mapping]]] = ..., next_line: _Optional[int] = ...) -> None: ...

class CancelImageBuildRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelImageBuildResponse(_message.Message):
    __slots__ = ("build",)
    BUILD_FIELD_NUMBER: _ClassVar[int]
    build: _image_build_pb2.ImageBuild
    def __init__(self, build: _Optional[_Union[_image_build_pb2.ImageBuild, _Mapping]] = ...) -> None: ...

class DeleteImageBuildRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteImageBuildResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PruneImagesRequest(_message.Message):
    __slots__ = ("max_age_seconds", "build_cache")
    MAX_AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BUILD_CACHE_FIELD_NUMBER: _ClassVar[int]
    max_age_seconds: int
    build_cache: bool
    def __init__(self, max_age_seconds: _Optional[int] = ..., build_cache: _Optional[bool] = ...) -> None: ...

class PruneImagesResponse(_message.Message):
    __slots__ = ("names", "cache_bytes")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    cache_bytes: int
    def __init__(self, names: _Optional[_Iterable[str]] = ..., cache_bytes: _Optional[int] = ...) -> None: ...

class GetImageAttestationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetImageAttestationResponse(_message.Message):
    __slots__ = ("sbom_json", "provenance_json")
    SBOM_JSON_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_JSON_FIELD_NUMBER: _ClassVar[int]
    sbom_json: str
    provenance_json: str
    def __init__(self, sbom_json: _Optional[str] = ..., provenance_json: _Optional[str] = ...) -> None: ...

class GetImageBuilderRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetImageBuilderResponse(_message.Message):
    __slots__ = ("environments", "version", "sdk_digest", "engine")
    ENVIRONMENTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SDK_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    environments: bool
    version: str
    sdk_digest: str
    engine: str
    def __init__(self, environments: _Optional[bool] = ..., version: _Optional[str] = ..., sdk_digest: _Optional[str] = ..., engine: _Optional[str] = ...) -> None: ...
