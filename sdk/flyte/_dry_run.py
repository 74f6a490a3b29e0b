"""What `dry_run=True` gives: what a run would be made of, without the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DryRun:
    """What a run would be made of. Nothing was sent anywhere.

    Attributes:
        task_spec: The task's definition, as the backend would store it.
        inputs: Canonical JSON of the inputs.
        context: What would be set for all its actions.
        files: Names in the code bundle.
        bundle_digest: Identity of the code bundle.
        bundle_path: Where the code bundle was written to, None unless `copy_bundle_to` was given.

    Example:
        ```python
        made = flyte.with_runcontext(dry_run=True).run(greet, name="World")
        print(made.files)
        ```
    """

    task_spec: Mapping[str, Any]
    inputs: str
    context: Mapping[str, Any]
    files: tuple[str, ...]
    bundle_digest: str
    bundle_path: Path | None = None
