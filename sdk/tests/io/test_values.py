"""Files, directories and frames inside of other values, in documents, and in local runs."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional, Union

import pandas as pd
import pydantic
import pytest

import flyte
from flyte import errors
from flyte._local import run_local
from flyte._runtime.lineage import Lineage
from flyte._types import codec_for, digest, dumps, from_jsonable, json_schema, parse_argument, to_jsonable
from flyte._types._moves import off_loop
from flyte.io import DataFrame, Dir, File

env = flyte.TaskEnvironment("values")


@dataclasses.dataclass
class Checked:
    """A dataclass that looks at its frame when it is made."""

    file: File
    frame: pd.DataFrame

    def __post_init__(self) -> None:
        assert len(self.frame) == 2


class Model(pydantic.BaseModel):
    """A model with all kinds of bulk data."""

    file: File[str]
    dirs: list[Dir] = []
    frame: Optional[DataFrame] = None
    named: dict[str, File] = {}


class Pair(NamedTuple):
    """A tuple with a file."""

    file: File
    count: int


REMOTE = File.from_existing_remote("s3://bucket/key.csv")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (File, REMOTE),
        (File[str], File("s3://b/k", "shown.txt", "csv", "h1")),
        (Dir, Dir("s3://b/k/", hash="h")),
        (Dir, Dir.empty()),
        (DataFrame, DataFrame("gs://b/k.csv", columns={"a": "int64"})),
        (list[File], [REMOTE, File("hangar://runs/p/d/r/a0/0/data/x/%2Eenv")]),
        (dict[str, Union[File, Dir, int]], {"a": REMOTE, "b": Dir("hangar://data/x/y/"), "c": 3}),
        (Optional[File], None),
        (tuple[File, int], (REMOTE, 1)),
        (Pair, Pair(REMOTE, 2)),
        (Any, {"any": [REMOTE, Dir("s3://b/k/"), 1]}),
        (list, [REMOTE]),
    ],
)
def test_references_come_back_from_documents(annotation, value):
    """A reference is the same after a round trip, wherever it stands."""
    assert from_jsonable(to_jsonable(value, annotation), annotation) == value
    assert "$defs" in json_schema(annotation) or json_schema(annotation) is not None


def test_the_form_of_a_reference():
    """What is in the store has a key, what is elsewhere a URI, and empty fields are left out."""
    assert to_jsonable(File("hangar://data/x/a b.csv"), File) == {
        "$type": "ref", "kind": "file", "key": "data/x/a b.csv",
    }  # fmt: skip
    assert to_jsonable(REMOTE, File) == {"$type": "ref", "kind": "file", "uri": "s3://bucket/key.csv"}


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"$type": "ref", "kind": "dir", "key": "a/"}, "it refers to a dir"),
        ({"$type": "ref", "kind": "file", "key": "a/"}, "no key of the blob store"),
        ({"$type": "ref", "kind": "file", "key": 7}, "no key of the blob store"),
        ({"$type": "ref", "kind": "file"}, "no key of the blob store"),
        ({"$type": "ref", "kind": "file", "key": "a", "uri": "b"}, None),
        ({"path": "a"}, "a reference, or a path or URI"),
        (7, "a reference, or a path or URI"),
    ],
)
def test_forms_that_are_no_files(form, reason):
    """A reference of another kind, or without a place, is refused with the reason."""
    if reason is None:
        assert from_jsonable(form, File).path == "hangar://a"
        return
    with pytest.raises(errors.RuntimeDataValidationError, match=reason):
        from_jsonable(form, File)


def test_wrong_values_say_how_to_make_a_file(tmp_path):
    """A path in place of a file is refused with what makes one."""
    with pytest.raises(errors.RuntimeDataValidationError, match=r"File.from_local\(…\)"):
        to_jsonable(str(tmp_path), File)


@env.task
async def change(data: Checked, model: Model) -> tuple[Checked, Model]:
    """Adds to both."""
    new = File.new_remote("new.txt")
    async with new.open("w") as opened:
        await opened.write("new")
    model.named["new"] = new
    return Checked(new, data.frame * 2), model


@env.task
async def parent(path: str) -> int:
    """Passes structures with bulk data to a child and looks at what comes back."""
    frame = pd.DataFrame({"a": [1, 2]})
    model = Model(file=File(path), frame=DataFrame.from_df(frame))
    checked, changed = await change(Checked(File(path), frame), model)
    assert changed.frame is not None
    assert len(await changed.frame.open(pd.DataFrame).all()) == 2
    async with changed.named["new"].open("r") as opened:
        assert await opened.read() == "new"
    return int(checked.frame["a"].sum())


def test_structures_in_a_local_run(tmp_path):
    """Dataclasses and models with files and frames pass between tasks; a hook of a dataclass sees the real frame."""
    (tmp_path / "a.txt").write_text("x")
    assert run_local(parent, path=str(tmp_path / "a.txt")).result() == 6


def test_models_read_paths_and_write_references():
    """A Pydantic model takes a path or URI for a file, and its JSON comes back."""
    model = Model.model_validate({"file": "s3://b/k"})
    assert model.file == File("s3://b/k")
    assert Model.model_validate_json(model.model_dump_json()) == model
    assert Model.model_json_schema()["properties"]["file"]["format"] == "file"
    with pytest.raises(pydantic.ValidationError, match="it refers to a dir"):
        Model.model_validate({"file": {"$type": "ref", "kind": "dir", "key": "a/"}})


async def test_frames_never_move_on_an_event_loop():
    """On a loop a frame is stored and read in a thread, and what needs no move is not."""
    import threading

    threads = []
    codec = codec_for(pd.DataFrame)

    def encode(value):
        threads.append(threading.current_thread())
        return codec.encode(value)

    form = await off_loop(encode, pd.DataFrame({"a": [1]}))
    assert threads[0] is threading.main_thread() is not threads[-1]
    assert len(await off_loop(codec.decode, form)) == 1
    assert await off_loop(codec_for(int).encode, 3) == 3


def test_content_hashes_count_instead_of_locations():
    """References with one hash are one input for caches; without a hash the location counts, names never do."""

    def of(**more):
        return digest(dumps({"f": {"$type": "ref", "kind": "file", **more}}))

    assert of(key="a", hash="h") == of(key="b", hash="h", name="n") == of(uri="s3://x", hash="h")
    assert of(key="a") != of(key="b")
    assert of(key="a") == of(key="a", name="n")
    assert of(key="a", hash="h") != of(key="a", hash="i")


def test_lineage_follows_references():
    """An input that refers to what a sibling referred to, or to something below its directory, came from it."""
    lineage = Lineage()
    lineage.learn("maker", dumps({"o0": {"deep": [{"$type": "ref", "kind": "dir", "key": "runs/x/d/"}]}}))
    lineage.learn("other", dumps({"o0": {"$type": "ref", "kind": "file", "key": "runs/y", "hash": "h"}}))
    inputs = {
        "file": {"$type": "ref", "kind": "file", "key": "runs/x/d/sub/f.txt"},
        "same": [{"$type": "ref", "kind": "file", "key": "elsewhere", "hash": "h"}],
        "none": {"$type": "ref", "kind": "file", "key": "runs/x/dd"},
    }
    assert lineage.sources(dumps(inputs)) == [["file", "maker"], ["same", "other"]]


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (File, "nope.csv", "nope.csv does not exist"),
        (File, ".", "is a directory"),
        (Dir, __file__, "is not a directory"),
        (DataFrame, "nope.csv", "does not exist"),
    ],
)
def test_arguments_that_are_not_there(annotation, text, message):
    """A path on the command line that leads nowhere, or to something else, is named."""
    with pytest.raises(ValueError, match=message):
        parse_argument(text, annotation)


def test_arguments(tmp_path, monkeypatch):
    """Paths, URLs and references are read from the command line; frames are not read for that."""
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("x\n1\n")
    assert parse_argument("a.csv", File).path == str(tmp_path / "a.csv")
    assert parse_argument("s3://b/k", Optional[File]).path == "s3://b/k"
    assert parse_argument("null", Optional[File]) is None
    assert parse_argument(".", Dir).path == str(tmp_path)
    assert parse_argument('{"$type":"ref","kind":"file","key":"k"}', File).path == "hangar://k"
    handle = parse_argument("a.csv", pd.DataFrame)
    assert isinstance(handle, DataFrame)
    assert handle.format == "csv"
    assert handle.uri == str(tmp_path / "a.csv")


@env.task
def describes(file: File = File("local.txt"), remote: File = REMOTE, mode: Literal["a"] = "a") -> None:  # noqa: B008
    """Has files as defaults."""


def test_describing_a_task_stores_nothing(raw_data):
    """A default that would have to be stored is left to the worker; one that is stored stands in the definition."""
    inputs = {variable.name: variable.default_json for variable in describes.interface.inputs}
    assert inputs["remote"] == '{"$type":"ref","kind":"file","uri":"s3://bucket/key.csv"}'
    assert not raw_data.exists()


def test_no_data_library_is_imported():
    """Files and directories need no library of frames, and frames of one library do not import another one."""
    code = (
        "import sys, flyte\nimport polars as pl\nfrom flyte._types import codec_for\n"
        "env = flyte.TaskEnvironment('e')\n"
        "@env.task\ndef f(a: flyte.io.File, b: pl.DataFrame, c: flyte.io.DataFrame) -> flyte.io.Dir: ...\n"
        "codec = codec_for(pl.DataFrame)\nassert codec.decode(codec.encode(pl.DataFrame({'a': [1]}))).height == 1\n"
        "f.interface.outputs[0].schema\n"
        "print([name for name in ('pandas', 'pyarrow', 'obstore', 'grpc') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
