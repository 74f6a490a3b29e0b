"""Words about a task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Documentation:
    """What a task does, in words of its author's.

    Attributes:
        description: The words. Without `docs=` they are the first paragraph of the docstring.

    Example:
        ```python
        @env.task(docs=flyte.Documentation(description="Says hello"))
        def greet(name: str) -> str: ...
        ```
    """

    description: str = ""
