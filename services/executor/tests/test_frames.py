"""The frame codec."""

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.executor import frames
from services.executor.frames import FrameDecoder, FrameError

HEADERS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=10), max_size=4).map(
    lambda fields: {**fields, "type": "t"}
)
FRAMES = st.lists(st.tuples(HEADERS, st.binary(max_size=200)), max_size=6)


@settings(deadline=None)
@given(FRAMES, st.data())
def test_any_split_of_the_stream_gives_the_same_frames(sent, data):
    """However the bytes are cut, the frames come out whole and in order, and nothing is left."""
    stream = b"".join(frames.encode(header, body) for header, body in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = FrameDecoder()
    received = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += decoder.feed(stream[begin:end])
    assert [(frame.header, frame.body) for frame in received] == sent
    assert decoder.feed(frames.encode({"type": "last"}))[0].header == {"type": "last"}


def test_bytes_one_by_one_are_frames_too():
    """The lengths themselves may be cut."""
    decoder = FrameDecoder()
    stream = frames.encode({"type": "a"}, b"xyz") + frames.encode({"type": "b"})
    received = [frame for byte in stream for frame in decoder.feed(bytes([byte]))]
    assert [(frame.header["type"], frame.body) for frame in received] == [("a", b"xyz"), ("b", b"")]


def test_the_format_is_the_documented_one():
    """Two big-endian lengths, the header as UTF-8 JSON, the body."""
    header = '{"type":"ä"}'.encode()
    assert (
        frames.encode({"type": "ä"}, b"\x00\x01") == struct.pack(">II", len(header), 2) + header + b"\x00\x01"
    )


def test_a_frame_that_is_too_long_is_refused_on_both_sides():
    """Nobody has to hold 64 MiB and more for one frame."""
    with pytest.raises(FrameError, match="longer than"):
        frames.encode({"type": "t"}, bytes(frames.MAX_FRAME_BYTES))
    with pytest.raises(FrameError, match="longer than"):
        FrameDecoder().feed(struct.pack(">II", 10, frames.MAX_FRAME_BYTES))


@pytest.mark.parametrize("header", [b"not json", b"[]", b'{"kind":"x"}', b'{"type":1}', b"\xff"])
def test_a_header_that_is_none_is_refused(header):
    """The header is a JSON object with a text field `type`."""
    with pytest.raises(FrameError):
        FrameDecoder().feed(struct.pack(">II", len(header), 0) + header)


def test_json_of_other_writers_is_read():
    """White space and escapes are fine."""
    header = json.dumps({"type": "ü", "n": [1, {"a": None}]}, indent=1).encode()
    [frame] = FrameDecoder().feed(struct.pack(">II", len(header), 0) + header)
    assert frame.header == {"type": "ü", "n": [1, {"a": None}]}
