"""Statements that every call pays for: Core statements made once, at import.

Such a statement is compiled once for a database and goes straight to its driver: most of what
SQLAlchemy adds to a short statement is finding out again how to run it. Whatever else a session
does, it does in the same transaction on the same connection.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import BindParameter, Dialect, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from common.storage.writing import written

DRIVER: Final = "driver"  # where a session says which driver's connection its transaction is on
WRITING: Final = "writing"  # and what that transaction may write and has written
MOST_FORMS: Final = 1_000

Processor = Callable[[Any], Any] | None


def rows(session: Session, statement: Executable, **values: Any) -> Sequence[Any]:
    """The rows of a statement over tables, not mapped classes. What the session holds unwritten
    is written first, as an ORM query would do. A list is the value of an expanding parameter."""
    _flush(session)
    driver = session.info.get(DRIVER)
    if driver is None:
        return session.connection().execute(statement, values).all()
    return _compiled(session, statement).rows(session, driver, values)


def first(session: Session, statement: Executable, **values: Any) -> Any:
    """The first row, or None."""
    found = rows(session, statement, **values)
    return found[0] if found else None


def change(session: Session, statement: Executable, **values: Any) -> int:
    """Run a statement that writes. Returns how many rows it touched."""
    _flush(session)
    driver = session.info.get(DRIVER)
    if driver is None:
        return session.connection().execute(statement, values).rowcount
    return int(_compiled(session, statement).run(session, driver, values).rowcount)


def _flush(session: Session) -> None:
    if session.info.get("write"):
        session.flush()  # which sees at once when there is nothing


class _Row(tuple[Any, ...]):
    """A tuple whose items have names, too."""

    __slots__ = ()
    names: dict[str, int]

    def __getattr__(self, name: str) -> Any:
        try:
            return self[self.names[name]]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True, slots=True)
class _Form:
    """The text for lists of certain lengths, and what goes where: a value, or an item of one."""

    text: str
    places: tuple[tuple[str, int | None], ...]
    binders: tuple[tuple[int, Callable[[Any], Any]], ...]


@dataclass(frozen=True, slots=True)
class _Compiled:
    made: Any
    dialect: Dialect
    tables: tuple[str, ...]
    binders: Mapping[str, Callable[[Any], Any]]
    lists: tuple[str, ...]
    fixed: Mapping[str, Any]
    readers: tuple[Processor, ...]
    row: type[_Row]
    forms: dict[tuple[int, ...], _Form] = field(default_factory=dict)

    def rows(self, session: Session, driver: Any, values: Mapping[str, Any]) -> list[Any]:
        found = self.run(session, driver, values).fetchall()
        made = self.row
        if self.readers:
            reading = self.readers
            return [
                made([
                    item if read is None else read(item)
                    for read, item in zip(reading, each, strict=True)
                ])
                for each in found
            ]  # fmt: skip
        return [made(each) for each in found]

    def run(self, session: Session, driver: Any, values: Mapping[str, Any]) -> Any:
        if self.fixed:
            values = {**self.fixed, **values}
        lengths = tuple([len(values[name]) for name in self.lists])
        form = self.forms.get(lengths)
        if form is None:
            if len(self.forms) >= MOST_FORMS:
                self.forms.clear()
            form = self.forms[lengths] = _form(self.made, self.binders, self.lists, lengths)
        for table in self.tables:
            session.info[WRITING].note(table, form.text)
        given = [
            values[name] if place is None else values[name][place] for name, place in form.places
        ]
        for at, bind in form.binders:
            given[at] = bind(given[at])
        cursor = driver.cursor()
        dbapi = self.dialect.loaded_dbapi
        try:
            cursor.execute(form.text, given)
        except dbapi.Error as error:
            raise DBAPIError.instance(
                form.text, None, error, dbapi.Error, hide_parameters=True, dialect=self.dialect,
                connection_invalidated=self.dialect.is_disconnect(error, driver, cursor),
            ) from error  # fmt: skip
        except BaseException:
            # Whoever waited gave up: how far the driver came is not known, a BEGIN may be open
            # that nobody would end. As SQLAlchemy does, nobody uses the connection again.
            if self.dialect.name != "sqlite":
                session.invalidate()
            raise
        return cursor


_KNOWN: dict[tuple[int, str], tuple[Executable, _Compiled]] = {}


def _compiled(session: Session, statement: Executable) -> _Compiled:
    # By identity: these statements live as long as the program.
    dialect = session.get_bind().dialect
    key = (id(statement), dialect.name)
    known = _KNOWN.get(key)
    if known is None:
        known = _KNOWN[key] = (statement, _compile(statement, dialect))
    return known[1]


def _compile(statement: Any, dialect: Dialect) -> _Compiled:
    made = statement.compile(dialect=dialect)
    binds: dict[str, BindParameter[Any]] = made.binds
    columns = list(getattr(statement, "exported_columns", ()))
    binders = {
        name: process
        for name, bind in binds.items()
        if (process := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
    }
    readers = tuple(
        column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns
    )
    names = {str(column.key): n for n, column in enumerate(columns)}
    row: type[_Row] = type("_Row", (_Row,), {"__slots__": (), "names": names})
    return _Compiled(
        made=made,
        dialect=dialect,
        tables=written(str(made)),
        binders=binders,
        lists=tuple(name for name, bind in binds.items() if bind.expanding),
        fixed={name: bind.value for name, bind in binds.items() if not bind.required},
        readers=readers if any(readers) else (),
        row=row,
    )


def _form(
    made: Any,
    binders: Mapping[str, Callable[[Any], Any]],
    lists: tuple[str, ...],
    lengths: tuple[int, ...],
) -> _Form:
    text, places = str(made), [(name, None) for name in made.positiontup or ()]
    if lists:
        sample: dict[str, Any] = {name: (name, None) for name in made.binds}
        for name, length in zip(lists, lengths, strict=True):
            sample[name] = [(name, place) for place in range(length)]
        state = made.construct_expanded_state(sample)
        text, places = state.statement, list(state.positional_parameters or ())
    bound = [(at, binders[name]) for at, (name, _) in enumerate(places) if name in binders]
    return _Form(text, tuple(places), tuple(bound))
