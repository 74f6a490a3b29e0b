from hangar.app.v1 import app_pb2 as _app_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeployAppRequest(_message.Message):
    __slots__ = ("id", "definition_json", "request_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_JSON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    id: _app_pb2.AppIdentifier
    definition_json: str
    request_id: str
    def __init__(self, id: _Optional[_Union[_app_pb2.AppIdentifier, _Mapping]] = ..., definition_json: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeployAppResponse(_message.Message):
    __slots__ = ("app", "revised")
    APP_FIELD_NUMBER: _ClassVar[int]
    REVISED_FIELD_NUMBER: _ClassVar[int]
    app: _app_pb2.App
    revised: bool
    def __init__(self, app: _Optional[_Union[_app_pb2.App, _Mapping]] = ..., revised: _Optional[bool] = ...) -> None: ...

class GetAppRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: _app_pb2.AppIdentifier
    def __init__(self, id: _Optional[_Union[_app_pb2.AppIdentifier, _Mapping]] = ...) -> None: ...

class GetAppResponse(_message.Message):
    __slots__ = ("app",)
    APP_FIELD_NUMBER: _ClassVar[int]
    app: _app_pb2.App
    def __init__(self, app: _Optional[_Union[_app_pb2.App, _Mapping]] = ...) -> None: ...

class ListAppsRequest(_message.Message):
    __slots__ = ("project", "domain", "page_size", "page_token")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    page_size: int
    page_token: str
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAppsResponse(_message.Message):
    __slots__ = ("apps", "next_page_token")
    APPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    apps: _containers.RepeatedCompositeFieldContainer[_app_pb2.App]
    next_page_token: str
    def __init__(self, apps: _Optional[_Iterable[_Union[_app_pb2.App, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchAppsRequest(_message.Message):
    __slots__ = ("project", "domain", "after")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    project: str
    domain: str
    after: int
    def __init__(self, project: _Optional[str] = ..., domain: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class WatchAppsResponse(_message.Message):
    __slots__ = ("apps", "deleted", "cursor")
    APPS_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    apps: _containers.RepeatedCompositeFieldContainer[_app_pb2.App]
    deleted: _containers.RepeatedCompositeFieldContainer[_app_pb2.AppIdentifier]
    cursor: int
    def __init__(self, apps: _Optional[_Iterable[_Union[_app_pb2.App, _Mapping]]] = ..., deleted: _Optional[_Iterable[_Union[_app_pb2.AppIdentifier, _Mapping]]] = ..., cursor: _Optional[int] = ...) -> None: ...

class ActivateAppRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: _app_pb2.AppIdentifier
    def __init__(self, id: _Optional[_Union[_app_pb2.AppIdentifier, _Mapping]] = ...) -> None: ...

class ActivateAppResponse(_message.Message):
    __slots__ = ("app",)
    APP_FIELD_NUMBER: _ClassVar[int]
    app: _app_pb2.App
    def __init__(self, app: _Optional[_Union[_app_pb2.App, _Mapping]] = ...) -> None: ...

class DeactivateAppRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: _app_pb2.AppIdentifier
    def __init__(self, id: _Optional[_Union[_app_pb2.AppIdentifier, _Mapping]] = ...) -> None: ...

class DeactivateAppResponse(_message.Message):
    __slots__ = ("app",)
    APP_FIELD_NUMBER: _ClassVar[int]
    app: _app_pb2.App
    def __init__(self, app: _Optional[_Union[_app_pb2.App, _Mapping]] = ...) -> None: ...

class DeleteAppRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: _app_pb2.AppIdentifier
    def __init__(self, id: _Optional[_Union[_app_pb2.AppIdentifier, _Mapping]] = ...) -> None: ...

class DeleteAppResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
