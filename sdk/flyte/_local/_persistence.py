"""Whether local runs are recorded here, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flyte._local._store import LocalStore


def configured_store(config_file: str | None = None) -> LocalStore | None:
    """The store of this user if `local.persistence` is set, by `flyte.init` or the configuration; else None.

    A local run needs no configuration: one that is wrong, such as the file of another program, is only said to be.

    Args:
        config_file: Configuration file that was asked for; None for what `flyte.init` said, or the first one found.

    Raises:
        InitializationError: The file that was asked for does not exist, or is wrong.
    """
    from flyte._initialize import current_session
    from flyte._logging import logger
    from flyte.config import auto
    from flyte.errors import InitializationError

    session = current_session()
    try:
        config = auto(config_file) if session is None or config_file is not None else session.config
    except InitializationError as error:
        if config_file is not None:
            raise
        logger.warning("local runs are not recorded: %s", error)
        return None
    if not config.local.persistence:
        return None
    from flyte._local._store import default_store

    return default_store()
