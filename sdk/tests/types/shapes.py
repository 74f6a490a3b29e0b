"""Classes of every kind that tasks take and return, at module level so that they can be imported."""

from __future__ import annotations

import dataclasses
import enum
import threading
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar, Union

from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    field_validator,
)
from typing_extensions import NotRequired

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(str, enum.Enum):
    YES = "y"
    NO = "n"


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Odd(enum.Enum):
    A = (1, 2)
    B = b"x"


class Mixed(enum.Enum):
    ONE = 1
    TEXT = "1"


@dataclass
class Point:
    x: int
    y: float = 0.5


@dataclass
class Point3(Point):
    z: int = 0


@dataclass(frozen=True)
class Frozen:
    when: datetime
    tags: frozenset[str] = frozenset()


@dataclass
class Nested:
    points: list[Point]
    best: Optional[Point] = None
    by_name: dict[str, Point] = field(default_factory=dict)
    where: Path = Path("a/b")
    raw: bytes = b""
    anything: Any = None


@dataclass
class Node:
    value: int
    next: Optional[Node] = None
    children: list[Node] = field(default_factory=list)


@dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = field(default_factory=list)


@dataclass
class IntBox(Box[int]):
    pass


@dataclass
class Doubled:
    x: int

    def __post_init__(self) -> None:
        self.x *= 2


@dataclass
class Computed:
    x: int
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        self.twice = self.x * 2


@dataclass
class Seeded:
    x: int = field(init=False)
    seed: InitVar[int]

    def __post_init__(self, seed: int) -> None:
        self.x = seed + 1


@dataclass
class Picky:
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x must not be negative")


@dataclass(frozen=True)
class Slotted:
    __slots__ = ("x",)
    x: int


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Partial(TypedDict, total=False):
    when: date


class Item(BaseModel):
    name: str
    price: float = 1.0
    when: Optional[datetime] = None
    tags: set[str] = set()
    raw: bytes = b""


class SpecialItem(Item):
    level: Level = Level.LOW


class Order(BaseModel):
    items: list[Item]
    by_id: dict[int, Item] = {}
    total: float = Field(0.0, ge=0)


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    user_id: int = Field(alias="userId")
    choice: str = Field("c", validation_alias=AliasChoices("choice", "option"))


class Pathed(BaseModel):
    first: int = Field(validation_alias=AliasPath("all", 0))


class Tagged(BaseModel):
    kind: Literal["instance", "other"] = Field(alias="$type")
    n: int = 0


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str = ""


class Owner(BaseModel):
    pet: Union[Cat, Dog] = Field(discriminator="kind")


class Counting(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def plus_one(cls, n: int) -> int:
        return n + 1


class Lenient(BaseModel):
    parts: list[int]

    @field_validator("parts", mode="before")
    @classmethod
    def split(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value


class Private(BaseModel):
    x: int
    _secret: int = PrivateAttr(default=0)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


class Ids(RootModel[list[int]]):
    pass


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Wrapped(BaseModel, Generic[T]):
    item: T


@dataclass
class A:
    x: int


@dataclass
class B:
    x: int


@dataclass
class HasLock:
    lock: Any = dataclasses.field(default_factory=threading.Lock)


class Plain:
    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and other.x == self.x

    def __hash__(self) -> int:
        return hash(self.x)


Positive = Annotated[int, Field(gt=0)]
