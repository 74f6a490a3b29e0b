"""Failures that are answered again for some time, instead of trying in vain what would come out the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from services.common.clock import Clock
from services.image_builder.builds import Build, State
from services.image_builder.failures import BuildError


class EarlierFailures:
    """With which secrets builds have failed, and for how long that counts.

    Args:
        clock: Tells the time.
        seconds: How long a failure is answered again.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._lasts = timedelta(seconds=seconds)
        self._failed_with: dict[str, bytes] = {}
        self._key = os.urandom(16)

    def note(self, name: str, secrets: Mapping[str, bytes]) -> None:
        """The build of an image has failed with these secrets."""
        self._failed_with[name] = self._digest(secrets)

    def forget(self, name: str) -> None:
        """The image is tried again, or is no more."""
        self._failed_with.pop(name, None)

    def counts(self, build: Build, secrets: Mapping[str, bytes]) -> bool:
        """Says whether a build has failed, and would fail again.

        To whoever brings secrets it would not, unless it failed with the same ones: others may do.
        """
        if build.state is not State.FAILED or build.finished_at is None or build.error is None:
            return False
        if secrets and self._failed_with.get(build.image.name) != self._digest(secrets):
            return False
        return not build.error.is_system and self._clock.now() < build.finished_at + self._lasts

    def answer(self, build: Build) -> Build:
        """Returns a failed build that says that it is an earlier one."""
        error, failed_at = build.error, build.finished_at
        assert error is not None  # it failed
        assert failed_at is not None
        again_at: datetime = failed_at + self._lasts
        note = (
            f"This is the answer of {failed_at:%H:%M:%S} UTC: the image is tried again from "
            f"{again_at:%H:%M:%S} UTC on; at once with other secrets, or by force: flyte build --force"
        )
        said = BuildError(error.code, f"{error.message}\n{note}", step=error.step, exit_code=error.exit_code)
        return replace(build, error=said)

    def _digest(self, secrets: Mapping[str, bytes]) -> bytes:
        """Identity of secrets, in this process only."""
        content = repr(sorted(secrets.items())).encode()
        return hashlib.blake2b(content, key=self._key, digest_size=16).digest()
