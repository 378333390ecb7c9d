"""A row's audit record is no longer looked for by the database: ``Database.run`` refuses a commit
that wrote business rows and no record of its own, and ``shop audit verify`` joins both.

A deferred key cost SQLite a search through every table for each record, a whole scan of those
without an index on it; PostgreSQL a query for each row, while the end of a chain was locked.
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0022_audit_owed"
down_revision = "0021_points_back"
compatible = True

_KEY = re.compile(
    r",\s*CONSTRAINT \w+ FOREIGN KEY\(audit_id\) REFERENCES audit_record \(id\)"
    r" DEFERRABLE INITIALLY DEFERRED"
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _forget_in_the_schema()
        return
    found = op.get_bind().execute(
        sa.text(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint"
            " WHERE contype = 'f' AND confrelid = 'audit_record'::regclass ORDER BY 1"
        )
    )
    keys = found.all()
    with op.get_context().autocommit_block():  # so that no two tables are locked at once
        for table, name in keys:
            op.drop_constraint(name, table, type_="foreignkey")


def _forget_in_the_schema() -> None:
    """Section 7 of SQLite's ALTER TABLE: what does not touch the content may be changed in the
    schema itself. Rebuilding every table would copy the whole shop."""
    bind = op.get_bind()
    version = bind.exec_driver_sql("PRAGMA schema_version").scalar_one()
    tables = bind.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").all()
    op.execute("PRAGMA writable_schema = ON")
    for name, made in tables:
        without = _KEY.sub("", made)
        if without != made:
            change = "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?"
            bind.exec_driver_sql(change, (without, name))
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = RESET")
