"""Which project and domain hold here."""

from __future__ import annotations

from flyte._context import ctx


def current_project() -> str | None:
    """Project of the running task, else of `flyte.init`; None when neither is there.

    Example:
        ```python
        project = flyte.current_project()
        ```
    """
    return _current("project")


def current_domain() -> str | None:
    """Domain of the running task, else of `flyte.init`; None when neither is there.

    Example:
        ```python
        domain = flyte.current_domain()
        ```
    """
    return _current("domain")


def _current(name: str) -> str | None:
    context = ctx()
    if context is not None:
        return getattr(context.action, name) or None
    from flyte._initialize import current_session

    session = current_session()
    return getattr(session, name) if session is not None else None
