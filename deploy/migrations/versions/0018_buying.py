"""What buying needs: whose a guest's cart was, codes that open checkouts count on, points."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, TIME, record, words

revision = "0018_buying"
down_revision = "0018_console"


def upgrade() -> None:
    op.add_column("cart", sa.Column("recipient", sa.String(200)))
    op.add_column("cart", sa.Column("redeem_points", sa.BigInteger))
    op.add_column("cart", sa.Column("opened_by", sa.String(300)))
    op.add_column("cart", sa.Column("merged_into", ID))
    op.create_index("ix_cart_opened_by", "cart", ["opened_by"])
    op.add_column("checkout", sa.Column("points_hold", ID))
    op.create_table(
        "checkout_promotion",
        *record(),
        sa.Column("checkout_id", ID, sa.ForeignKey("checkout.id"), nullable=False),
        sa.Column("promotion_id", ID, sa.ForeignKey("promotion.id"), nullable=False),
        sa.UniqueConstraint("checkout_id", "promotion_id"),
    )
    for column in ("checkout_id", "promotion_id"):
        op.create_index(f"ix_checkout_promotion_{column}", "checkout_promotion", [column])
    op.create_table(
        "points_award",
        *record(),
        sa.Column("membership_id", ID, sa.ForeignKey("membership.id"), nullable=False),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id"), nullable=False),
        sa.Column("points", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.UniqueConstraint("order_id"),
        words("state", "pending earned void"),
        sa.CheckConstraint("points > 0", name="positive"),
    )
    op.create_index("ix_points_award_membership_id", "points_award", ["membership_id"])
    op.create_index("ix_points_award_state", "points_award", ["state", "id"])
