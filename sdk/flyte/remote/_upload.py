"""Files and directories of this machine, sent to the backend before anything runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flyte._client._twins import twin
from flyte._initialize import require_session
from flyte.io import Dir, File


@twin
async def upload_file(path: str | Path) -> tuple[str, str]:
    """Sends a file. Equal content is sent once.

    Args:
        path: The file.

    Returns:
        MD5 of its content in hexadecimal digits, and the URI that `flyte.io.File.from_existing_remote` takes.

    Raises:
        ValueError: There is no such file.
        flyte.errors.BaseRuntimeError: It cannot be stored.

    Example:
        ```python
        digest, uri = flyte.remote.upload_file("model.bin")
        run = flyte.run(score, model=flyte.io.File.from_existing_remote(uri, file_cache_key=digest))
        ```
    """
    require_session()
    digest = hashlib.md5(usedforsecurity=False)
    file: File[object] = await File.from_local(path, hash_method=digest)
    return digest.hexdigest(), file.path


@twin
async def upload_dir(path: str | Path) -> str:
    """Sends a directory with everything below it.

    Args:
        path: The directory.

    Returns:
        The URI that `flyte.io.Dir.from_existing_remote` takes.

    Raises:
        ValueError: There is no such directory, or no file in it.
        flyte.errors.BaseRuntimeError: It cannot be stored.

    Example:
        ```python
        uri = flyte.remote.upload_dir("images")
        ```
    """
    require_session()
    directory: Dir[object] = await Dir.from_local(path)
    if not directory.path:
        raise ValueError(f"{path} has no files, so nothing can be sent")
    return directory.path
