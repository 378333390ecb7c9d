"""Who is signed in to the approvals console, and how often something was tried."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME

revision = "0018_console"
down_revision = "0015_scale"


def upgrade() -> None:
    op.create_table(
        "console_session",
        sa.Column("id", ID, primary_key=True),
        sa.Column("caller", JSON, nullable=False),
        sa.Column("token", sa.String(24_000), nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("minute", TIME, nullable=False),
        sa.Column("hits", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_console_session_expires_at", "console_session", ["expires_at"])
    op.create_table(
        "console_count",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("hits", sa.BigInteger, nullable=False),
        sa.Column("until", TIME, nullable=False),
    )
    op.create_index("ix_console_count_until", "console_count", ["until"])
