"""Points that an order brought go back with its money. Refunds of before keep theirs."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import TIME

revision = "0021_points_back"
down_revision = "0020_label_agreed"
compatible = True


def upgrade() -> None:
    op.add_column("points_award", sa.Column("total_minor", sa.BigInteger))
    for name in ("given", "owed"):
        op.add_column(
            "points_award", sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        )
    op.execute("UPDATE points_award SET given = points WHERE state = 'earned'")
    op.add_column("refund", sa.Column("points_at", TIME))
    op.execute("UPDATE refund SET points_at = created_at")
    op.create_index("ix_refund_points", "refund", ["points_at", "id"])
