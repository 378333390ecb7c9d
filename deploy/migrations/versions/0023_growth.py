"""Every list enters an index at its place, whatever it is filtered by; demand is read from indexes
alone."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import index_online

revision = "0023_growth"
down_revision = "0022_audit_owed"
compatible = True

INDEXES = """
ix_cycle_count_scheduled cycle_count scheduled_at id
ix_purchase_order_by_state purchase_order state created_at id
ix_purchase_order_house purchase_order warehouse_id created_at id
ix_order_fulfilment sales_order fulfilment_status placed_at id
ix_order_fulfilment_house sales_order fulfilment_status warehouse_id placed_at id
ix_order_house sales_order warehouse_id placed_at id
ix_order_payment sales_order payment_status placed_at id
ix_order_payment_fulfilment sales_order payment_status fulfilment_status placed_at id
ix_order_payment_house sales_order payment_status warehouse_id placed_at id
ix_order_status_fulfilment sales_order status fulfilment_status placed_at id
ix_order_status_house sales_order status warehouse_id placed_at id
ix_order_status_payment sales_order status payment_status placed_at id
ix_shipment_by_house shipment warehouse_id created_at id
ix_shipment_by_status shipment status created_at id
ix_shipment_promised shipment promised_at id
ix_shipment_status_carrier shipment status carrier_id created_at id
ix_shipment_status_house shipment status warehouse_id created_at id
ix_dispute_by_status dispute status opened_at id
ix_payment_hold_by_state payment_hold state placed_at id
ix_payment_hold_expires payment_hold expires_at id
ix_reservation_created reservation created_at id
ix_reservation_house reservation warehouse_id created_at id
ix_reservation_sku reservation sku created_at id
ix_claim_by_kind claim kind opened_at id
ix_claim_by_state claim state opened_at id
ix_claim_by_type claim type opened_at id
ix_claim_deadline claim deadline_at id
ix_order_line_day order_line placed_at sku order_id status quantity warehouse_id
ix_order_line_sku order_line sku placed_at order_id status quantity warehouse_id
"""
# Of the rows that fit. A query states the condition in the same words.
PARTIAL = {
    "ix_outbox_unsettled outbox created_at id": "port = 'gateway' and state <> 'done'",
    "ix_purchase_order_open purchase_order created_at id": (
        "state in ('approved', 'sent', 'acknowledged', 'partially_received')"
    ),
    "ix_order_late sales_order placed_at id": (
        "status <> 'cancelled' AND (delivered_at > promised_at OR shipped_at >"
        " promised_at OR (delivered_at IS NULL AND promised_at IS NOT NULL) OR"
        " (shipped_at IS NULL AND ship_by IS NOT NULL))"
    ),
    "ix_payment_lapsing payment created_at id": (
        "status in ('expired', 'created', 'requires_action', 'authorized')"
    ),
    "ix_shipment_open shipment created_at id": (
        "status not in ('delivered', 'returned_to_sender', 'lost', 'cancelled')"
    ),
    "ix_dispute_open dispute opened_at id": (
        "status in ('inquiry', 'needs_response', 'under_review', 'appealed')"
    ),
    "ix_payment_hold_lapsing payment_hold placed_at id": "state in ('active', 'expired')",
    "ix_proof_of_delivery_damaged proof_of_delivery shipment_id": "damage_noted",
    "ix_reservation_open reservation created_at id": "state in ('pending', 'confirmed')",
    "ix_rma_open rma requested_at id": (
        "state not in ('rejected', 'expired', 'cancelled', 'closed', 'settled')"
    ),
    "ix_claim_open claim opened_at id": (
        "state not in ('closed', 'withdrawn', 'expired', 'written_off')"
    ),
    "ix_label_overcharged label shipment_id": "cost_minor > agreed_minor and state <> 'voided'",
    "ix_order_line_backordered order_line sku order_id status quantity warehouse_id": (
        "status = 'backordered'"
    ),
}
# Others begin with the same columns.
GONE = {"ix_order_line_demand": "order_line", "ix_order_line_placed": "order_line"}


def upgrade() -> None:
    for line in INDEXES.split("\n")[1:-1]:
        name, table, *columns = line.split()
        index_online(name, table, columns)
    for line, condition in PARTIAL.items():
        name, table, *columns = line.split()
        index_online(name, table, columns, where=sa.text(condition))
    for name, table in GONE.items():
        if op.get_bind().dialect.name == "sqlite":
            op.drop_index(name, table)
            continue
        with op.get_context().autocommit_block():
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
