"""Digests are the same everywhere, and differ where values do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import flyte
from flyte import _types

SCRIPT = """
from datetime import date
from flyte import _types
words = {"alpha", "beta", "gamma", "delta", "epsilon", ("a", 1), None, 2.5, frozenset({"x", "y", "z"})}
keys = {"one", "two", "three", "four"}
values = [
    (words, set),
    ({key: index for index, key in enumerate(sorted(keys))}, dict),
    ({key: 0 for key in keys}, dict[str, int]),
    ({(key, 1): keys for key in keys}, dict),
    ({"c", "a", "b"}, set[str]),
    ([0.1, 1e300, -0.0, 1e16, 123456789.123, 5e-324], list[float]),
    ({date.min, date.max}, set[date]),
    ("\\u00e9\\ud800", str),
    (2**80, int),
]
print(*[_types.digest(_types.dumps(_types.to_jsonable(value, annotation))) for value, annotation in values])
"""

PINNED = [
    "9bf36721d88776ef66174ff466e4d9f8",
    "4bdff3deca7ec8282f0f18bf5d15be51",
    "8359f364f71ee73654fdb859a2e7dbcf",
    "b45fba0b94f00ab84e0cf45d4d47d79c",
    "e32dd4b8e1fbd865f4421ba4a555b563",
    "dec63f8ac80a32826168ca70877260b5",
    "71853f1f5e82d43c767acb55292a9296",
    "7bb7482a4a5c6ecaebfdd73880666e93",
    "6775d9a5f6290088177037eab1f9bd57",
]


def digests_under(seed: str) -> list[str]:
    """What a new process with a hash seed computes."""
    package = str(Path(flyte.__file__).parent.parent)
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": package}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_digests_do_not_depend_on_the_process() -> None:
    """Sets and dicts have one digest under every hash seed, and these are pinned for every Python version."""
    first = digests_under("0")
    assert first == digests_under("1") == digests_under("4242") == PINNED
    assert len(set(first)) == len(first)


def test_digest_ignores_spelling() -> None:
    """White space, order of keys and escapes do not matter; values and their types do."""
    assert _types.digest(b'{"a":1,"b":[2,3]}') == _types.digest(b' {"b" : [2, 3], "a":1}')
    assert _types.digest('"é"'.encode()) == _types.digest(b'"\\u00e9"')
    assert (
        len({_types.digest(text) for text in (b"1", b"1.0", b'"1"', b"true", b"[1]", b"[2,3]", b"[3,2]")})
        == 7
    )
    assert _types.canonical(b'{"b":1, "a":{"d":1,"c":2}}') == b'{"a":{"c":2,"d":1},"b":1}'
    assert len(_types.digest(b"1")) == 32


def test_input_digests_match_outputs() -> None:
    """An input that is an earlier output has that output's digest."""

    def step(a: int) -> int:
        return a

    interface = _types.Interface.from_function(step)
    inputs = _types.input_digests(interface.dump_inputs({"a": 10}))
    outputs = _types.input_digests(interface.dump_outputs(10))
    assert inputs == {"a": outputs["o0"]}
    assert _types.input_digests(interface.dump_inputs({"a": 20})) != inputs


def test_lineage_is_seen_through_lists_and_floats() -> None:
    """An output is recognised as an input, as a member of one, and where an int became a float."""
    output = _types.lineage_digests(b'{"o0":10}')["o0"]
    assert len(output) == 1
    inputs = (
        b'{"same":10,"float":10.0,"many":[3,10],"named":{"a":10},"set":{"$type":"set","items":[10]},"no":11}'
    )
    found = _types.lineage_digests(inputs, members=True)
    assert [name for name, digests in found.items() if digests & output] == [
        "same",
        "float",
        "many",
        "named",
        "set",
    ]
    assert not _types.lineage_digests(inputs)["many"] & output
    assert (
        _types.lineage_digests(b'{"a":1,"b":true,"c":[0,1],"d":""}', members=True)["c"]
        == (_types.lineage_digests(b'{"c":[0,1]}')["c"])
    )
    assert _types.lineage_digests(b'{"a":1,"b":true,"d":"","e":1.0}', members=True) == dict.fromkeys(
        "abde", frozenset()
    )


def test_input_digests_need_an_object() -> None:
    """A document that is not an object is refused."""
    with pytest.raises(_types.DocumentError, match="maps names to values"):
        _types.input_digests(b"[1]")


@pytest.mark.parametrize("text", ["null", "true", "false", '""', "[]", "{}", "0", "1", "-1", "0.0", "1.0"])
def test_common_values_are_trivial(text: str) -> None:
    """Values that turn up everywhere say nothing about where they came from."""
    assert _types.is_trivial(text)


def test_empty_tagged_collections_are_trivial() -> None:
    """An empty tuple is as common as an empty list."""
    assert _types.is_trivial(_types.dumps(_types.to_jsonable([()], list))[1:-1])


@pytest.mark.parametrize(
    "text", ["2", "10", "-2", '"a"', "[0]", '{"a":1}', "0.5", '{"$type":"float","value":"NaN"}']
)
def test_other_values_are_evidence(text: str) -> None:
    """Small integers other than 0, 1 and -1 count: the pipeline of the guide hands on a 10."""
    assert not _types.is_trivial(text)
