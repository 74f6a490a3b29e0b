"""The frame codec of the worker protocol.

A frame is `u32 header length | u32 body length | header (JSON, UTF-8) | body (raw bytes)`, big-endian.
"""

from __future__ import annotations

import json
import struct
from typing import Any

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Longest frame, header and body and their lengths included."""

Header = dict[str, Any]
Frame = tuple[Header, bytes]

_LENGTHS = struct.Struct(">II")
_encode_header = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class FrameError(ValueError):
    """Bytes that are not a frame, or a frame that is too long."""


def encode(header: Header, body: bytes = b"") -> bytes:
    """Makes the bytes of a frame.

    Args:
        header: A JSON object with a `type`.
        body: Raw bytes.

    Raises:
        FrameError: The frame is longer than 64 MiB.
    """
    text = _encode_header(header).encode("utf-8", "surrogatepass")
    if _LENGTHS.size + len(text) + len(body) > MAX_FRAME_BYTES:
        raise FrameError(
            f"a {header.get('type')!r} frame of {len(text) + len(body)} bytes exceeds {MAX_FRAME_BYTES} bytes"
        )
    return b"".join((_LENGTHS.pack(len(text), len(body)), text, body))


class Decoder:
    """Turns a stream of bytes, cut anywhere, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Takes bytes and gives the frames that are complete now, in order.

        Raises:
            FrameError: The bytes are not a frame. The stream cannot be used any further.
        """
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start = 0
        while len(buffer) - start >= _LENGTHS.size:
            header_length, body_length = _LENGTHS.unpack_from(buffer, start)
            body_start = start + _LENGTHS.size + header_length
            end = body_start + body_length
            if end - start > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {end - start} bytes exceeds {MAX_FRAME_BYTES} bytes")
            if len(buffer) < end:
                break
            frames.append(
                (_header(buffer[start + _LENGTHS.size : body_start]), bytes(buffer[body_start:end]))
            )
            start = end
        if start:
            del buffer[:start]
        return frames


def _header(data: bytearray) -> Header:
    try:
        header = json.loads(data)
    except ValueError as error:
        raise FrameError(f"the header of a frame is not JSON: {error}") from error
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise FrameError("the header of a frame must be a JSON object with a string 'type'")
    return header
