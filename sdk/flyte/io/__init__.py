"""Files, directories and data frames that tasks pass to each other.

A task hands on a reference; the bytes stay in the store until somebody reads them, and are streamed.

Example:
    ```python
    @env.task
    async def shout(file: flyte.io.File) -> flyte.io.File:
        async with file.open("r") as opened:
            text = await opened.read()
        new = flyte.io.File.new_remote("shout.txt")
        async with new.open("w") as opened:
            await opened.write(text.upper())
        return new
    ```
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from flyte.io._dataframe import DataFrame
from flyte.io._dir import Dir
from flyte.io._file import File
from flyte.io._hashing import HashFunction, HashMethod

__all__ = ["DataFrame", "Dir", "File", "HashFunction", "HashMethod", "kwtypes"]


def kwtypes(**types: Any) -> OrderedDict[str, Any]:
    """Columns of a frame with their types, in order.

    Example:
        ```python
        columns = flyte.io.kwtypes(name=str, age=int)  # for Annotated[pd.DataFrame, columns]
        assert list(columns) == ["name", "age"]
        ```
    """
    return OrderedDict(types)
