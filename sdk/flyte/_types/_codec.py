"""What every codec is: one type's way to JSON and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Compile = Callable[[Any], "Codec"]

# The order in which the members of a union are tried, most specific first. Equal ones are told apart by
# what they accept; neither has precedence, since `typing` does not keep the order a union was spelled in.
RANK_NONE, RANK_BOOL, RANK_INT, RANK_FLOAT, RANK_CHOICE, RANK_TEXT, RANK_STR = range(7)
RANK_STRUCTURE, RANK_LIST, RANK_TUPLE, RANK_SET, RANK_FROZENSET, RANK_DICT = range(10, 16)
RANK_OTHER, RANK_OPAQUE, RANK_ANY = range(20, 23)


class Definitions(dict[str, Any]):
    """The named schemas that a schema refers to."""

    def __init__(self) -> None:
        super().__init__()
        self._owners: dict[str, Codec] = {}

    def reference(self, codec: Codec, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A reference to a codec's schema, which is made at its first use. Types of one name get a number."""
        key, count = codec.name, 1
        while self._owners.get(key, codec).identity != codec.identity:
            count += 1
            key = f"{codec.name}_{count}"
        if key not in self._owners:
            self._owners[key] = codec
            self[key] = {}  # before it is made, since a type may refer to itself
            self[key] = make()
        return {"$ref": f"#/$defs/{key}"}


class Codec:
    """Writes values of one type as JSON-ready objects and reads them back, exactly.

    Attributes:
        name: The type as people read it in messages, such as ``list[int]``.
        label: The type as the command line shows it, such as ``INTEGER``.
        rank: When a union tries this member, see the constants above.
        numeric_keys: Values are written as JSON numbers or booleans, whose text serves as a key of an object.
        identity: The type, spelled with modules; what a tagged member of a union is found by.
    """

    name: str = "value"
    label: str = "JSON"
    rank: int = RANK_OTHER
    numeric_keys: bool = False

    @property
    def identity(self) -> str:
        return self.name

    def encode(self, value: Any, exact: bool = False) -> Any:
        """The value as a JSON-ready object.

        Args:
            value: What to write.
            exact: Refuse what would be converted (an int for a float, a subclass for its base).

        Raises:
            Mismatch: The value is not of this type.
        """
        raise NotImplementedError

    def decode(self, obj: Any) -> Any:
        """The value that a JSON-ready object stands for.

        Raises:
            Mismatch: The object is not a form of this type.
        """
        raise NotImplementedError

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        """The JSON Schema of this type. Named types go into ``definitions`` and are referred to."""
        raise NotImplementedError

    def sample(self, depth: int = 0) -> Any:
        """A JSON-ready object of the right form, for messages."""
        return None

    def knows(self, obj: Any) -> bool:
        """Whether everything in an object has a place in this type. Asked by unions before they decode."""
        return True
