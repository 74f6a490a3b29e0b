"""What an attempt may read, write and hand on, as a function of the documents that it was given."""

import json

import pytest

from services.executor.reach import NotInReachError, Reach, references

OWN = "runs/p/d/r1/a0/0"


def ref(key: object, **more: object) -> dict[str, object]:
    """A reference as it stands in a document."""
    return {"$type": "ref", "key": key, **more}


def document(value: object) -> bytes:
    """A document in the canonical form."""
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, set()),
        ({"x": "ref"}, set()),
        ({"x": ref("a/b")}, {"a/b"}),
        ({"x": [1, [ref("a"), {"deep": {"er": ref("b", size=3)}}]]}, {"a", "b"}),
        ({"x": ref("a", beside=ref("b"))}, {"a", "b"}),
        (ref("top"), {"top"}),
        ([ref("a"), ref("a")], {"a"}),
        ({"x": ref(7)}, set()),
        ({"x": ref(None)}, set()),
        ({"x": {"$type": "dict", "items": [[ref("k"), ref("v")]]}}, {"k", "v"}),
        ({"x": {"type": "ref", "key": "a"}}, set()),
        ({"x": {"$type": "reference", "key": "a"}, "y": "ref"}, set()),
        ({"$type": {"$type": "ref", "key": "a"}}, {"a"}),
    ],
)
def test_references(value: object, expected: set[str]) -> None:
    """References are found wherever they stand, and nothing else is one."""
    assert references(document(value)) == expected


@pytest.mark.parametrize("text", [b"", b'"ref"', b'{"ref"', b'\xff"ref"', b"[" * 100_000 + b'"ref"'])
def test_what_is_no_document_has_no_references(text: bytes) -> None:
    """Bytes that are not JSON, or nested without end, refer to nothing."""
    assert references(text) == frozenset()


def test_long_documents_without_references_are_cheap() -> None:
    """A document without the word is not parsed: it need not even be JSON."""
    assert references(b"[" * 10_000_000) == frozenset()


@pytest.mark.parametrize(
    ("key", "get", "put"),
    [
        ("inputs/a.csv", True, False),
        ("inputs/b.csv", False, False),
        (f"{OWN}/data/model.bin", True, True),
        (f"{OWN}/outputs.json", True, False),
        (f"{OWN}/logs/0.log", True, False),
        (f"{OWN}/data", True, False),
        (f"{OWN}", False, False),
        (f"{OWN}0/data/x", False, False),
        ("runs/p/d/r1/a0/1/data/x", False, False),
        ("runs/p/d/r1/a1/0/data/x", False, False),
        ("runs/q/d/r1/a0/0/data/x", False, False),
        ("code/abc.tar.gz", False, False),
        ("", False, False),
    ],
)
def test_keys(key: str, get: bool, put: bool) -> None:
    """What was granted and the own prefix can be read; below `data/` of the own prefix can be written."""
    reach = Reach(OWN, {"inputs/a.csv"})
    for check, allowed in ((reach.check_get, get), (reach.check_put, put)):
        if allowed:
            check(key)
        else:
            with pytest.raises(NotInReachError) as caught:
                check(key)
            assert repr(key) in caught.value.message


def test_what_is_handed_on() -> None:
    """A document may refer to what its author can read, and to nothing that it made up."""
    reach = Reach(OWN, {"inputs/a.csv"})
    reach.check_document(document([ref("inputs/a.csv"), ref(f"{OWN}/data/x")]), "the outputs")
    with pytest.raises(NotInReachError, match=r"the outputs refer to object 'inputs/b\.csv'"):
        reach.check_document(document([ref("inputs/a.csv"), ref("inputs/b.csv")]), "the outputs")


def test_a_directory_grants_what_is_below_it() -> None:
    """A key with a slash at the end grants the objects and directories below, and nothing beside it."""
    reach = Reach(OWN, {"data/c1/d/"})
    for key in ("data/c1/d/f", "data/c1/d/sub/f", "data/c1/d/sub/", "data/c1/d/"):
        assert reach.can_read(key)
    for key in ("data/c1/d", "data/c1/dd/f", "data/c1/", "data/", "/", "", "data/c1/other"):
        assert not reach.can_read(key)
    reach.check_document(document({"o0": ref("data/c1/d/sub/f"), "o1": ref("data/c1/d/sub/")}), "the outputs")
    with pytest.raises(NotInReachError, match="data/c1/"):
        reach.check_document(document({"o0": ref("data/c1/")}), "the outputs")
    assert not Reach(OWN, {"data/c1/d"}).can_read("data/c1/d/f")
