"""The address of somebody who signs in at the shop itself."""

import sqlalchemy as sa
from alembic import op

revision = "0019_user_email"
down_revision = "0012_carriers"


def upgrade() -> None:
    op.add_column("auth_user", sa.Column("email", sa.String(254)))
