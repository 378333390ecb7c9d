"""What every table has: an owner, and for business rows a version and the audit record behind."""

from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, MetaData, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, validates
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Utc(TypeDecorator[datetime]):
    """Aware UTC in and out. SQLite forgets the zone; a naive value is refused on the way in."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the database")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON().with_variant(JSONB(), "postgresql")
Id = String(64)
Code = String(64)
Text = String(2_000)


WRITERS: Final[dict[str, frozenset[str]]] = {}
"""Domains by the table they may write: of every table that is loaded."""
OWING: Final[set[str]] = set()
"""Those of them whose rows name the audit record of their call."""


class Base(DeclarativeBase):
    """A table. ``owner`` is the one domain that may write it, ``*`` the spine itself;
    ``also_written_by`` names domains that may through one shared function of ``common``."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Utc(),
        int: BigInteger(),
        str: Text,
        dict[str, Any]: Json,
        list[Any]: Json,
        list[str]: Json,
        list[dict[str, Any]]: Json,
    }
    owner: ClassVar[str] = ""
    also_written_by: ClassVar[frozenset[str]] = frozenset()
    owes_record: ClassVar[bool] = False  # whether a row names the audit record of its call

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__tablename__" in vars(cls):
            WRITERS[cls.__tablename__] = frozenset({cls.owner}) | cls.also_written_by
            if cls.owes_record:
                OWING.add(cls.__tablename__)


class Record(Base):
    """A business row. Both columns are filled at flush; no rule sets them."""

    __abstract__ = True
    owes_record = True

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    audit_id: Mapped[str] = mapped_column(Id)

    # An update names the version it read: who changed the row in between is not overwritten.
    __mapper_args__ = {  # noqa: RUF012 - SQLAlchemy declares it as an instance variable
        "version_id_col": version,
        "version_id_generator": False,
    }

    @validates("id")
    def _fixed(self, key: str, value: str) -> str:
        if not value:
            raise ValueError("an id may not be empty")
        return value
