"""Every supported type comes back as it was: the same type and the same value."""

from __future__ import annotations

import collections
import collections.abc
import fractions
import ipaddress
import math
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, NewType, Optional, Union
from zoneinfo import ZoneInfo

import pytest
from pydantic import Field, HttpUrl

from flyte import _types
from sdk.tests.types import shapes
from sdk.tests.types.sameness import same

BERLIN = ZoneInfo("Europe/Berlin")
Number = NewType("Number", int)


def came_back(value: Any, annotation: Any) -> Any:
    """The value after a trip through bytes."""
    data = _types.dumps(_types.to_jsonable(value, annotation))
    return _types.from_jsonable(_types.loads(data), annotation)


SCALARS = [
    (int, [0, -1, 2**63, 2**70, 2**9000, -(2**20000)]),
    (float, [1.0, 0.1, -0.0, 5e-324, 1.7e308, math.nan, math.inf, -math.inf]),
    (str, ["", "é😀\x00\n\u2028", "\ud800 alone", "NaN", '{"$type":"set"}']),
    (bool, [True, False]),
    (None, [None]),
    (datetime, [
        datetime(1, 1, 1), datetime.max, datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc),
        datetime(2024, 1, 1, tzinfo=timezone(-timedelta(hours=5, minutes=30, seconds=7))),
        datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN), datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2024, 10, 27, 2, 30, fold=1),
    ]),
    (date, [date.min, date.max]),
    (time, [time(1, 2, 3, 4), time(1, tzinfo=timezone.utc), time(1, tzinfo=BERLIN), time(1, fold=1)]),
    (timedelta, [timedelta(0), timedelta.min, timedelta.max, timedelta(microseconds=-1),
    timedelta(days=1, hours=2)]),
    (bytes, [b"", b"\xff\x00abc"]),
    (bytearray, [bytearray(b"abc")]),
    (Path, [Path("a/b"), Path("/"), Path("dir/\udcff")]),
    (PurePath, [PurePath("a")]),
    (PurePosixPath, [PurePosixPath("a/b")]),
    (PureWindowsPath, [PureWindowsPath("c:\\a")]),
    (Decimal, [Decimal("1.10"), Decimal("NaN"), Decimal("-Infinity"), Decimal("1E+30")]),
    (uuid.UUID, [uuid.UUID(int=5)]),
    (complex, [1 + 2j, complex(-0.0, math.nan)]),
    (fractions.Fraction, [fractions.Fraction(1, 3)]),
    (ipaddress.IPv4Address, [ipaddress.IPv4Address("10.0.0.1")]),
    (HttpUrl, [HttpUrl("http://example.org/a")]),
    (Number, [3]),
    (Annotated[int, "a remark"], [3]),
    (Annotated[int, Field(gt=0)], [3]),
]  # fmt: skip

LOOKALIKES = [
    {"$type": "set", "items": []},
    {"$type": "x"},
    {"$type": 1},
    {"$type": "dict", "items": [[1, 2]]},
]

COLLECTIONS = [
    (list, [[], [1, "a", None, 2.0, math.nan, (1,), {2}, frozenset([b"x"]), {1: 2, "1": 3, None: 4,
    (1,): 5}]]),
    (list, [LOOKALIKES, [[LOOKALIKES]], [{"a": LOOKALIKES}]]),
    (list[Any], [[
        datetime(2024, 1, 1, tzinfo=BERLIN), time(1), timedelta(1),
        date.min, Path("a"), PureWindowsPath("b"), 2**9000,
        shapes.Point(1), shapes.Point3(1, 2.0, 3), shapes.Item(name="a", tags={"x"}), shapes.Pair(1),
        shapes.Color.RED,
        shapes.Mode.READ | shapes.Mode.WRITE, shapes.Doubled(2),
        shapes.Plain(3), len, int, Decimal("1.0"), 1j,
    ]]),
    (dict, [{}, {"b": 1, "a": 2}, {1: "a", 2: "b"}, *LOOKALIKES]),
    (tuple, [(), (1, "a", (2, [3]))]),
    (set, [set(), {1, "1", (1, 2), None, 2.5}]),
    (list[int], [[], [3, 1]]),
    (list[list[float]], [[[1.0, math.nan], []]]),
    (dict[str, int], [{"z": 1, "a": 2}, {"$type": 1, "items": 2}]),
    (dict[int, str], [{3: "a", -1: "b"}]),
    (dict[bool, int], [{True: 1, False: 2}]),
    (dict[float, int], [{math.nan: 1, 1.0: 2, -math.inf: 3}]),
    (dict[date, int], [{date.min: 1}]),
    (dict[tuple[int, int], str], [{(1, 2): "a"}]),
    (dict[Union[int, str], int], [{1: 1, "1": 2}, {"a": 1}]),
    (dict[Optional[str], int], [{None: 1, "null": 2}]),
    (dict[shapes.Color, int], [{shapes.Color.RED: 1}]),
    (dict[shapes.Level, int], [{shapes.Level.HIGH: 1}]),
    (tuple[int, str], [(1, "a")]),
    (tuple[int, ...], [(), (1, 2)]),
    (tuple[()], [()]),
    (set[date], [{date.min, date.max}]),
    (frozenset[int], [frozenset({10, 9})]),
    (collections.Counter[str], [collections.Counter("aab")]),
    (collections.OrderedDict[str, int], [collections.OrderedDict(b=1, a=2)]),
    (collections.deque[int], [collections.deque([1, 2])]),
    (collections.defaultdict[str, list[int]], [collections.defaultdict(list, a=[1])]),
    (collections.abc.Sequence[int], [[1], (1,)]),
    (collections.abc.Mapping[str, int], [{"a": 1}]),
    (collections.abc.Iterable, [[1], (1,), {1}, frozenset({1})]),
    (collections.abc.Callable[[int], int], [len]),
]  # fmt: skip

CHOICES = [
    (Optional[int], [None, 1]),
    (Union[int, str], ["1", 1, "", "None"]),
    (Union[str, float, int, bool, None], ["NaN", math.nan, 1, 1.0, True, None, "true", "1"]),
    (
        Union[datetime, str, date, bytes],
        [datetime.min, date.min, "2024-01-01", "2024-01-01T00:00:00", b"ab", "YWI="],
    ),
    (Union[list[int], list[float], list[str]], [[1], [1.0], ["a"], []]),
    (Union[set[int], list[int], tuple[int, ...]], [{1}, [1], (1,)]),
    (Union[shapes.A, shapes.B, None], [shapes.A(1), shapes.B(1), None]),
    (Union[shapes.Cat, shapes.Dog], [shapes.Cat(), shapes.Dog()]),
    (Union[shapes.Item, shapes.Open], [shapes.Item(name="a"), shapes.Open(x=1, y=2)]),
    (
        Union[dict[str, Any], shapes.A],
        [{"x": 1}, shapes.A(1), {"$type": "union", "member": "int", "value": 1}],
    ),
    (Union[shapes.Color, str], ["red", shapes.Color.RED]),
    (Union[Path, str], ["a", Path("a")]),
    (Union[Decimal, float, int], [Decimal(1), 1.0, 1]),
    (Annotated[Union[shapes.Cat, shapes.Dog], Field(discriminator="kind")], [shapes.Cat(), shapes.Dog()]),
    (Literal["a", 1, True, None], ["a", 1, True, None]),
    (Literal[b"YQ==", "YQ=="], [b"YQ==", "YQ=="]),
    (Literal[shapes.Color.RED, "red"], [shapes.Color.RED, "red"]),
    (shapes.Color, list(shapes.Color)),
    (shapes.Level, list(shapes.Level)),
    (shapes.Word, list(shapes.Word)),
    (shapes.Mode, [shapes.Mode.READ, shapes.Mode.READ | shapes.Mode.WRITE, shapes.Mode(0)]),
    (shapes.Odd, list(shapes.Odd)),
    (shapes.Mixed, list(shapes.Mixed)),
]

hidden = shapes.Private(x=1)
hidden._secret = 5

STRUCTURES = [
    (shapes.Point, [shapes.Point(1, 2.0), shapes.Point3(1, 2.0, 3)]),
    (shapes.Frozen, [shapes.Frozen(datetime.min, frozenset("ab"))]),
    (shapes.Nested, [
        shapes.Nested([shapes.Point(1)],
        shapes.Point(2), {"$type": shapes.Point(3)}, Path("z"), b"\xff", (1, {2})),
    ]),
    (shapes.Node, [shapes.Node(1, shapes.Node(2), [shapes.Node(3)])]),
    (shapes.Box[date], [shapes.Box(date.min, [date.max])]),
    (shapes.Box, [shapes.Box((1,))]),
    (shapes.IntBox, [shapes.IntBox(1, [2])]),
    (shapes.Doubled, [shapes.Doubled(2)]),
    (shapes.Computed, [shapes.Computed(2)]),
    (shapes.Seeded, [shapes.Seeded(4)]),
    (shapes.Slotted, [shapes.Slotted(1)]),
    (shapes.Pair, [shapes.Pair(1), shapes.Pair(1, "x")]),
    (list[shapes.Pair], [[shapes.Pair(1)]]),
    (shapes.Movie, [{"title": "a"}, {"title": "a", "year": 1}]),
    (shapes.Partial, [{}, {"when": date.min}]),
    (shapes.Item, [
        shapes.Item(name="a", tags={"b", "a"}, raw=b"\xff", when=datetime(2024, 1, 1, tzinfo=timezone.utc)),
        shapes.Item(name="a", price=math.nan),
        shapes.SpecialItem(name="x", level=shapes.Level.HIGH),
    ]),
    (shapes.Order, [shapes.Order(items=[shapes.Item(name="a")], by_id={3: shapes.Item(name="b")})]),
    (shapes.Aliased, [shapes.Aliased(userId=3, choice="z")]),
    (shapes.Pathed, [shapes.Pathed.model_validate({"all": [4]})]),
    (shapes.Tagged, [shapes.Tagged.model_validate({"$type": kind}) for kind in ("instance", "other")]),
    (shapes.Owner, [shapes.Owner(pet=shapes.Dog(name="x")), shapes.Owner(pet=shapes.Cat())]),
    (shapes.Counting, [shapes.Counting(n=1)]),
    (shapes.Lenient, [shapes.Lenient(parts=[1, 2])]),
    (shapes.Private, [shapes.Private(x=1), hidden]),
    (shapes.Open, [shapes.Open(x=1, y=(1, 2), z={"a"})]),
    (shapes.Ids, [shapes.Ids([1, 2])]),
    (shapes.Tree, [shapes.Tree(value=1, children=[shapes.Tree(value=2)])]),
    (shapes.Wrapped[date], [shapes.Wrapped[date](item=date.min)]),
    (shapes.Plain, [shapes.Plain(1)]),
]  # fmt: skip

CASES = [
    pytest.param(annotation, value, id=f"{group}-{index}-{_types.describe_type(annotation)[:30]}")
    for group, table in {
        "scalar": SCALARS,
        "many": COLLECTIONS,
        "choice": CHOICES,
        "struct": STRUCTURES,
    }.items()
    for annotation, values in table
    for index, value in enumerate(values)
]


@pytest.mark.parametrize(("annotation", "value"), CASES)
def test_value_comes_back(annotation: Any, value: Any) -> None:
    """A value of the annotation's type is the same after a trip through bytes."""
    assert same(came_back(value, annotation), value)


@pytest.mark.parametrize(("annotation", "value"), CASES)
def test_value_comes_back_untyped(annotation: Any, value: Any) -> None:
    """Without an annotation, and inside a list, the same values come back too."""
    assert same(came_back([value], list), [value])


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (datetime, datetime(2024, 1, 2, 3), '"2024-01-02T03:00:00"'),
        (timedelta, timedelta(days=1, seconds=3661, microseconds=10), '"P1DT1H1M1.00001S"'),
        (bytes, b"\xff", '"/w=="'),
        (set[int], {10, 9, 1}, "[1,9,10]"),
        (dict[int, str], {3: "a"}, '{"3":"a"}'),
        (shapes.Point, shapes.Point(1), '{"x":1,"y":0.5}'),
        (shapes.Color, shapes.Color.RED, '"red"'),
        (shapes.Pair, shapes.Pair(1), '[1,"r"]'),
        (shapes.Aliased, shapes.Aliased(userId=3), '{"userId":3,"choice":"c"}'),
        (Union[int, str], "1", '"1"'),
        (Union[shapes.Cat, shapes.Dog], shapes.Cat(), '{"kind":"cat","lives":9}'),
        (collections.abc.Sequence[int], [1], "[1]"),
        (Any, {"b": [1, None], "a": 0.5}, '{"b":[1,null],"a":0.5}'),
        (Any, float("nan"), '{"$type":"float","value":"NaN"}'),
        (Any, (1,), '{"$type":"tuple","items":[1]}'),
        (Any, {1: 2}, '{"$type":"dict","items":[[1,2]]}'),
    ],
)
def test_documents_are_what_people_would_write(annotation: Any, value: Any, text: str) -> None:
    """Plain values have plain forms, and only what JSON would lose is tagged."""
    assert _types.dumps(_types.to_jsonable(value, annotation)).decode() == text


@pytest.mark.parametrize(
    ("annotation", "given", "taken"),
    [
        (float, 1, 1.0),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (int, True, 1),
        (int, shapes.Level.HIGH, 2),
        (str, shapes.Word.YES, "y"),
        (Optional[float], 1, 1.0),
        (tuple[int, str], shapes.Pair(1, "a"), (1, "a")),
    ],
)
def test_python_conversions_are_made(annotation: Any, given: Any, taken: Any) -> None:
    """What Python lets pass for a type arrives as that type."""
    assert same(came_back(given, annotation), taken)


def test_numpy_scalars_arrive_as_python_values() -> None:
    """A NumPy number fits the Python type that it stands for."""

    class Scalar:
        __module__ = "numpy"
        shape = ()

        def __init__(self, value: Any) -> None:
            self.value = value

        def item(self) -> Any:
            return self.value

    assert same(came_back(Scalar(3), int), 3)
    assert same(came_back(Scalar(3), float), 3.0)
    assert same(came_back(Scalar(True), bool), True)
    with pytest.raises(Exception, match="expected int"):
        came_back(Scalar(0.5), int)


@pytest.mark.parametrize(
    ("annotation", "obj", "value"),
    [
        (datetime, "2024-01-02", datetime(2024, 1, 2)),
        (
            datetime,
            "2024-01-02T03:04:05.1234567Z",
            datetime(2024, 1, 2, 3, 4, 5, 123456, tzinfo=timezone.utc),
        ),
        (datetime, "2024-01-02 03:04+0100", datetime(2024, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=1)))),
        (timedelta, "P1W", timedelta(weeks=1)),
        (bytes, "_w==", b"\xff"),
        (Decimal, 1.5, Decimal("1.5")),
        (float, 3, 3.0),
        (shapes.Pair, {"left": 3}, shapes.Pair(3)),
        (shapes.Pair, [3], shapes.Pair(3)),
        (shapes.Aliased, {"user_id": 1, "option": "o"}, shapes.Aliased(userId=1, choice="o")),
        (shapes.Lenient, {"parts": "1,2"}, shapes.Lenient(parts=[1, 2])),
        (shapes.Counting, {"n": 1}, shapes.Counting(n=1)),
        (shapes.Doubled, {"x": 1}, shapes.Doubled(1)),
        (shapes.Pathed, {"all": [4]}, shapes.Pathed.model_validate({"all": [4]})),
    ],
)
def test_forms_that_people_write_are_read(annotation: Any, obj: Any, value: Any) -> None:
    """Other usual spellings, and what a model's own validators accept, are read as well."""
    assert same(_types.from_jsonable(obj, annotation), value)
