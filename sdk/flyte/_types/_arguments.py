"""Values from the text that people type on the command line."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path, PurePath
from typing import Any

from flyte._types._canonical import DocumentError, loads
from flyte._types._choices import EnumCodec, LiteralCodec, UnionCodec
from flyte._types._codec import RANK_ANY, RANK_INT, RANK_NONE, RANK_OPAQUE, RANK_STR, RANK_TEXT, Codec
from flyte._types._compile import OpaqueCodec, codec_for
from flyte._types._describe import label_of
from flyte._types._from_schema import SpelledCodec
from flyte._types._mismatch import Mismatch
from flyte._types._scalars import BoolCodec, FloatCodec, IntCodec, StrCodec
from flyte._types._tags import UntypedCodec
from flyte._types._texts import TEXTS, PathCodec, TextCodec
from flyte._types._times import duration_from_argument

_BOOLEANS = {
    "true": True,
    "yes": True,
    "1": True,
    "on": True,
    "false": False,
    "no": False,
    "0": False,
    "off": False,
}
_REFERENCES = frozenset({"FILE", "DIRECTORY", "DATAFRAME"})
"""Labels of what is referred to."""
_DOCUMENT_SUFFIXES = (".json", ".yaml", ".yml")
_EXAMPLES = {
    "DURATION": "1h30m",
    "BYTES": "hello or @data.bin",
    "BOOLEAN": "true",
    "DATETIME": "2025-01-31T12:00:00 or now",
}


def parse_argument(text: str, annotation: Any) -> Any:
    """The value that a command-line argument stands for.

    Scalars are read as people write them: ``yes``, ``now``, ``1h30m``, an enum's name, seconds.
    What has parts is JSON, a path of a JSON or YAML file, ``@file``, or ``-`` or ``@-`` for standard input.
    ``null`` is ``None`` where the type allows it.

    Args:
        text: What was typed.
        annotation: The parameter's type.

    Raises:
        ValueError: The text does not fit. One line with the expected type, the text, and an example.
        TypeError: The annotation is not a type.
    """
    codec = codec_for(annotation)
    try:
        return _parsed(text, codec)
    except (Mismatch, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(_complaint(text, codec, error)) from None


def _complaint(text: str, codec: Codec, error: Exception) -> str:
    shown = repr(text if len(text) <= 60 else text[:59] + "…")
    if isinstance(codec, OpaqueCodec):
        return f"expected {codec.name}, which no text can stand for; start the task from Python to pass one"
    detail = ""
    if isinstance(error, Mismatch):
        detail = f" ({error})" if error.path else f" ({error.reason})" if error.reason else ""
    elif isinstance(error, (_FileError, DocumentError)):
        detail = f" ({error})"
    return f"expected {label_of(codec)} ({codec.name}), got {shown}{detail}; for example {_example(codec)}"


def _example(codec: Codec) -> str:
    if codec.label in _EXAMPLES:
        return _EXAMPLES[codec.label]
    if isinstance(codec, EnumCodec) and not codec.is_flag:
        return next((member.name for member in codec.cls), "")
    sample = codec.sample()
    return sample if isinstance(sample, str) else json.dumps(sample)


def _parsed(text: str, codec: Codec) -> Any:
    if isinstance(codec, SpelledCodec):
        codec = codec.inner
    if isinstance(codec, UnionCodec):
        return _of_union(text, codec)
    validated = getattr(codec, "validated", None)
    if validated is not None:
        return validated(_parsed(text, codec.inner))  # type: ignore[attr-defined]
    for kind, parse in _PARSERS:
        if isinstance(codec, kind):
            return parse(text, codec)
    if isinstance(codec, OpaqueCodec):
        raise Mismatch(codec.name, text)
    if codec.label in _REFERENCES:
        return _of_reference(text, codec)
    return _of_document(text, codec)


def _of_reference(text: str, codec: Codec) -> Any:
    """A file, directory or data frame: a path of this machine, a URL, or a reference as JSON."""
    if text.startswith("{"):
        return codec.decode(loads(text))
    if "://" not in text:
        path = Path(text).expanduser()
        if not (
            path.is_dir()
            if codec.label == "DIRECTORY"
            else path.exists()
            if codec.label == "DATAFRAME"
            else path.is_file()
        ):
            what = (
                "is not a directory"
                if path.is_file()
                else "is a directory"
                if path.is_dir()
                else "does not exist"
            )
            raise _FileError(f"{text} {what}")
        text = str(path.absolute())
    from flyte.io._codecs import handle_of  # only where a task has bulk data

    return handle_of(codec, text)


def _of_bool(text: str, codec: Any) -> bool:
    return _BOOLEANS[key] if (key := text.strip().lower()) in _BOOLEANS else _reject(text, codec)


def _of_int(text: str, codec: Any) -> int:
    return int(text, 0 if text.strip().lower()[:2] in ("0x", "0b", "0o") else 10)


def _of_text(text: str, codec: TextCodec) -> Any:
    now = datetime.now()  # noqa: DTZ005, naive local time, like what ISO text without an offset gives
    word = text.strip().lower()
    if codec.cls is datetime and word in ("now", "today"):
        return now if word == "now" else datetime.combine(now.date(), time())
    if codec.cls is date and word in ("now", "today"):
        return now.date()
    if codec is TEXTS.get(bytes) or codec.cls is bytearray:
        return codec.cls(_bytes_of(text))
    if codec.label == "DURATION":
        return duration_from_argument(text)
    return codec.decode(text if isinstance(codec, PathCodec) else text.strip())


def _of_enum(text: str, codec: EnumCodec) -> Any:
    members = codec.cls.__members__
    if text in members:
        return members[text]
    matches: list[Any] = [member for member in codec.cls if str(member.value) == text]
    matches = matches or [member for name, member in members.items() if name.lower() == text.lower()]
    if matches:
        return matches[0]
    if codec.is_flag:
        return codec.decode(int(text))
    raise Mismatch(codec.name, text, "one of " + ", ".join(members))


def _of_literal(text: str, codec: LiteralCodec) -> Any:
    if text in codec.names:
        return codec.names[text]
    for value in codec.values:
        plain = value.value if isinstance(value, enum.Enum) else value
        spelled = (
            {True: "true", False: "false", None: "null"}[plain]
            if plain is None or plain is True or plain is False
            else ""
        )
        if text in (str(plain), spelled) or (isinstance(value, enum.Enum) and text == value.name):
            return value
    raise Mismatch(codec.name, text)


def _of_anything(text: str, codec: Codec) -> Any:
    text = "@-" if text == "-" else text
    if text.startswith("@"):
        return codec.decode(_document(text))
    try:
        return codec.decode(loads(text))
    except DocumentError:
        return text


def _of_union(text: str, codec: UnionCodec) -> Any:
    ranks = {member.rank for member in codec.members}
    if RANK_NONE in ranks:
        words = (
            ("null",)
            if any(isinstance(member, StrCodec) for member in codec.members)
            else ("null", "none", "")
        )
        if text.strip().lower() in words:
            return None
    complaints = []
    for member in sorted(codec.members, key=_typing_order):
        if member.rank == RANK_NONE:
            continue
        if isinstance(member, BoolCodec) and text.strip() in ("0", "1") and RANK_INT in ranks:
            continue
        try:
            return _parsed(text, member)
        except (Mismatch, ValueError, OverflowError) as error:
            complaints.append(error)
    if len(complaints) == 1:
        raise complaints[0]
    raise Mismatch(
        codec.name, text, next((str(e) for e in complaints if isinstance(e, Mismatch) and e.path), "")
    )


def _typing_order(member: Codec) -> int:
    """What has parts is tried before plain text, which takes anything; paths and bytes come after it."""
    if isinstance(member, StrCodec):
        return RANK_OPAQUE + 1
    if isinstance(member, PathCodec) or member.label == "BYTES":
        return RANK_OPAQUE + 2
    return {RANK_STR: RANK_TEXT, RANK_OPAQUE: RANK_OPAQUE, RANK_ANY: RANK_OPAQUE + 3}.get(
        member.rank, member.rank
    )


def _of_document(text: str, codec: Codec) -> Any:
    text = "@-" if text == "-" else text
    if text.startswith("@"):
        return codec.decode(_document(text))
    if text.lower().endswith(_DOCUMENT_SUFFIXES) and Path(text).is_file():
        return codec.decode(_document("@" + text))
    try:
        form = loads(text)
    except DocumentError as error:
        if codec.__class__.__name__ != "PydanticCodec":
            raise DocumentError(f"{error}; write JSON, or @FILE to read it from a file") from None
        form = text
    return codec.decode(form)


class _FileError(ValueError):
    """A file that an argument names cannot be read."""


def _bytes_of(text: str) -> bytes:
    if not text.startswith("@") and text != "-":
        return text.encode()
    if text in ("@-", "-"):
        return sys.stdin.buffer.read()
    try:
        return Path(text[1:]).expanduser().read_bytes()
    except OSError as error:
        raise _FileError(f"cannot read {text[1:]}: {error.strerror or error}") from None


def _document(text: str) -> Any:
    """The JSON-ready object in a file: JSON, or YAML when it is not JSON."""
    raw = _bytes_of(text)
    try:
        return loads(raw)
    except DocumentError as error:
        if text.lower().endswith(".json"):
            raise _FileError(f"{text[1:]}: {error}") from None
    import yaml  # only for files that are not JSON: it takes time to load

    try:
        return _json_ready(yaml.safe_load(raw))
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise _FileError(f"{text[1:]} is neither JSON nor YAML: {problem}") from None


def _json_ready(obj: Any) -> Any:
    """What YAML reads, as JSON would have it: times and keys as text."""
    if isinstance(obj, dict):
        return {
            key if isinstance(key, str) else _key_text(key): _json_ready(value) for key, value in obj.items()
        }
    if isinstance(obj, (list, set)):
        return [_json_ready(item) for item in obj]
    if isinstance(obj, float):
        return codec_for(float).encode(obj)
    return codec_for(type(obj)).encode(obj) if isinstance(obj, (date, datetime, bytes, PurePath)) else obj


def _key_text(key: Any) -> str:
    form = _json_ready(key)
    return form if isinstance(form, str) else json.dumps(form)


def _reject(text: str, codec: Codec) -> Any:
    raise Mismatch(codec.name, text)


_PARSERS: tuple[tuple[type[Codec], Callable[[str, Any], Any]], ...] = (
    (StrCodec, lambda text, codec: text),
    (BoolCodec, _of_bool),
    (IntCodec, _of_int),
    (FloatCodec, lambda text, codec: float(text)),
    (TextCodec, _of_text),
    (EnumCodec, _of_enum),
    (LiteralCodec, _of_literal),
    (UntypedCodec, _of_anything),
)
