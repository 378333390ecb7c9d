"""Rate limits that all workers share, who may still run on the database, a quicker chain."""

import sqlalchemy as sa
from alembic import op

revision = "0015_scale"
down_revision = "0014_auth_denial"


def upgrade() -> None:
    op.create_table(
        "rate_bucket",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("full_at_us", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_rate_bucket_full_at_us", "rate_bucket", ["full_at_us"])
    op.create_table(
        "schema_note",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.String(64), nullable=False),
        sa.Column("oldest", sa.String(64), nullable=False),
    )
    anew = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("audit_head", recreate=anew) as head:
        head.add_column(sa.Column("prev", sa.String(64)))
