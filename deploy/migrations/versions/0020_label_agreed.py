"""What the contract says a label costs, beside what the carrier took."""

import sqlalchemy as sa
from alembic import op

revision = "0020_label_agreed"
down_revision = "0019_user_email"
compatible = True


def upgrade() -> None:
    op.add_column("label", sa.Column("agreed_minor", sa.BigInteger))
