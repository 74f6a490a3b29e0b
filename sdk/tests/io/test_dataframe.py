"""Data frames of three libraries: stored, read in any of them, in pieces, with their columns and hashes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Any, Optional, Union

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flyte
from flyte import errors
from flyte._local import run_local
from flyte._types import codec_for, digest, dumps
from flyte.io import DataFrame, HashFunction, _frames, kwtypes

CLASSES = [pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.Table]
DATA = {"n": [1, 2, 3], "text": ["a", None, "c"], "x": [0.5, float("nan"), 2.0]}

env = flyte.TaskEnvironment("frames")


@env.task
def whatever(frame: DataFrame) -> int:
    """Takes any frame."""
    return 1


def made(cls: type, data: dict[str, list[Any]] = DATA) -> Any:
    """The data as a frame of a class."""
    return pa.table(data) if cls is pa.Table else cls(data)


def rows(frame: Any) -> str:
    """What is in a frame, whatever its class."""
    table = _frames.convert(frame, _frames.library_of(pa.Table))
    return str({name: table.column(name).to_pylist() for name in table.column_names})


@pytest.mark.parametrize("written", CLASSES)
@pytest.mark.parametrize("read", CLASSES)
@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_any_library_reads_what_any_wrote(written, read, form):
    """A frame goes through Parquet and CSV from each library to each."""
    data = {"n": [1, 2, 3], "text": ["a", "b", "c"]}
    form_of = codec_for(Annotated[written, form]).encode(made(written, data))
    assert form_of["format"] == form
    assert [column["name"] for column in form_of["columns"]] == ["n", "text"]
    value = codec_for(read).decode(form_of)
    assert isinstance(value, read)
    assert rows(value) == rows(made(read, data))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.one_of(st.none(), st.text(max_size=5)), st.booleans()),
        max_size=6,
    ),
    st.sampled_from(CLASSES),
)
def test_values_come_back_exactly(items, cls):
    """Numbers, text, missing text and booleans are the same after a round trip, and equal frames have one digest."""
    schema = pa.schema([("i", pa.int64()), ("s", pa.string()), ("b", pa.bool_())])
    table = pa.Table.from_pylist([dict(zip("isb", item, strict=True)) for item in items], schema=schema)
    frame = _frames.convert(table, _frames.library_of(cls))
    codec = codec_for(cls)
    form = codec.encode(frame)
    assert rows(codec.decode(form)) == rows(frame)
    assert digest(dumps(form)) == digest(dumps(codec.encode(codec.decode(form))))


def test_pandas_keeps_index_and_types(monkeypatch):
    """Index, missing values and times of a frame of pandas survive, also when it is stored in several pieces."""
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(["2025-01-01", None, "2025-01-03"]),
            "n": pd.array([1, None, 3], dtype="Int64"),
        },
        index=pd.Index(["a", "b", "c"], name="key"),
    )
    monkeypatch.setattr(_frames, "_GROUP_BYTES", 40)
    codec = codec_for(pd.DataFrame)
    form = codec.encode(frame)
    pd.testing.assert_frame_equal(codec.decode(form), frame)
    assert len(list(DataFrame._from_form(form).open(pd.DataFrame).iter_sync())) > 1


@pytest.mark.parametrize(
    "columns",
    [[0, 1], ["a", 1], [None, "a"], pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), ["", "a"]],
    ids=["numbers", "mixed", "none", "levels", "empty"],
)
@pytest.mark.filterwarnings("ignore:The DataFrame has column names of mixed type")
def test_pandas_columns_need_no_text(columns):
    """Frames whose columns are not named by text are stored, piece by piece; names of one type come back."""
    frame = pd.DataFrame([[1, 2], [3, 4]], columns=columns)
    value = codec_for(pd.DataFrame).decode(codec_for(pd.DataFrame).encode(frame))
    assert value.to_numpy().tolist() == [[1, 2], [3, 4]]
    if not isinstance(columns, list) or len({type(name) for name in columns}) == 1:
        pd.testing.assert_frame_equal(frame, value)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "it has several columns 'a': rename them"),
        (pa.table([[1], [2]], names=["a", "a"]), "it has several columns 'a': rename them"),
        (pd.DataFrame({"n": [1], "a": [object()]}), "column 'a': Could not convert"),
        (pd.DataFrame({"n": [1, 2], "a": [1, "x"]}), "column 'a': .* make it of one type"),
        (pl.DataFrame({"o": [object()]}), "make its columns of types that Parquet has"),
    ],
    ids=["pandas", "arrow", "objects", "mixed", "polars"],
)
def test_what_no_file_can_hold(frame, said):
    """A frame that cannot be stored is refused with the column and what to do."""
    with pytest.raises(errors.RuntimeDataValidationError, match=said):
        run_local(whatever, frame)


@pytest.mark.parametrize("cls", CLASSES)
async def test_handles(cls, monkeypatch):
    """A handle reads the whole or pieces in the chosen library, and tells its columns without reading."""
    monkeypatch.setattr(_frames, "_GROUP_BYTES", 1000)
    frame = made(cls, {"n": list(range(1000)), "m": list(range(1000))})
    stored = await DataFrame.from_local(frame, columns=["n"])
    assert list(stored.columns) == ["n"]
    assert stored.format == "parquet"
    assert stored.hash
    assert rows(await stored.open(pa.Table).all()) == rows(made(pa.Table, {"n": list(range(1000))}))
    if cls is not pl.LazyFrame:  # which is written as the library likes
        parts = [part async for part in stored.open(pl.DataFrame).iter()]
        assert len(parts) > 1
        assert sum(part.height for part in parts) == 1000
    fresh = DataFrame.from_df(frame)
    assert fresh.uri is None
    assert rows(fresh.open(pd.DataFrame).all_sync()) == rows(frame)
    with pytest.raises(ValueError, match=r"await frame\.open"):
        await stored.all()
    with pytest.raises(TypeError, match="no class of data frames"):
        stored.open(dict)
    with pytest.raises(TypeError, match="no data frame"):
        DataFrame.from_df([1])
    assert DataFrame.wrap_df(frame).columns == fresh.columns


def test_files_and_directories_of_others(tmp_path):
    """Parquet and CSV files that others wrote are read by their suffix, a directory of them as one frame."""
    for number in (1, 2):
        pd.DataFrame({"a": [number]}).to_parquet(tmp_path / f"{number}.parquet")
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "x.csv", index=False)
    whole = DataFrame.from_existing_remote(f"file://{tmp_path}/")
    (tmp_path / "x.csv").rename(tmp_path.parent / "x.csv")
    assert whole.open(pd.DataFrame).all_sync()["a"].tolist() == [1, 2]
    assert sum(len(part) for part in whole.open(pd.DataFrame).iter_sync()) == 2
    csv = DataFrame.from_local_sync(tmp_path.parent / "x.csv")
    assert csv.format == "csv"
    assert csv.open(pl.DataFrame).all_sync()["a"].to_list() == [1]
    with pytest.raises(errors.RuntimeUserError, match="there is no file"):
        DataFrame.from_existing_remote(f"file://{tmp_path}/nope.parquet").open(pa.Table).all_sync()
    with pytest.raises(ValueError, match="format='orc'"):
        DataFrame.from_existing_remote("s3://b/k", format="orc")


@pytest.mark.parametrize("cls", CLASSES)
def test_columns_are_chosen(cls):
    """An annotation with columns reads and writes only those, and names what is missing."""
    form = codec_for(cls).encode(made(cls))
    for columns in (OrderedDict(x=float, n=int), kwtypes(x=float, n=int)):
        value = codec_for(Annotated[cls, columns]).decode(form)
        assert list(_frames.library_of(cls).columns(value)) == ["x", "n"]
    written = codec_for(Annotated[cls, kwtypes(n=int)]).encode(made(cls))
    assert [column["name"] for column in written["columns"]] == ["n"]


@env.task
def wants(frame: Annotated[pd.DataFrame, kwtypes(zip=int)]) -> int:
    """Takes a column that is not there."""
    return len(frame)


def test_a_missing_column_is_named():
    """Who reads columns that a frame has not gets their names, and those that there are."""
    run = run_local(wants, frame=DataFrame.from_local_sync(made(pd.DataFrame)))
    assert "no column 'zip'" in str(run.error)
    assert "n, text, x" in str(run.error)


def test_unions_choose_by_the_library():
    """Of several classes of frames a value keeps its own."""
    codec = codec_for(Union[pd.DataFrame, pl.DataFrame, None])
    for cls in (pd.DataFrame, pl.DataFrame):
        assert isinstance(codec.decode(codec.encode(made(cls))), cls)
    assert codec.encode(None) is None
    optional = codec_for(Optional[pa.Table])
    assert optional.decode(optional.encode(made(pa.Table))).num_rows == 3


def test_what_is_no_frame():
    """A value of another type is refused with both types; a format that nobody knows is an error of the annotation."""
    with pytest.raises(Exception, match=r"expected pandas\.DataFrame, got list"):
        codec_for(pd.DataFrame).encode([1])
    with pytest.raises(TypeError, match="orc"):
        codec_for(Annotated[pd.DataFrame, "orc"])


def test_hashes_count_instead_of_locations():
    """Equal frames have equal digests wherever they are, and a hash function of the user's decides alone."""
    codec = codec_for(pd.DataFrame)
    first, second = codec.encode(made(pd.DataFrame)), codec.encode(made(pd.DataFrame))
    assert first != second
    assert digest(dumps(first)) == digest(dumps(second))
    by_length = codec_for(Annotated[pd.DataFrame, HashFunction.from_fn(lambda frame: str(len(frame)))])
    one, other = by_length.encode(pd.DataFrame({"a": [1]})), by_length.encode(pd.DataFrame({"a": [2]}))
    assert one["hash"] == "1"
    assert digest(dumps(one)) == digest(dumps(other))
    with pytest.raises(TypeError, match="must give text"):
        codec_for(Annotated[pd.DataFrame, HashFunction.from_fn(len)]).encode(made(pd.DataFrame))


def test_a_missing_library_is_named(monkeypatch):
    """Without pyarrow a frame of pandas fails with the package to add and where."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(errors.RuntimeUserError, match=r'with_pip_packages\("pyarrow"\)') as caught:
        codec_for(pd.DataFrame).encode(made(pd.DataFrame))
    assert caught.value.code == "MissingPackage"
