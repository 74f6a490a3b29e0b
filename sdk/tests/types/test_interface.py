"""A function's interface: its variables, binding of calls, and documents."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NamedTuple, NoReturn, Optional

import pytest

from flyte import _types
from flyte.errors import RuntimeDataValidationError
from sdk.tests.types import shapes

Interface = _types.Interface


def add(x: int, y: int = 2, *, note: Optional[str] = None) -> int:
    """Adds two numbers.

    Both may be negative.

    Args:
        x: The first
            of the two.
        y (int): The second.
        note: Unused.

    Returns:
        The sum.
    """
    return x + y


async def fetch(when: datetime, point: shapes.Point) -> tuple[int, str]:  # noqa: D103
    return 1, "a"


def pair() -> shapes.Pair:  # noqa: D103
    return shapes.Pair(1)


def later(x: Later) -> Later:  # noqa: D103
    return x


class Later(NamedTuple):
    n: int


def outputs_of(annotation: Any) -> Any:
    """The interface of a function that is annotated to return this."""

    def produce() -> None: ...

    produce.__annotations__["return"] = annotation
    return Interface.from_function(produce)


def test_variables_are_read_off_the_signature() -> None:
    """Names, types, defaults, and what the docstring says."""
    interface = Interface.from_function(add)
    x, y, note = interface.inputs
    assert [v.name for v in interface.inputs] == ["x", "y", "note"]
    assert (x.annotation, x.required, x.default_json, x.type_name, x.schema) == (
        int, True, None, "INTEGER", {"type": "integer"},
    )  # fmt: skip
    assert (y.required, y.default_json) == (False, "2")
    assert (note.required, note.default_json, note.type_name) == (False, "null", "STRING")
    assert (x.description, y.description) == ("The first of the two.", "The second.")
    assert interface.description == "Adds two numbers."
    assert [v.name for v in interface.outputs] == ["o0"]


def test_annotations_that_are_strings_name_local_classes() -> None:
    """A function and a class inside a function resolve names of that scope, also of each other."""

    @dataclass
    class Leaf:
        n: int

    @dataclass
    class Branch:
        leaf: Leaf
        more: list[Branch]

    def grow(branch: Branch) -> Leaf:
        return branch.leaf

    interface = Interface.from_function(grow)
    values = {"branch": Branch(Leaf(1), [Branch(Leaf(2), [])])}
    assert interface.load_inputs(interface.dump_inputs(values)) == values
    assert interface.load_outputs(interface.dump_outputs(Leaf(3))) == Leaf(3)


def test_annotations_may_name_what_is_defined_later() -> None:
    """An interface made before a class exists is resolved at first use."""
    namespace: dict[str, Any] = {}
    exec("def f(x: 'Soon') -> 'Soon': return x", namespace)
    interface = Interface.from_function(namespace["f"])
    with pytest.raises(NameError, match="Soon"):
        _ = interface.inputs
    namespace["Soon"] = int
    assert interface.dump_inputs({"x": 1}) == b'{"x":1}'
    assert Interface.from_function(later).load_outputs(b'{"o0":1}') == Later(1)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def f(*args: int): ...", r"\*args"),
        ("def f(**kw: int): ...", r"\*\*kw"),
        ("def f(a: int, /): ...", "a"),
    ],
)
def test_parameters_without_a_name_are_refused(source: str, name: str) -> None:
    """What cannot be passed by name is refused with the function's and the parameter's name."""
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    with pytest.raises(ValueError, match=f"f: parameter {name} cannot be passed by name"):
        Interface.from_function(namespace["f"])


def test_missing_annotations_warn_once_each() -> None:
    """Each parameter without an annotation gives one warning, and takes any value."""
    namespace: dict[str, Any] = {}
    exec("def f(a, b: int, c=(1,)): ...", namespace)
    with pytest.warns(UserWarning, match="no type annotation") as caught:
        interface = Interface.from_function(namespace["f"])
    assert ["'a'" in str(w.message) or "'c'" in str(w.message) for w in caught] == [True, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = {"a": shapes.Plain(1), "b": 2, "c": {"x"}}
        assert interface.load_inputs(interface.dump_inputs(values)) == values
        assert interface.load_inputs(b'{"a":1,"b":2}') == {"a": 1, "b": 2, "c": (1,)}


@pytest.mark.parametrize(
    ("annotation", "style", "names", "value"),
    [
        (None, "none", [], None),
        (NoReturn, "none", [], None),
        (int, "single", ["o0"], 3),
        (tuple, "single", ["o0"], (1, "a")),
        (tuple[int, ...], "single", ["o0"], (1, 2)),
        (tuple[()], "single", ["o0"], ()),
        (Optional[tuple[int, str]], "single", ["o0"], (1, "a")),
        (list[int], "single", ["o0"], [1]),
        (Any, "single", ["o0"], None),
        (tuple[int, str], "tuple", ["o0", "o1"], (1, "a")),
        (tuple[int], "tuple", ["o0"], (1,)),
        (Annotated[tuple[int, str], "remark"], "tuple", ["o0", "o1"], (1, "a")),
        (shapes.Pair, "namedtuple", ["o0", "o1"], shapes.Pair(1, "a")),
    ],
)
def test_outputs_are_named_and_come_back(annotation: Any, style: str, names: list[str], value: Any) -> None:
    """Tuples of fixed length and named tuples are several outputs, everything else is one."""
    interface = outputs_of(annotation)
    assert interface.output_style == style
    assert [variable.name for variable in interface.outputs] == names
    back = interface.load_outputs(interface.dump_outputs(value))
    assert back == value
    assert type(back) is type(value)


def test_outputs_that_do_not_fit_are_refused() -> None:
    """The message names the function, the output, the expected type and what was returned."""
    for annotation, value, message in [
        (int, "a", r"produce: return value: expected int, got str 'a'"),
        (tuple[int, str], (1,), r"expected a tuple of 2 \(int, str\), got tuple \(1,\)"),
        (tuple[int, str], (1, 2), r"return value o1: expected str, got int 2"),
        (None, 3, r"annotated -> None, but it returned int 3"),
    ]:
        with pytest.raises(RuntimeDataValidationError, match=message):
            outputs_of(annotation).dump_outputs(value)


def test_return_without_annotation_is_refused_only_for_a_value() -> None:
    """A function without a return annotation may return nothing, and nothing else."""

    def quiet(): ...

    interface = Interface.from_function(quiet)
    assert interface.load_outputs(interface.dump_outputs(None)) is None
    with pytest.raises(
        RuntimeDataValidationError, match=r"quiet returned int 3, but has no return annotation"
    ):
        interface.dump_outputs(3)


def test_bind_is_pythons() -> None:
    """Calls are bound by position and name; defaults are filled in only when asked for."""
    interface = Interface.from_function(add)
    assert interface.bind((1,), {"note": "n"}) == {"x": 1, "note": "n"}
    assert interface.bind((1, 5), {}) == {"x": 1, "y": 5}
    assert interface.apply_defaults({"x": 1}) == {"x": 1, "y": 2, "note": None}
    for args, kwargs, message in [
        ((), {}, r"add\(\) missing 1 required argument: 'x'"),
        ((1, 2, 3), {}, r"add\(\) takes 2 positional arguments but 3 were given"),
        ((1,), {"x": 2}, r"add\(\) got multiple values for argument 'x'"),
        ((1,), {"z": 2}, r"add\(\) got an unexpected keyword argument 'z'; it takes x, y, note"),
    ]:
        with pytest.raises(TypeError, match=message):
            interface.bind(args, kwargs)


def test_inputs_document_is_complete_and_in_order() -> None:
    """Defaults are written, so that two calls that mean the same have the same document."""
    interface = Interface.from_function(add)
    assert interface.dump_inputs({"x": 1}) == b'{"x":1,"y":2,"note":null}'
    assert interface.dump_inputs({"y": 2, "x": 1}) == interface.dump_inputs({"x": 1})
    assert interface.load_inputs(b' {"x": 1}\n') == {"x": 1, "y": 2, "note": None}


def test_a_default_of_none_makes_a_type_optional() -> None:
    """``x: int = None`` takes ``None``, as people mean it."""
    namespace: dict[str, Any] = {}
    exec("def f(x: int = None): ...", namespace)
    interface = Interface.from_function(namespace["f"])
    assert interface.load_inputs(interface.dump_inputs({"x": None})) == {"x": None}
    assert interface.inputs[0].default_json == "null"


def test_a_default_that_cannot_be_written_stays_with_the_function() -> None:
    """A sentinel as default is left out of the document and given back when it is read."""
    sentinel = object()

    def f(x: int = sentinel) -> None: ...  # type: ignore[assignment]

    interface = Interface.from_function(f)
    assert interface.inputs[0].default_json is None
    assert interface.dump_inputs({}) == b"{}"
    assert interface.load_inputs(b"{}")["x"] is sentinel


def test_inputs_that_do_not_fit_are_refused() -> None:
    """The message names the function, the parameter, the expected type and the value, which is shortened."""
    interface = Interface.from_function(fetch)
    point, when = shapes.Point(1), datetime.min
    for values, message in [
        ({"when": "now", "point": point}, r"fetch: parameter 'when': expected datetime, got str 'now'"),
        ({"when": when, "point": {"x": 1}}, r"parameter 'point': expected Point, .*\(pass Point\(…\)\)"),
        ({"when": when, "point": shapes.Point("a" * 500)}, r"at \.x: expected int, got str 'a{10,80}"),  # type: ignore[arg-type]
        ({"when": when}, r"fetch: parameter 'point' is missing; it takes when, point"),
        ({"when": when, "point": point, "z": 1}, r"fetch: there is no parameter 'z'"),
    ]:
        with pytest.raises(RuntimeDataValidationError, match=message) as caught:
            interface.dump_inputs(values)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a JSON document"),
        (b"[1]", "expected an object"),
        (b'{"x":NaN}', "NaN is not JSON"),
        (b'{"x":1.0}', "parameter 'x': expected int, got float 1.0"),
        (b'{"x":1,"q":2}', "no parameter 'q'"),
        (b"{}", "parameter 'x' is missing"),
        (b"\xff", "not a JSON document"),
    ],
)
def test_documents_that_do_not_fit_are_refused(data: bytes, message: str) -> None:
    """A document from elsewhere is checked like a value."""
    with pytest.raises(RuntimeDataValidationError, match=message):
        Interface.from_function(add).load_inputs(data)


def test_outputs_document_must_be_complete() -> None:
    """A missing output is named."""
    with pytest.raises(RuntimeDataValidationError, match="pair: output 'o1' is missing"):
        Interface.from_function(pair).load_outputs(b'{"o0":1}')
