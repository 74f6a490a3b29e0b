"""Codecs of types that are one of several: enums, literals, unions."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from flyte._types._canonical import TAG, sort_key
from flyte._types._codec import RANK_CHOICE, Codec, Definitions
from flyte._types._mismatch import Mismatch
from flyte._types._moves import probing

_PLAIN = (str, int, bool, type(None))


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or (type(value) is float and value - value == 0.0)


class EnumCodec(Codec):
    """An enum: by value where all values are plain JSON, else by name; a flag by its number."""

    rank = RANK_CHOICE

    def __init__(self, cls: type[enum.Enum]) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.is_flag = issubclass(cls, enum.Flag)
        members = list(cls)
        self.by_value = self.is_flag or all(_is_plain(member.value) for member in members)
        self.forms = {(type(form), form): member for member in members for form in (self._form(member),)}
        names = "|".join(member.name for member in members)
        self.label = "INTEGER" if self.is_flag else f"ENUM[{names}]"
        self.numeric_keys = bool(members) and all(type(self._form(member)) is int for member in members)

    @property
    def identity(self) -> str:
        return f"{self.cls.__module__}.{self.cls.__qualname__}"

    def _form(self, member: Any) -> Any:
        return member.value if self.by_value else member.name

    def encode(self, value: Any, exact: bool = False) -> Any:
        if isinstance(value, self.cls):
            return self._form(value)
        raise Mismatch(self._expected(), value)

    def decode(self, obj: Any) -> Any:
        try:
            return self.forms[type(obj), obj]
        except (KeyError, TypeError):
            pass
        if self.is_flag and type(obj) is int:
            try:
                return self.cls(obj)
            except ValueError:
                pass
        raise Mismatch(self._expected(), obj)

    def _expected(self) -> str:
        forms = ", ".join(repr(self._form(member)) for member in list(self.cls)[:12])
        return f"{self.name} ({forms}{', …' if len(self.cls) > 12 else ''})"

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        if self.is_flag:
            return {"type": "integer"}
        forms = [self._form(member) for member in self.cls]
        return definitions.reference(self, lambda: {"title": self.name, "enum": forms})

    def sample(self, depth: int = 0) -> Any:
        return next((self._form(member) for member in self.cls), 0)


class LiteralCodec(Codec):
    """``Literal[...]``: each value in its plain form, tagged where two would look the same."""

    rank = RANK_CHOICE

    def __init__(self, values: Sequence[Any], untyped: Codec) -> None:
        self.values = tuple(values)
        self.name = " | ".join(repr(getattr(value, "value", value)) for value in self.values)
        self.label = "ENUM[" + "|".join(str(getattr(value, "value", value)) for value in self.values) + "]"
        self.names: dict[str, Any] = {}
        """Other words for the values, such as the names of an enum that is known by its values only."""
        self.forms: dict[str, Any] = {}
        self.written: list[tuple[Any, Any]] = []
        # Plain values first: an enum's member gives way to the text or number that it would be written as.
        for value in sorted(self.values, key=lambda value: isinstance(value, enum.Enum)):
            tagged = untyped.encode(value)
            plain = value.value if isinstance(value, enum.Enum) and _is_plain(value.value) else tagged
            form = tagged if sort_key(plain) in self.forms else plain
            self.forms[sort_key(form)] = value
            self.written.append((value, form))

    def encode(self, value: Any, exact: bool = False) -> Any:
        for candidate, form in self.written:
            if type(candidate) is type(value) and candidate == value:
                return form
        raise Mismatch(self.name, value)

    def decode(self, obj: Any) -> Any:
        try:
            return self.forms[sort_key(obj)]
        except (KeyError, ValueError):
            raise Mismatch(self.name, obj) from None

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        forms = [form for _, form in self.written]
        return {"const": forms[0]} if len(forms) == 1 else {"enum": forms}

    def sample(self, depth: int = 0) -> Any:
        return self.written[0][1]


class UnionCodec(Codec):
    """A union. The member is named only where another one, tried before it, would read the same form."""

    def __init__(self, members: Sequence[Codec]) -> None:
        flat: list[Codec] = []
        for member in members:
            flat += member.members if isinstance(member, UnionCodec) else [member]
        self.members: list[Codec] = sorted(flat, key=lambda member: member.rank)
        self.name = " | ".join(member.name for member in flat)
        self.label = "|".join(dict.fromkeys(m.label for m in flat if m.label != "NONE"))
        self.rank = max(member.rank for member in flat)
        names = [member.name for member in self.members]
        self.tags = [m.name if names.count(m.name) == 1 else m.identity for m in self.members]

    @property
    def identity(self) -> str:
        return " | ".join(member.identity for member in self.members)

    def encode(self, value: Any, exact: bool = False) -> Any:
        inner: list[Mismatch] = []
        for strict in (True,) if exact else (True, False):
            for index, member in enumerate(self.members):
                try:
                    form = member.encode(value, strict)
                except Mismatch as mismatch:
                    inner.append(mismatch)
                    continue
                return self._marked(index, form)
        raise self._refusal(value, inner)

    def _marked(self, index: int, form: Any) -> Any:
        chosen = self.members[index]
        tagged = isinstance(form, dict) and form.get(TAG) == "union"
        if not tagged and form is not None:
            for position, other in enumerate(self.members):
                if other.rank > chosen.rank:
                    break
                if position != index and other.knows(form) and _accepts(other, form):
                    tagged = True
                    break
        return {TAG: "union", "member": self.tags[index], "value": form} if tagged else form

    def decode(self, obj: Any) -> Any:
        candidates = self.members
        if isinstance(obj, dict) and obj.get(TAG) == "union" and "value" in obj:
            candidates = [
                member
                for tag, member in zip(self.tags, self.members, strict=True)
                if tag == obj.get("member")
            ]
            obj = obj["value"]
        inner: list[Mismatch] = []
        for close in (True, False):
            for member in candidates:
                if member.knows(obj) is not close:
                    continue
                try:
                    return member.decode(obj)
                except Mismatch as mismatch:
                    inner.append(mismatch)
        raise self._refusal(obj, inner)

    def _refusal(self, value: Any, inner: list[Mismatch]) -> Mismatch:
        """The mismatch of the one member that came close, or of the union with what each said."""
        close = {str(mismatch): mismatch for mismatch in inner if mismatch.path or mismatch.reason}
        if len(close) == 1:
            return next(iter(close.values()))
        return Mismatch(self.name, value, "; ".join(close)[:300])

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"anyOf": [member.schema(definitions) for member in self.members]}

    def sample(self, depth: int = 0) -> Any:
        return next((s for s in (member.sample(depth) for member in self.members) if s is not None), None)


def _accepts(codec: Codec, form: Any) -> bool:
    token = probing.set(True)
    try:
        codec.decode(form)
    except Mismatch:
        return False
    finally:
        probing.reset(token)
    return True
