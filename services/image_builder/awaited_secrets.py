"""Secrets that a restart has lost: builds wait for them until somebody who wants the image gives them again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from services.common.clock import Clock
from services.image_builder.builds import Build
from services.image_builder.failures import BuildError

_SECONDS = 120.0
"""How long a build waits."""


class AwaitedSecrets:
    """What builds wait for.

    Args:
        clock: Tells the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wanted: dict[str, asyncio.Future[Mapping[str, bytes]]] = {}

    def give(self, build: Build, secrets: Mapping[str, bytes]) -> None:
        """Gives a build the secrets that it waits for, if these are they."""
        waiting = self._wanted.get(build.image.name)
        if waiting is not None and not waiting.done() and set(build.missing_secrets) <= secrets.keys():
            waiting.set_result(secrets)

    async def wait(self, build: Build, missing: tuple[str, ...]) -> Mapping[str, bytes]:
        """Waits until somebody gives a build's secrets again: who still waits for the image does.

        Args:
            build: The build.
            missing: Keys of the secrets; none to wait for nothing.

        Raises:
            BuildError: Nobody has, for two minutes.
        """
        if not missing:
            return {}
        name = build.image.name
        waiting = self._wanted[name] = asyncio.get_running_loop().create_future()
        words = " and ".join(repr(key) for key in missing)
        build.say(
            f"waits for the secret {words} of a caller, which is gone with a restart", None, self._clock.now()
        )
        build.miss(missing)
        try:
            async with asyncio.timeout(_SECONDS):
                found: Mapping[str, bytes] = await waiting
        except TimeoutError:
            message = (
                f"the image builder was restarted while it built the image, which needs the secret {words} of its "
                f"caller, and nobody has given it again within {_SECONDS:g} s: run `flyte build` or "
                "`flyte run` again where it is set, or let the operator put it on the image builder's host "
                "(HANGAR_IMAGE_BUILDER_SECRETS)"
            )
            raise BuildError("SecretMissing", message) from None
        finally:
            del self._wanted[name]
            build.miss(())
        return found
