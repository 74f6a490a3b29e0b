"""Calls of deployed tasks: from tasks, and as runs."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from flyte._context import current_controller
from flyte._definition import Definition, task_settings
from flyte.errors import RemoteTaskUsageError

if TYPE_CHECKING:
    from flyte._context import Controller
    from flyte._initialize import Session

T = TypeVar("T", bound="DeployedCall")


class DeployedCall:
    """What can be called of a deployed task, by keywords only.

    Inside a task a call is a coroutine: ``await handle(x=1)``, in a sync task ``asyncio.run(handle(x=1))``.
    Elsewhere it is started with ``flyte.run(handle, x=1)``.
    """

    _settings: Mapping[str, Any] = {}
    _made: tuple[dict[str, Any], Definition] | None = None

    @property
    def name(self) -> str:
        """Fully qualified name: environment, a dot, function."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Calls the task inside a running task: a new action of the same run.

        Args:
            *args: Refused: name the inputs.
            **kwargs: Its inputs. Structures may be dicts.

        Raises:
            flyte.errors.RemoteTaskUsageError: By position, outside of a task, or in local mode.
            flyte.errors.RemoteTaskNotFoundError: When awaited: there is no such task.
            flyte.errors.BaseRuntimeError: When awaited: the action failed.
        """
        self.check_arguments(args)
        controller = current_controller()
        if controller is None:
            raise RemoteTaskUsageError(
                f"the deployed task {self.name} was called outside of a task: start it with flyte.run(handle, …)"
            )
        return self._call(controller, kwargs)

    async def aio(self, *args: Any, **kwargs: Any) -> Any:
        """The same as a call."""
        return await self(*args, **kwargs)

    def check_arguments(self, args: tuple[Any, ...]) -> None:
        """Refuses inputs by position: nobody here knows their order.

        Raises:
            flyte.errors.RemoteTaskUsageError: There are some.
        """
        if args:
            raise RemoteTaskUsageError(
                f"inputs of the deployed task {self.name} are passed by name, such as {self.name.rpartition('.')[2]}"
                f"(x=…), not by position"
            )

    def override(self: T, **settings: Any) -> T:
        """The same task with other settings; the original is unchanged.

        Args:
            **settings: `short_name`, `resources`, `retries`, `timeout`, `env_vars`, `secrets`, `max_inline_io_bytes`,
                `cache`, `reusable`, `queue`, `interruptible`, `links`, `entrypoint`, as in
                `flyte.TaskTemplate.override`.

        Raises:
            TypeError, ValueError: A setting is unknown or wrong.
            flyte.errors.RemoteTaskUsageError: `cache="auto"`, which needs the function.
        """
        clone = object.__new__(type(self))
        clone.__dict__.update(self.__dict__)
        clone._made = None
        clone._settings = {**self._settings, **task_settings(f"{self.name}.override", **settings)}
        return clone

    async def _call(self, controller: Controller, kwargs: dict[str, Any]) -> Any:
        spec = await self._find(controller)
        if (
            self._made is None or self._made[0] is not spec
        ):  # its interface is read once, however often it is called
            self._made = spec, Definition(spec).with_settings(self._settings)
        found = self._made[1]
        return await controller.submit(found, (), kwargs)  # type: ignore[arg-type]  # as good as a task

    async def definition(self, session: Session) -> Definition:
        """The task with its settings, asked from the backend. Runs on the SDK's own loop.

        Raises:
            flyte.errors.RemoteTaskNotFoundError: There is none.
        """
        return Definition(await self._fetch(session)).with_settings(self._settings)

    async def _find(self, controller: Controller) -> dict[str, Any]:
        """The task's definition, as a running task finds it."""
        raise NotImplementedError

    async def _fetch(self, session: Session) -> dict[str, Any]:
        """The task's definition, as the backend has it."""
        raise NotImplementedError
