"""Access tokens taken back before they expire."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, TIME, words

revision = "0014_auth_denial"
down_revision = "0013_auth_server"


def upgrade() -> None:
    op.create_table(
        "auth_denial",
        sa.Column("id", ID, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("issuer", sa.String(300), nullable=False),
        sa.Column("value", sa.String(300), nullable=False),
        sa.Column("before", TIME, nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("denied_by", sa.String(300), nullable=False),
        sa.Column("at", TIME, nullable=False),
        words("kind", "token subject client"),
    )
    op.create_index("ix_auth_denial_until", "auth_denial", ["until"])
