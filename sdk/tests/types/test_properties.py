"""Properties of the codecs over generated values."""

from __future__ import annotations

import json
import random
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Optional, Union
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyte import _types
from sdk.tests.types import shapes
from sdk.tests.types.sameness import same

hashable = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
        st.binary(max_size=8), st.dates(),
        st.datetimes(), st.times(), st.timedeltas(), st.decimals(allow_nan=False), st.uuids(),
        st.sampled_from(list(shapes.Color)),
        st.sampled_from(["$type", "value", "items", "set", "pickle", "NaN"]),
    ),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
anything = st.recursive(
    hashable,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(hashable, inner, max_size=4),
        st.dictionaries(st.sampled_from(["$type", "value", "items", "a"]), inner, max_size=4),
        st.builds(shapes.Box, inner, st.lists(inner, max_size=2)),
        st.tuples(inner),
    ),
    max_leaves=12,
)

ANNOTATIONS: list[Any] = [
    int, float, str, bool, bytes, datetime, date, time, timedelta, Decimal, UUID, complex, shapes.Color,
    list[int], dict[str, float], dict[int, str], tuple[int, str], tuple[float, ...], set[date],
    frozenset[str],
    Optional[int], Union[int, str], Union[float, int, str, bool, None], Union[datetime, date, str, bytes],
    Union[list[int], list[str], dict[str, int]], dict[Union[int, str], Union[int, str]], shapes.Point,
    shapes.Node,
    Union[shapes.A, shapes.B, shapes.Point], shapes.Pair, shapes.Movie, shapes.Frozen, shapes.Tree,
    list[tuple[Optional[shapes.Color], dict[str, set[int]]]],
]  # fmt: skip
typed = st.sampled_from(ANNOTATIONS).flatmap(lambda a: st.tuples(st.just(a), st.from_type(a)))


def written(value: Any, annotation: Any) -> bytes:
    """The document of a value."""
    return _types.dumps(_types.to_jsonable(value, annotation))


@given(anything)
@settings(max_examples=400, deadline=None)
def test_untyped_values_come_back(value: Any) -> None:
    """Any nesting of plain values, tags and what looks like tags comes back as it was."""
    assert same(_types.from_jsonable(_types.loads(written(value, Any)), Any), value)


@given(typed)
@settings(max_examples=600, deadline=None)
def test_typed_values_come_back(case: tuple[Any, Any]) -> None:
    """Generated values of a type come back as they were, union members included."""
    annotation, value = case
    assert same(_types.from_jsonable(_types.loads(written(value, annotation)), annotation), value)


@given(typed)
@settings(max_examples=200, deadline=None)
def test_documents_are_json_for_everyone(case: tuple[Any, Any]) -> None:
    """Documents are valid JSON without NaN literals, and reading and writing them again changes nothing."""
    annotation, value = case
    data = written(value, annotation)
    obj = json.loads(data, parse_constant=lambda name: (_ for _ in ()).throw(AssertionError(name)))
    assert json.dumps(obj, ensure_ascii=False, separators=(",", ":")).encode() == data


@given(st.dictionaries(hashable, st.integers(), min_size=2, max_size=6), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_digest_ignores_the_order_of_a_dict(value: dict[Any, int], chance: random.Random) -> None:
    """Two dicts that differ in their order alone have one digest."""
    items = list(value.items())
    chance.shuffle(items)
    assert _types.digest(written(dict(items), dict)) == _types.digest(written(value, dict))


@given(anything, anything)
@settings(max_examples=200, deadline=None)
def test_digest_tells_values_apart(left: Any, right: Any) -> None:
    """Equal digests mean equal canonical documents, and different documents have different digests."""
    a, b = written(left, Any), written(right, Any)
    assert (_types.digest(a) == _types.digest(b)) == (_types.canonical(a) == _types.canonical(b))


@given(st.text(st.characters() | st.sampled_from("\ud83d\ude00"), max_size=6))
@settings(deadline=None)
def test_text_with_surrogates_survives_or_is_refused(text: str) -> None:
    """Any string comes back, or is refused because JSON would read two of its characters as one."""
    if re.search("[\ud800-\udbff][\udc00-\udfff]", text):
        with pytest.raises(_types.DocumentError, match="surrogates"):
            _types.dumps(text)
    else:
        assert _types.loads(_types.dumps(text)) == text
