"""Frames survive being cut anywhere, and what is no frame is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyte._runtime.frames import MAX_FRAME_BYTES, Decoder, FrameError, encode

try:  # not within an example: what an import changes or raises, it does only in the first one
    from services.executor import frames as executor
except ModuleNotFoundError:
    executor = None  # type: ignore[assignment]  # the SDK is tested alone

HEADERS = st.dictionaries(st.text(), st.integers() | st.text() | st.none()).map(lambda d: {**d, "type": "t"})


@given(
    st.lists(st.tuples(HEADERS, st.binary(max_size=300)), max_size=5), st.integers(min_value=1, max_value=64)
)
def test_frames_survive_any_cut(frames: list, size: int) -> None:
    """What is fed in pieces of any size comes out as it was."""
    data = b"".join(encode(header, body) for header, body in frames)
    decoder = Decoder()
    received = [
        frame for start in range(0, len(data), size) for frame in decoder.feed(data[start : start + size])
    ]
    assert received == frames


def test_the_layout_is_that_of_the_protocol() -> None:
    """A frame is two big-endian lengths, the header as JSON and the body."""
    assert (
        encode({"type": "ack", "lease": 7}, b"xyz")
        == struct.pack(">II", 24, 3) + b'{"type":"ack","lease":7}xyz'
    )


@pytest.mark.parametrize("data", [b"[]", b'"x"', b"{}", b'{"type":1}', b"{", b"\xff\xff"])
def test_headers_that_are_none_are_refused(data: bytes) -> None:
    """A header must be a JSON object with a type."""
    with pytest.raises(FrameError):
        Decoder().feed(struct.pack(">II", len(data), 0) + data)


def test_frames_that_are_too_long_are_refused() -> None:
    """No frame above the limit is made or taken, and a decoder says so before the bytes are there."""
    with pytest.raises(FrameError):
        encode({"type": "x"}, bytes(MAX_FRAME_BYTES))
    with pytest.raises(FrameError):
        Decoder().feed(struct.pack(">II", 10, MAX_FRAME_BYTES))


@pytest.mark.skipif(executor is None, reason="the services are not installed")
@given(HEADERS, st.binary(max_size=300))
def test_both_codecs_speak_the_same_format(header: dict, body: bytes) -> None:
    """What the executor writes the worker reads, and the other way round, to the byte."""
    assert encode(header, body) == executor.encode(header, body)
    assert [tuple(frame) for frame in executor.FrameDecoder().feed(encode(header, body))] == [(header, body)]
