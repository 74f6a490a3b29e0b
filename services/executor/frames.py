"""Frames of the worker protocol: a JSON header and a raw body, both with their length in front.

`docs/architecture.md` says which frames exist; this is how they are written and read.
"""

import json
import struct
from typing import Any, NamedTuple

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Longest frame, its eight bytes of lengths included."""

MAX_DOCUMENT_BYTES = MAX_FRAME_BYTES - 1024 * 1024
"""Longest document that fits into a frame beside any header."""

MAX_HELLO_BYTES = 4 * 1024 * 1024
"""Longest first frame of a connection."""

MAX_REQUEST_BYTES = 64 * 1024
"""Longest frame of a connection that carries no documents."""

_LENGTHS = struct.Struct(">II")
_encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_decode_json = json.JSONDecoder().decode


class FrameError(ValueError):
    """The peer sent bytes that are not a frame; the connection is of no further use."""


class Frame(NamedTuple):
    """One message of the worker protocol."""

    header: dict[str, Any]
    """What it is: always has a `type`."""
    body: bytes
    """What the header describes: documents, one after the other."""


def encode(header: dict[str, Any], body: bytes = b"") -> bytes:
    """Return the bytes of a frame.

    Raises:
        FrameError: When the frame would be longer than 64 MiB.
    """
    return encode_header(_encode_json(header).encode(), body)


def encode_header(header: bytes, body: bytes = b"") -> bytes:
    """Return the bytes of a frame whose header is JSON text already.

    Raises:
        FrameError: When the frame would be longer than 64 MiB.
    """
    _check(len(header), len(body))
    return _LENGTHS.pack(len(header), len(body)) + header + body


def _check(header_length: int, body_length: int, limit: int = MAX_FRAME_BYTES) -> None:
    total = _LENGTHS.size + header_length + body_length
    if total > limit:
        raise FrameError(f"a frame of {total} bytes is longer than the {limit} bytes that are allowed")


class FrameDecoder:
    """Cuts a stream of bytes, arriving in pieces of any size, into frames.

    Args:
        first_max_bytes: Longest first frame that is accepted.
    """

    def __init__(self, first_max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._limit = first_max_bytes
        self._next_limit = MAX_FRAME_BYTES
        self._pieces: list[bytes] = []
        self._missing = 0

    def restrict(self, max_bytes: int) -> None:
        """Accepts shorter frames only, from here on.

        Raises:
            FrameError: A longer one is arriving.
        """
        if self._missing > max_bytes:
            raise FrameError(f"a frame is longer than the {max_bytes} bytes that are allowed")
        self._limit = self._next_limit = max_bytes

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the stream and return the frames that are complete now.

        Raises:
            FrameError: When the bytes are no frame: too long, not JSON, or a header without a type.
        """
        if self._missing > len(data):
            # A long frame arrives in many pieces: they are joined once, when the last one is here.
            self._pieces.append(data)
            self._missing -= len(data)
            return []
        if self._pieces:
            self._pieces.append(data)
            data = b"".join(self._pieces)
            self._pieces.clear()
        frames: list[Frame] = []
        position, end = 0, len(data)
        needed = _LENGTHS.size
        while end - position >= _LENGTHS.size:
            header_length, body_length = _LENGTHS.unpack_from(data, position)
            _check(header_length, body_length, self._limit)
            needed = _LENGTHS.size + header_length + body_length
            if end - position < needed:
                break
            body_at = position + _LENGTHS.size + header_length
            header = _parse(data[position + _LENGTHS.size : body_at])
            position += needed
            self._limit = self._next_limit
            frames.append(Frame(header, data[body_at:position]))
            needed = _LENGTHS.size
        rest = data[position:]
        self._missing = needed - len(rest)
        if rest:
            self._pieces.append(rest)
        else:
            self._missing = 0
        return frames


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = _decode_json(text.decode())
    except ValueError as error:
        raise FrameError(f"the header of a frame is not JSON: {error}") from error
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise FrameError("the header of a frame has to be an object with a text field `type`")
    return header
