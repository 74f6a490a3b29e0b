"""Values of container tasks as text, by the executor and by local mode alike."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from flyte._types import from_jsonable, json_schema, to_jsonable
from flyte.extras import _container_values as local
from services.executor import container_values as remote


@pytest.mark.parametrize(
    ("kind", "content", "value"),
    [
        (str, "a b\n", "a b"),
        (str, "two\nlines\r\n", "two\nlines"),
        (str, "", ""),
        (int, " 12\n", 12),
        (int, "-3", -3),
        (float, "1e3", 1000.0),
        (float, "inf", float("inf")),
        (bool, "True", True),
        (bool, "0", False),
        (date, "2026-01-02", date(2026, 1, 2)),
        (datetime, "2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5)),
        (datetime, "2026-01-02T03:04:05.5Z", datetime(2026, 1, 2, 3, 4, 5, 500_000, UTC)),
        (timedelta, "90", timedelta(seconds=90)),
        (timedelta, "1.5", timedelta(seconds=1.5)),
        (timedelta, "1:02:03.25", timedelta(hours=1, minutes=2, seconds=3.25)),
        (timedelta, str(timedelta(days=2, seconds=5)), timedelta(days=2, seconds=5)),
        (timedelta, str(timedelta(seconds=-10)), timedelta(seconds=-10)),
        (timedelta, "P1DT2H0.5S", timedelta(days=1, hours=2, seconds=0.5)),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, float], '{"a": 1.5}', {"a": 1.5}),
        (int | None, "null", None),
    ],
)
def test_files_are_read_by_their_types(kind: Any, content: str, value: Any):
    """Both sides read the same value, in the form that documents have."""
    schema = json_schema(kind)
    found = remote.from_bytes(content.encode(), schema)
    assert found == local.from_bytes(content.encode(), schema)
    assert from_jsonable(found, kind) == value
    assert found == to_jsonable(value, kind)


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        (int, b"1.5", "whole number"),
        (int, b"", "whole number"),
        (float, b"x", "number"),
        (bool, b"yes", "true or false"),
        (datetime, b"tomorrow", "YYYY-MM-DDTHH:MM:SS"),
        (timedelta, b"PT", "seconds"),
        (list[int], b"[1", "JSON"),
        (str, b"\xff", "UTF-8"),
    ],
)
def test_what_is_no_value_is_refused_with_what_to_write(kind: Any, content: bytes, words: str):
    """Both sides refuse the same with the same words."""
    said = []
    for side in (remote, local):
        with pytest.raises(ValueError, match=words) as caught:
            side.from_bytes(content, json_schema(kind))
        said.append(str(caught.value))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (str, 'it\'s "me" ü', 'it\'s "me" ü'),
        (int, 7, "7"),
        (float, 0.5, "0.5"),
        (bool, True, "true"),
        (datetime, datetime(2026, 1, 2), "2026-01-02T00:00:00"),
        (list[str], ["a"], '["a"]'),
        (bytes, b"\x00\xff", "AP8="),
    ],
)
def test_inputs_are_text_in_words_and_files(kind: Any, value: Any, text: str):
    """Templates and files hold the same, but for bytes, which are themselves in files; nothing is filled in twice."""
    form, schema = to_jsonable(value, kind), json_schema(kind)
    for side in (remote, local):
        words = ["-c", "<{{.inputs.x}}>{{ .inputs.x }}"]
        assert side.filled(words, {"x": form}) == ["-c", f"<{text}>{text}"]
        assert side.to_bytes(form, schema) == (value if kind is bytes else text.encode())
        assert side.filled(["{{.inputs.x}}"], {"x": "{{.inputs.y}}", "y": "no"}) == ["{{.inputs.y}}"]
