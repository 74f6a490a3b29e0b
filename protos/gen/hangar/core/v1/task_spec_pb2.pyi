from hangar.core.v1 import phase_pb2 as _phase_pb2
from hangar.core.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CacheScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_SCOPE_UNSPECIFIED: _ClassVar[CacheScope]
    CACHE_SCOPE_PROJECT_DOMAIN: _ClassVar[CacheScope]
    CACHE_SCOPE_GLOBAL: _ClassVar[CacheScope]

class CacheStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_STATUS_UNSPECIFIED: _ClassVar[CacheStatus]
    CACHE_STATUS_MISS: _ClassVar[CacheStatus]
    CACHE_STATUS_HIT: _ClassVar[CacheStatus]
    CACHE_STATUS_OVERWRITTEN: _ClassVar[CacheStatus]
    CACHE_STATUS_RECOVERED: _ClassVar[CacheStatus]
CACHE_SCOPE_UNSPECIFIED: CacheScope
CACHE_SCOPE_PROJECT_DOMAIN: CacheScope
CACHE_SCOPE_GLOBAL: CacheScope
CACHE_STATUS_UNSPECIFIED: CacheStatus
CACHE_STATUS_MISS: CacheStatus
CACHE_STATUS_HIT: CacheStatus
CACHE_STATUS_OVERWRITTEN: CacheStatus
CACHE_STATUS_RECOVERED: CacheStatus

class TaskSpec(_message.Message):
    __slots__ = ("name", "short_name", "environment", "interface", "resources", "image", "code", "retry", "timeout", "reuse", "env_vars", "description", "is_async", "max_inline_io_bytes", "cache", "report", "queue", "interruptible", "links", "entrypoint", "container")
    class EnvVarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHORT_NAME_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    REUSE_FIELD_NUMBER: _ClassVar[int]
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    IS_ASYNC_FIELD_NUMBER: _ClassVar[int]
    MAX_INLINE_IO_BYTES_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTIBLE_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    name: str
    short_name: str
    environment: str
    interface: Interface
    resources: _resources_pb2.Resources
    image: Image
    code: Code
    retry: RetryPolicy
    timeout: Timeout
    reuse: ReusePolicy
    env_vars: _containers.ScalarMap[str, str]
    description: str
    is_async: bool
    max_inline_io_bytes: int
    cache: CachePolicy
    report: bool
    queue: str
    interruptible: bool
    links: _containers.RepeatedCompositeFieldContainer[Link]
    entrypoint: bool
    container: Container
    def __init__(self, name: _Optional[str] = ..., short_name: _Optional[str] = ..., environment: _Optional[str] = ..., interface: _Optional[_Union[Interface, _Mapping]] = ..., resources: _Optional[_Union[_resources_pb2.Resources, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., code: _Optional[_Union[Code, _Mapping]] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., timeout: _Optional[_Union[Timeout, _Mapping]] = ..., reuse: _Optional[_Union[ReusePolicy, _Mapping]] = ..., env_vars: _Optional[_Mapping[str, str]] = ..., description: _Optional[str] = ..., is_async: _Optional[bool] = ..., max_inline_io_bytes: _Optional[int] = ..., cache: _Optional[_Union[CachePolicy, _Mapping]] = ..., report: _Optional[bool] = ..., queue: _Optional[str] = ..., interruptible: _Optional[bool] = ..., links: _Optional[_Iterable[_Union[Link, _Mapping]]] = ..., entrypoint: _Optional[bool] = ..., container: _Optional[_Union[Container, _Mapping]] = ...) -> None: ...

class Link(_message.Message):
    __slots__ = ("name", "url")
    NAME_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    name: str
    url: str
    def __init__(self, name: _Optional[str] = ..., url: _Optional[str] = ...) -> None: ...

class Container(_message.Message):
    __slots__ = ("image", "command", "arguments", "input_directory", "output_directory", "output_files")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    INPUT_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FILES_FIELD_NUMBER: _ClassVar[int]
    image: str
    command: _containers.RepeatedScalarFieldContainer[str]
    arguments: _containers.RepeatedScalarFieldContainer[str]
    input_directory: str
    output_directory: str
    output_files: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, image: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., arguments: _Optional[_Iterable[str]] = ..., input_directory: _Optional[str] = ..., output_directory: _Optional[str] = ..., output_files: _Optional[_Iterable[str]] = ...) -> None: ...

class CachePolicy(_message.Message):
    __slots__ = ("version", "serialize", "ignored_inputs")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SERIALIZE_FIELD_NUMBER: _ClassVar[int]
    IGNORED_INPUTS_FIELD_NUMBER: _ClassVar[int]
    version: str
    serialize: bool
    ignored_inputs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., serialize: _Optional[bool] = ..., ignored_inputs: _Optional[_Iterable[str]] = ...) -> None: ...

class Interface(_message.Message):
    __slots__ = ("inputs", "outputs")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[Variable]
    outputs: _containers.RepeatedCompositeFieldContainer[Variable]
    def __init__(self, inputs: _Optional[_Iterable[_Union[Variable, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[Variable, _Mapping]]] = ...) -> None: ...

class Variable(_message.Message):
    __slots__ = ("name", "schema_json", "type_name", "required", "default_json", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    TYPE_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_JSON_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    schema_json: str
    type_name: str
    required: bool
    default_json: str
    description: str
    def __init__(self, name: _Optional[str] = ..., schema_json: _Optional[str] = ..., type_name: _Optional[str] = ..., required: _Optional[bool] = ..., default_json: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("digest", "definition_json", "platforms")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_JSON_FIELD_NUMBER: _ClassVar[int]
    PLATFORMS_FIELD_NUMBER: _ClassVar[int]
    digest: str
    definition_json: str
    platforms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, digest: _Optional[str] = ..., definition_json: _Optional[str] = ..., platforms: _Optional[_Iterable[str]] = ...) -> None: ...

class Code(_message.Message):
    __slots__ = ("bundle_digest", "module", "attribute", "version", "python_path", "pickle")
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PYTHON_PATH_FIELD_NUMBER: _ClassVar[int]
    PICKLE_FIELD_NUMBER: _ClassVar[int]
    bundle_digest: str
    module: str
    attribute: str
    version: str
    python_path: _containers.RepeatedScalarFieldContainer[str]
    pickle: str
    def __init__(self, bundle_digest: _Optional[str] = ..., module: _Optional[str] = ..., attribute: _Optional[str] = ..., version: _Optional[str] = ..., python_path: _Optional[_Iterable[str]] = ..., pickle: _Optional[str] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("count", "backoff_base_millis", "backoff_factor", "backoff_cap_millis", "backoff_jitter")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_BASE_MILLIS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FACTOR_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_CAP_MILLIS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_JITTER_FIELD_NUMBER: _ClassVar[int]
    count: int
    backoff_base_millis: int
    backoff_factor: float
    backoff_cap_millis: int
    backoff_jitter: float
    def __init__(self, count: _Optional[int] = ..., backoff_base_millis: _Optional[int] = ..., backoff_factor: _Optional[float] = ..., backoff_cap_millis: _Optional[int] = ..., backoff_jitter: _Optional[float] = ...) -> None: ...

class Timeout(_message.Message):
    __slots__ = ("max_runtime_millis", "max_queued_millis", "deadline_millis")
    MAX_RUNTIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUED_MILLIS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MILLIS_FIELD_NUMBER: _ClassVar[int]
    max_runtime_millis: int
    max_queued_millis: int
    deadline_millis: int
    def __init__(self, max_runtime_millis: _Optional[int] = ..., max_queued_millis: _Optional[int] = ..., deadline_millis: _Optional[int] = ...) -> None: ...

class ReusePolicy(_message.Message):
    __slots__ = ("min_replicas", "max_replicas", "concurrency", "idle_ttl_millis", "scaledown_ttl_millis")
    MIN_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    MAX_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    IDLE_TTL_MILLIS_FIELD_NUMBER: _ClassVar[int]
    SCALEDOWN_TTL_MILLIS_FIELD_NUMBER: _ClassVar[int]
    min_replicas: int
    max_replicas: int
    concurrency: int
    idle_ttl_millis: int
    scaledown_ttl_millis: int
    def __init__(self, min_replicas: _Optional[int] = ..., max_replicas: _Optional[int] = ..., concurrency: _Optional[int] = ..., idle_ttl_millis: _Optional[int] = ..., scaledown_ttl_millis: _Optional[int] = ...) -> None: ...

class RunContext(_message.Message):
    __slots__ = ("env_vars", "labels", "traceparent", "overwrite_cache", "disable_cache", "cache_scope", "annotations", "custom_context", "queue", "interruptible", "raw_data_path", "notifications", "recovers")
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
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class CustomContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_CACHE_FIELD_NUMBER: _ClassVar[int]
    DISABLE_CACHE_FIELD_NUMBER: _ClassVar[int]
    CACHE_SCOPE_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTIBLE_FIELD_NUMBER: _ClassVar[int]
    RAW_DATA_PATH_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    RECOVERS_FIELD_NUMBER: _ClassVar[int]
    env_vars: _containers.ScalarMap[str, str]
    labels: _containers.ScalarMap[str, str]
    traceparent: str
    overwrite_cache: bool
    disable_cache: bool
    cache_scope: CacheScope
    annotations: _containers.ScalarMap[str, str]
    custom_context: _containers.ScalarMap[str, str]
    queue: str
    interruptible: bool
    raw_data_path: str
    notifications: _containers.RepeatedCompositeFieldContainer[Notification]
    recovers: str
    def __init__(self, env_vars: _Optional[_Mapping[str, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., traceparent: _Optional[str] = ..., overwrite_cache: _Optional[bool] = ..., disable_cache: _Optional[bool] = ..., cache_scope: _Optional[_Union[CacheScope, str]] = ..., annotations: _Optional[_Mapping[str, str]] = ..., custom_context: _Optional[_Mapping[str, str]] = ..., queue: _Optional[str] = ..., interruptible: _Optional[bool] = ..., raw_data_path: _Optional[str] = ..., notifications: _Optional[_Iterable[_Union[Notification, _Mapping]]] = ..., recovers: _Optional[str] = ...) -> None: ...

class Notification(_message.Message):
    __slots__ = ("url", "phases", "headers", "body_json", "run_url")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    URL_FIELD_NUMBER: _ClassVar[int]
    PHASES_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_JSON_FIELD_NUMBER: _ClassVar[int]
    RUN_URL_FIELD_NUMBER: _ClassVar[int]
    url: str
    phases: _containers.RepeatedScalarFieldContainer[_phase_pb2.Phase]
    headers: _containers.ScalarMap[str, str]
    body_json: str
    run_url: str
    def __init__(self, url: _Optional[str] = ..., phases: _Optional[_Iterable[_Union[_phase_pb2.Phase, str]]] = ..., headers: _Optional[_Mapping[str, str]] = ..., body_json: _Optional[str] = ..., run_url: _Optional[str] = ...) -> None: ...
