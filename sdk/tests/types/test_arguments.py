"""What people type becomes values, or one clear line."""

from __future__ import annotations

import io
import sys
import threading
import uuid
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest
from pydantic import HttpUrl

from flyte import _types
from sdk.tests.types import shapes
from sdk.tests.types.sameness import same


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("5", int, 5), ("-5", int, -5), ("0x10", int, 16), ("1e3", float, 1000.0),
        ("nan", float, float("nan")),
        ("5", float, 5.0), ("5", str, "5"), ("@x", str, "@x"), ("", str, ""), ("true", bool, True),
        ("No", bool, False),
        ("1", bool, True), ("0", bool, False),
        ("2024-01-31", datetime, datetime(2024, 1, 31)), ("2024-01-31", date, date(2024, 1, 31)),
        ("2024-01-01T10:00:00.5Z", datetime, datetime(2024, 1, 1, 10, 0, 0, 500000, tzinfo=timezone.utc)),
        ("90s", timedelta, timedelta(seconds=90)), ("1h30m", timedelta, timedelta(minutes=90)),
        ("PT5M", timedelta, timedelta(minutes=5)), ("90", timedelta, timedelta(seconds=90)),
        ("1.5 hours", timedelta, timedelta(minutes=90)), ("2 days", timedelta, timedelta(days=2)),
        ("500ms", timedelta, timedelta(milliseconds=500)), ("10min", timedelta, timedelta(minutes=10)),
        ("RED", shapes.Color, shapes.Color.RED), ("red", shapes.Color, shapes.Color.RED),
        ("Blue", shapes.Color, shapes.Color.BLUE), ("2", shapes.Level, shapes.Level.HIGH),
        ("READ", shapes.Mode, shapes.Mode.READ), ("3", shapes.Mode, shapes.Mode.READ | shapes.Mode.WRITE),
        ("a", Literal["a", "b"], "a"), ("1", Literal[1, "x"], 1), ("true", Literal[True, 2], True),
        ("null", Optional[int], None), ("none", Optional[int], None), ("5", Optional[int], 5),
        ("none", Optional[str], "none"), ("null", Optional[str], None),
        ("1", Union[int, str], 1), ("x", Union[int, str], "x"), ("1.5", Union[int, float, str], 1.5),
        ("1", Union[bool, int], 1), ("true", Union[bool, int], True), ("[1]", Union[str, list[int]], [1]),
        ("2024-01-01", Union[str, datetime], datetime(2024, 1, 1)), ("a/b", Union[Path, str], "a/b"),
        ("[1, 2]", list[int], [1, 2]), ("[[1,\"a\"]]", list[tuple[int, str]], [(1, "a")]),
        ("[1,1]", set[int], {1}), ('{"1":"a"}', dict[int, str], {1: "a"}), ('{"a":[1]}', dict, {"a": [1]}),
        ("[1,2]", tuple[int, ...], (1, 2)), ("[1]", tuple, (1,)),
        ('{"x":1}', shapes.Point, shapes.Point(1)), ('{"name":"a"}', shapes.Item, shapes.Item(name="a")),
        ('{"title":"t"}', shapes.Movie, {"title": "t"}), ('[1,"a"]', shapes.Pair, shapes.Pair(1, "a")),
        ('{"kind":"dog","name":"x"}', Union[shapes.Cat, shapes.Dog], shapes.Dog(name="x")),
        ("hello", bytes, b"hello"), ("a/b", Path, Path("a/b")), ("1.50", Decimal, Decimal("1.50")),
        (str(uuid.UUID(int=1)), uuid.UUID, uuid.UUID(int=1)), ("1+2j", complex, 1 + 2j),
        ("http://example.org/", HttpUrl, HttpUrl("http://example.org/")), ("5", shapes.Positive, 5),
        ("5", Any, 5), ("hello", Any, "hello"), ('{"a":1}', Any, {"a": 1}),
    ],
)  # fmt: skip
def test_text_becomes_a_value(text: str, annotation: Any, value: Any) -> None:
    """Every type takes the text that people would write for it."""
    assert same(_types.parse_argument(text, annotation), value)


def test_now_and_today() -> None:
    """``now`` and ``today`` are local times, without an offset, like ISO text without one."""
    before = datetime.now()
    now = _types.parse_argument("now", datetime)
    assert before <= now <= datetime.now()
    assert _types.parse_argument("today", datetime).time() == datetime.min.time()
    assert before.date() <= _types.parse_argument("today", date) <= datetime.now().date()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '{"points": [{"x": 1}], "raw": "aGk="}'),
        ("a.yaml", "points:\n  - {x: 1}\nraw: aGk=\n"),
        ("noending", "points: [{x: 1}]\nraw: aGk=\n"),
    ],
)
def test_structures_are_read_from_files(tmp_path: Path, name: str, content: str) -> None:
    """``@file`` holds JSON or YAML; the path of such a file alone will do."""
    path = tmp_path / name
    path.write_text(content)
    expected = shapes.Nested([shapes.Point(1)], raw=b"hi")
    assert _types.parse_argument(f"@{path}", shapes.Nested) == expected
    if path.suffix:
        assert _types.parse_argument(str(path), shapes.Nested) == expected


def test_yaml_times_and_keys_are_values(tmp_path: Path) -> None:
    """YAML's own dates and number keys fit the types that JSON spells as text."""
    path = tmp_path / "a.yml"
    path.write_text("1: 2024-01-31\n2: 2024-02-01\n")
    assert _types.parse_argument(f"@{path}", dict[int, date]) == {1: date(2024, 1, 31), 2: date(2024, 2, 1)}


def test_bytes_and_structures_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``@-`` reads standard input, ``@file`` the raw bytes of a file."""
    (tmp_path / "raw").write_bytes(b"\xff\x00")
    assert _types.parse_argument(f"@{tmp_path / 'raw'}", bytes) == b"\xff\x00"
    for annotation, value in ((bytes, b"[1,2]"), (list[int], [1, 2])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1,2]")))
        assert _types.parse_argument("@-", annotation) == value


@pytest.mark.parametrize(
    ("text", "annotation", "message"),
    [
        ("abc", int, "expected INTEGER (int), got 'abc'; for example 42"),
        ("1,5", int, "expected INTEGER (int), got '1,5'; for example 42"),
        ("maybe", bool, "expected BOOLEAN (bool), got 'maybe'; for example true"),
        ("x", Optional[int], "expected INTEGER (int | None), got 'x'; for example 42"),
        ("soon", datetime, "expected DATETIME (datetime), got 'soon'"),
        ("2024-13-01", date, "month must be in 1..12"),
        ("later", timedelta, "expected DURATION (timedelta), got 'later'"),
        (
            "green",
            shapes.Color,
            "expected ENUM[RED|BLUE] (Color), got 'green' (one of RED, BLUE); for example RED",
        ),
        ("c", Literal["a", "b"], "expected ENUM[a|b] ('a' | 'b'), got 'c'; for example a"),
        ("1,2", list[int], "for example [42]"),
        ('[1,"a"]', list[int], "at [1]: expected int, got str 'a'"),
        ('{"y":1}', shapes.Point, '(missing x); for example {"x": 42}'),
        ('{"price":-1}', shapes.Item, "name: Field required"),
        ('{"value":1,"next":{"value":"x"}}', shapes.Node, "at .next.value: expected int, got str 'x'"),
        ("-5", shapes.Positive, "should be greater than 0"),
        ("@/no/such.json", list[int], "cannot read /no/such.json: No such file or directory"),
        ("x", Decimal, "expected DECIMAL (Decimal), got 'x'; for example 1.50"),
        ("x", type(threading.Lock()), "start the task from Python"),
    ],
)
def test_what_does_not_fit_gives_one_line(text: str, annotation: Any, message: str) -> None:
    """The line has the expected type, what was given, and an example of the right form."""
    with pytest.raises(ValueError) as caught:
        _types.parse_argument(text, annotation)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_neither_json_nor_yaml_is_named(tmp_path: Path) -> None:
    """The message names the file and what is wrong with it, on one line."""
    path = tmp_path / "bad.yaml"
    path.write_text("a: [1\nb: }")
    with pytest.raises(ValueError, match=r"bad\.yaml is neither JSON nor YAML") as caught:
        _types.parse_argument(f"@{path}", dict)
    assert "\n" not in str(caught.value)
