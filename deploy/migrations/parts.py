"""What many revisions share. Frozen: a change here would change history."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

ID = sa.String(64)
TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def record() -> list[sa.Column[Any]]:
    """The columns of every business row."""
    return [
        sa.Column("id", ID, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("audit_id", ID, to_audit_record(), nullable=False),
    ]


def to_audit_record() -> sa.ForeignKey:
    """Checked at commit: the record of a call is written after its rows."""
    return sa.ForeignKey("audit_record.id", deferrable=True, initially="DEFERRED")


def words(column: str, listed: str) -> sa.CheckConstraint:
    """The column holds one of the words listed by spaces."""
    quoted = ", ".join(f"'{word}'" for word in listed.split())
    return sa.CheckConstraint(f"{column} in ({quoted})", name=column)


def unique_where(name: str, table: str, columns: list[str], condition: str) -> None:
    """At most one row for the columns among those of the condition."""
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=True, sqlite_where=where, postgresql_where=where)


def append_only(table: str) -> None:
    """From now on the database itself refuses to change or delete a row."""
    if op.get_bind().dialect.name == "sqlite":
        for event in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{event} BEFORE {event.upper()} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def index_online(
    name: str,
    table: str,
    columns: list[str],
    *,
    unique: bool = False,
    where: sa.TextClause | None = None,
) -> None:
    """An index built while the servers go on writing. PostgreSQL does so outside transactions only,
    so such a migration does nothing else. Tried again, it keeps what was finished, and what a
    broken attempt left is dropped first."""
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        op.create_index(name, table, columns, unique=unique, sqlite_where=where)
        return
    with op.get_context().autocommit_block():
        if bind.scalar(_WHOLE, {"name": name}):
            return
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.create_index(
            name, table, columns, unique=unique, postgresql_where=where,
            postgresql_concurrently=True,
        )  # fmt: skip


_WHOLE = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
