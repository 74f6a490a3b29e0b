"""What one attempt may read and write of the blob store. Pure.

It may read what documents that it was given refer to, and what is below its own prefix; it may write below `data/`
of its own prefix, and its report. What it hands on, in inputs of children or in outputs, may refer to what it can
read and to nothing else: otherwise a task could name any object there and have it opened for the next one. A key
that ends with a slash stands for everything below it: a directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CODE = "NotInReach"
_MARK = b'"ref"'
_NOTHING: frozenset[str] = frozenset()


class NotInReachError(Exception):
    """An attempt asked for an object that is none of its business.

    Attributes:
        message: For people; names the key.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(slots=True)
class Reach:
    """The reach of one attempt.

    Attributes:
        prefix: Prefix of the attempt's keys, without a slash at the end.
        granted: Keys that documents given to it refer to; those with a slash at the end grant what is below.
    """

    prefix: str
    granted: set[str] = field(default_factory=set)

    @property
    def checkpoint_key(self) -> str:
        """Where the attempt's checkpoint is."""
        return f"{self.prefix}/checkpoint"

    @property
    def report_key(self) -> str:
        """Where the attempt's report is."""
        return f"{self.prefix}/report.html"

    def can_read(self, key: str) -> bool:
        """Says whether the attempt may read an object, or for a key with a slash at the end all that is below."""
        if key in self.granted or key.startswith(f"{self.prefix}/") or any(map(self._grants, _above(key))):
            return True
        return self._is_earlier_checkpoint(key)

    def _is_earlier_checkpoint(self, key: str) -> bool:
        """Says whether a key is that of the checkpoint of an earlier attempt of the same action."""
        action, _, attempt = self.prefix.rpartition("/")
        earlier, _, name = key.removeprefix(f"{action}/").partition("/")
        is_number = earlier.isascii() and earlier.isdecimal() and attempt.isdecimal()
        return (
            key.startswith(f"{action}/")
            and is_number
            and int(earlier) < int(attempt)
            and name == "checkpoint"
        )

    def _grants(self, prefix: str) -> bool:
        return prefix in self.granted

    def check_get(self, key: str) -> None:
        """Accepts a key that the attempt may read.

        Raises:
            NotInReachError: It may not.
        """
        if not self.can_read(key):
            raise NotInReachError(
                f"object {key!r} is not in reach of this task: it can read what its inputs and the results of its "
                "children refer to, and what it wrote itself. Pass the file or directory to it as an input"
            )

    def check_put(self, key: str) -> None:
        """Accepts a key that the attempt may write.

        Raises:
            NotInReachError: It may not.
        """
        if key not in (self.report_key, self.checkpoint_key) and not key.startswith(f"{self.prefix}/data/"):
            raise NotInReachError(
                f"object {key!r} is not in reach of this task: it can write below {self.prefix}/data/"
            )

    def check_document(self, document: bytes, what: str) -> None:
        """Accepts a document that the attempt hands on.

        Args:
            document: Canonical JSON.
            what: What it is, for the message.

        Raises:
            NotInReachError: It refers to an object that the attempt cannot read.
        """
        for key in references(document):
            if not self.can_read(key):
                raise NotInReachError(
                    f"{what} refer to object {key!r}, which is not in reach of this task: it can hand on what its "
                    "inputs and the results of its children refer to, and what it wrote itself"
                )


def _above(key: str) -> Iterator[str]:
    """Yields the prefixes of a key that end with a slash, without the key itself."""
    end = key.find("/")
    while 0 <= end < len(key) - 1:
        yield key[: end + 1]
        end = key.find("/", end + 1)


def references(document: bytes) -> frozenset[str]:
    """Returns the keys of all references in a document, wherever they stand. What is not JSON has none.

    A reference is an object `{"$type": "ref", "key": "…", …}`. Documents without one cost a search of their bytes.
    """
    if _MARK not in document:
        return _NOTHING
    try:
        content = json.loads(document)
    except (ValueError, RecursionError):
        return _NOTHING
    return frozenset(_keys(content))


def _keys(content: Any) -> Iterator[str]:
    pending = [content]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            if item.get("$type") == "ref" and isinstance(item.get("key"), str):
                yield item["key"]
            pending.extend(item.values())
