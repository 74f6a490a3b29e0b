from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UploadKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UPLOAD_KIND_UNSPECIFIED: _ClassVar[UploadKind]
    UPLOAD_KIND_CODE_BUNDLE: _ClassVar[UploadKind]
    UPLOAD_KIND_INPUTS: _ClassVar[UploadKind]
    UPLOAD_KIND_DATA: _ClassVar[UploadKind]
    UPLOAD_KIND_BUILD_CONTEXT: _ClassVar[UploadKind]
UPLOAD_KIND_UNSPECIFIED: UploadKind
UPLOAD_KIND_CODE_BUNDLE: UploadKind
UPLOAD_KIND_INPUTS: UploadKind
UPLOAD_KIND_DATA: UploadKind
UPLOAD_KIND_BUILD_CONTEXT: UploadKind

class UploadRequest(_message.Message):
    __slots__ = ("kind", "sha256", "size", "name", "collection")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    kind: UploadKind
    sha256: str
    size: int
    name: str
    collection: str
    def __init__(self, kind: _Optional[_Union[UploadKind, str]] = ..., sha256: _Optional[str] = ..., size: _Optional[int] = ..., name: _Optional[str] = ..., collection: _Optional[str] = ...) -> None: ...

class CreateUploadsRequest(_message.Message):
    __slots__ = ("project", "domain", "uploads")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    UPLOADS_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    uploads: _containers.RepeatedCompositeFieldContainer[UploadRequest]
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., uploads: _Optional[_Iterable[_Union[UploadRequest, _Mapping]]] = ...) -> None: ...

class Upload(_message.Message):
    __slots__ = ("key", "exists", "url")
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    key: str
    exists: bool
    url: str
    def __init__(self, key: _Optional[str] = ..., exists: _Optional[bool] = ..., url: _Optional[str] = ...) -> None: ...

class CreateUploadsResponse(_message.Message):
    __slots__ = ("uploads",)
    UPLOADS_FIELD_NUMBER: _ClassVar[int]
    uploads: _containers.RepeatedCompositeFieldContainer[Upload]
    def __init__(self, uploads: _Optional[_Iterable[_Union[Upload, _Mapping]]] = ...) -> None: ...

class CreateDownloadsRequest(_message.Message):
    __slots__ = ("project", "domain", "keys")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ...) -> None: ...

class Download(_message.Message):
    __slots__ = ("key", "exists", "url", "size")
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    key: str
    exists: bool
    url: str
    size: int
    def __init__(self, key: _Optional[str] = ..., exists: _Optional[bool] = ..., url: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class CreateDownloadsResponse(_message.Message):
    __slots__ = ("downloads",)
    DOWNLOADS_FIELD_NUMBER: _ClassVar[int]
    downloads: _containers.RepeatedCompositeFieldContainer[Download]
    def __init__(self, downloads: _Optional[_Iterable[_Union[Download, _Mapping]]] = ...) -> None: ...

class ListObjectsRequest(_message.Message):
    __slots__ = ("project", "domain", "prefix", "page_size", "page_token")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    prefix: str
    page_size: int
    page_token: str
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListedObject(_message.Message):
    __slots__ = ("key", "size")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    key: str
    size: int
    def __init__(self, key: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class ListObjectsResponse(_message.Message):
    __slots__ = ("objects", "next_page_token")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[ListedObject]
    next_page_token: str
    def __init__(self, objects: _Optional[_Iterable[_Union[ListedObject, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
