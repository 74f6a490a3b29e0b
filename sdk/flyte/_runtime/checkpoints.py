"""Checkpoints of attempts: objects that the executor stores, one per attempt, replaced with each save."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, BinaryIO

from flyte import errors
from flyte._runtime.blob_access import LeaseObjects


class LeaseCheckpoints:
    """The checkpoints in reach of one attempt: its own, and those of earlier attempts of the same action."""

    def __init__(self, objects: LeaseObjects) -> None:
        self._objects = objects

    def newest(self) -> BinaryIO | None:
        """The newest one, None when no attempt has saved any."""
        for key in self._objects.checkpoint_keys:
            try:
                return self._objects.open_object(key)
            except errors.RuntimeUserError as error:
                if error.code != "ObjectNotFound":
                    raise
        return None

    def replacement(self) -> AbstractContextManager[Any]:
        """A file that becomes this attempt's checkpoint."""
        return self._objects.create_object(self._objects.checkpoint_keys[0])
