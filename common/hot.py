"""Reads that every call pays for: Core statements made once, at import.

On SQLite such a statement is compiled once and goes straight to the driver: most of what SQLAlchemy
adds to a point read is finding out again how to run it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BindParameter, Select
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

DRIVER: Final = "driver"  # where a session says which SQLite connection its reads may use

Processor = Callable[[Any], Any] | None


def rows(session: Session, statement: Select[Any], **values: Any) -> Sequence[Any]:
    """The rows of a statement over tables, not mapped classes. What the session holds unwritten
    is written first, as an ORM query would do. A list is the value of an expanding parameter."""
    if session.info.get("write") and (session.new or session.dirty or session.deleted):
        session.flush()
    driver = session.info.get(DRIVER)
    if driver is not None:
        return _compiled(statement).run(driver, values)
    return session.connection().execute(statement, values).all()


def first(session: Session, statement: Select[Any], **values: Any) -> Any:
    """The first row, or None."""
    found = rows(session, statement, **values)
    return found[0] if found else None


class _Row(tuple[Any, ...]):
    """A tuple whose items have names, too."""

    __slots__ = ()
    names: dict[str, int]

    def __getattr__(self, name: str) -> Any:
        try:
            return self[self.names[name]]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True)
class _Compiled:
    text: str
    names: tuple[str, ...]
    binders: Mapping[str, Callable[[Any], Any]]
    lists: frozenset[str]
    fixed: dict[str, Any]
    readers: tuple[Processor, ...]
    row: type[_Row]

    def run(self, driver: Any, values: dict[str, Any]) -> list[Any]:
        text, given = self.text, []
        for name in self.names:
            value = values[name] if name in values else self.fixed[name]
            bind = self.binders.get(name)
            if name in self.lists:
                items = [bind(item) for item in value] if bind else list(value)
                marks = ", ".join("?" * len(items)) or "SELECT 1 WHERE 0"
                text = text.replace(f"__[POSTCOMPILE_{name}]", marks, 1)
                given += items
            else:
                given.append(bind(value) if bind else value)
        made = self.row
        found = driver.execute(text, given)
        if any(self.readers):
            reading = [read or _as_it_is for read in self.readers]
            return [
                made(read(item) for read, item in zip(reading, each, strict=True)) for each in found
            ]
        return [made(each) for each in found]


def _as_it_is(value: Any) -> Any:
    return value


_KNOWN: dict[int, tuple[Select[Any], _Compiled]] = {}
_DIALECT: Final = sqlite.dialect()


def _compiled(statement: Select[Any]) -> _Compiled:
    # By identity: these statements live as long as the program.
    known = _KNOWN.get(id(statement))
    if known is None:
        known = _KNOWN[id(statement)] = (statement, _compile(statement))
    return known[1]


def _compile(statement: Select[Any]) -> _Compiled:
    compiled = statement.compile(dialect=_DIALECT)
    binds: dict[str, BindParameter[Any]] = compiled.binds
    columns = list(statement.selected_columns)
    binders = {
        name: made
        for name, bind in binds.items()
        if (made := bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)) is not None
    }
    readers = tuple(
        column.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None) for column in columns
    )
    names = {str(column.key): n for n, column in enumerate(columns)}
    row: type[_Row] = type("_Row", (_Row,), {"__slots__": (), "names": names})
    return _Compiled(
        text=str(compiled),
        names=tuple(compiled.positiontup or ()),
        binders=binders,
        lists=frozenset(name for name, bind in binds.items() if bind.expanding),
        fixed={name: bind.value for name, bind in binds.items()},
        readers=readers,
        row=row,
    )
