"""Column types and checks that many tables share."""

from typing import Annotated, Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import MappedColumn, mapped_column

Ref = Annotated[str, mapped_column(String(64))]
"""An id of a row that a foreign key cannot name: of several tables, or of the outside world."""
Word = Annotated[str, mapped_column(String(32))]
Name = Annotated[str, mapped_column(String(200))]
Note = Annotated[str, mapped_column(String(2_000))]
Person = Annotated[str, mapped_column(String(300))]
"""``issuer|subject``."""
Currency = Annotated[str, mapped_column(String(3))]
Digest = Annotated[str, mapped_column(String(64))]
"""SHA-256 in hex."""


def to(table: str, *, index: bool = False) -> MappedColumn[Any]:
    """A foreign key to the table's id."""
    return mapped_column(ForeignKey(f"{table}.id"), index=index)


def one_of(column: str, words: tuple[str, ...]) -> CheckConstraint:
    """The column holds one of the words (or nothing, where it may be null)."""
    return CheckConstraint(f"{column} in ({quoted(words)})", name=column)


def none_of(column: str, words: tuple[str, ...]) -> str:
    """The condition of an index: the column holds none of the words."""
    return f"{column} not in ({quoted(words)})"


def any_of(column: str, words: tuple[str, ...]) -> str:
    """The condition of an index: the column holds one of the words."""
    return f"{column} in ({quoted(words)})"


def index_where(name: str, condition: str, *columns: str) -> Index:
    """An index of the rows that fit. It is used by a query only that states the condition in these
    very words, ``text(condition)``: of a parameter no database knows what it will be."""
    where = text(condition)
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


def not_negative(*columns: str) -> CheckConstraint:
    return CheckConstraint(" and ".join(f"{name} >= 0" for name in columns), name="not_negative")


def positive(*columns: str) -> CheckConstraint:
    return CheckConstraint(" and ".join(f"{name} > 0" for name in columns), name="positive")


def a_currency() -> CheckConstraint:
    return CheckConstraint("length(currency) = 3", name="currency")


def on_earth() -> CheckConstraint:
    return CheckConstraint(
        "lat_e6 between -90000000 and 90000000 and lon_e6 between -180000000 and 180000000",
        name="on_earth",
    )


def unique_where(name: str, condition: str, *columns: str) -> Index:
    """At most one row for these columns among those of the condition."""
    where = text(condition)
    return Index(name, *columns, unique=True, sqlite_where=where, postgresql_where=where)


def quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)
