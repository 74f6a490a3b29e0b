"""The identity of the code that runs: which bundle it came in, and how it is imported from there.

The client sets it for a run, the runtime for a worker, so that the children of a remote parent carry the
bundle that the parent itself came in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CodeIdentity:
    """Where the code of a task is.

    Attributes:
        bundle_digest: Hex SHA-256 of the code bundle, empty when the code is not bundled.
        python_path: Directories inside the bundle that go on `sys.path`, relative to its root.
        version: Version of the code as people see it.
        main_module: Importable name of what runs as `__main__` here, None when that cannot be imported.
        images: Definitions of images by the name of their environment, made where the run was started: a worker
            has neither the author's files nor his configuration.
        pickle: File in the bundle with the tasks that cannot be imported, such as those of a notebook; empty for none.
        pickled_modules: Modules whose functions are in it.
    """

    bundle_digest: str = ""
    python_path: tuple[str, ...] = (".",)
    version: str = ""
    main_module: str | None = None
    images: Mapping[str, str] = field(default_factory=dict)
    pickle: str = ""
    pickled_modules: frozenset[str] = frozenset()


_process = CodeIdentity()
_current: ContextVar[CodeIdentity | None] = ContextVar("flyte_code", default=None)


def current() -> CodeIdentity:
    """The identity that holds here: of `using`, else the process's."""
    return _current.get() or _process


def set_process(identity: CodeIdentity) -> None:
    """Set the identity of the whole process. A worker calls it once, before user code is imported."""
    global _process  # noqa: PLW0603 - one identity per process is its purpose
    _process = identity


@contextmanager
def using(identity: CodeIdentity) -> Iterator[None]:
    """Specs made inside carry this identity. The client uses it around the preparation of a run."""
    token = _current.set(identity)
    try:
        yield
    finally:
        _current.reset(token)
