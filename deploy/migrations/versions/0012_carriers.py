"""Carriers that are reached: labels, pick-ups, manifests. When drivers have to rest."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, TIME, record, unique_where, words

revision = "0012_carriers"
down_revision = "0018_buying"


def upgrade() -> None:
    op.add_column("carrier", sa.Column("connection", sa.String(32)))
    op.add_column("manifest", sa.Column("provider_reference", ID))
    op.add_column("label", sa.Column("error", sa.String(2_000)))
    carrier_pickup()
    duty_rule()
    # Without a foreign key: SQLite takes none with a new column in a form that the other has too.
    op.add_column("driver", sa.Column("duty_rule_id", ID))


def carrier_pickup() -> None:
    op.create_table(
        "carrier_pickup",
        *record(),
        sa.Column("carrier_id", ID, sa.ForeignKey("carrier.id"), nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("on_date", sa.Date, nullable=False),
        sa.Column("opens_at", TIME, nullable=False),
        sa.Column("closes_at", TIME, nullable=False),
        sa.Column("parcels", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("provider_reference", ID),
        sa.Column("error", sa.String(2_000)),
        sa.Column("created_at", TIME, nullable=False),
        words("state", "requested confirmed failed cancelled"),
        sa.CheckConstraint("parcels > 0", name="positive"),
        sa.CheckConstraint("closes_at > opens_at", name="window"),
    )
    unique_where(
        "uq_carrier_pickup_live", "carrier_pickup", ["carrier_id", "warehouse_id", "on_date"],
        "state in ('requested','confirmed')",
    )  # fmt: skip


def duty_rule() -> None:
    op.create_table(
        "duty_rule",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("drive_before_break_seconds", sa.BigInteger, nullable=False),
        sa.Column("break_seconds", sa.BigInteger, nullable=False),
        sa.Column("source", sa.String(2_000), nullable=False),
        sa.Column("as_of", sa.Date, nullable=False),
        sa.CheckConstraint("drive_before_break_seconds > 0 and break_seconds > 0", name="positive"),
    )
