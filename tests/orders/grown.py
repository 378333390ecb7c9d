"""A shop with twenty thousand orders, in which two sides of an order that are both frequent seldom
meet: who walks along one of them looks at thousands."""

from tests.orders.seed import BOB, EVE, MUG, NORTH, SHIRT_S, SOUTH, world
from tests.support.shop import filled
from tests.support.sql import inside

ORDERS = 20_000
# One in twenty was cancelled, all those and no others in the south; the oldest came late, and the
# very oldest wait. One in 700 is Eve's, who never buys the mug that is in one of ten.
GROWN = """
INSERT INTO sales_order (id, version, audit_id, customer_id, status, payment_status,
    fulfilment_status, currency, subtotal_minor, discount_minor, shipping_minor, tax_minor,
    other_minor, total_minor, ship_to, warehouse_id, channel, source, priority, created_at,
    placed_at, ship_by, promised_at, shipped_at, delivered_at)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {orders} - 1),
made AS (SELECT i, {placed} AS placed, {later} AS later, i % 20 = 0 AS gone,
    i >= {orders} - 10 AS waits, i >= {orders} - 100 AS late FROM n)
SELECT 'o-' || i, 1, 'aud', CASE i % 700 WHEN 0 THEN '{eve}' ELSE '{bob}' END,
    CASE WHEN waits THEN 'placed' WHEN gone THEN 'cancelled' ELSE 'completed' END,
    CASE WHEN gone THEN 'refunded' ELSE 'captured' END,
    CASE WHEN gone OR waits THEN 'not_fulfilled' ELSE 'delivered' END,
    'EUR', 0, 0, 0, 0, 0, 0, '{{}}', CASE WHEN gone THEN '{south}' ELSE '{north}' END, 'shop',
    'shop', 1, placed, placed, placed, CASE WHEN late THEN placed ELSE later END,
    CASE WHEN NOT gone AND NOT waits THEN placed END,
    CASE WHEN NOT gone AND NOT waits THEN later END
FROM made
"""
LINES = """
INSERT INTO order_line (id, version, audit_id, order_id, position, sku, product_id, name, options,
    quantity, unit_price_minor, discount_minor, tax_minor, status, warehouse_id, placed_at)
SELECT 'l-' || substr(id, 3), 1, 'aud', id, 0, CASE WHEN id LIKE '%5' THEN '{mug}' ELSE '{shirt}'
    END, CASE WHEN id LIKE '%5' THEN 'mug' ELSE 'shirt' END, 'x', '{{}}', 1, 0, 0, 0, 'delivered',
    warehouse_id, placed_at FROM sales_order
"""
MOMENTS = {
    "sqlite": {
        "placed": "strftime('%Y-%m-%d %H:%M:%f000', '2026-11-05', '-' || (i * 5) || ' minutes')",
        "later": "strftime('%Y-%m-%d %H:%M:%f000', '2026-11-08', '-' || (i * 5) || ' minutes')",
    },
    "postgresql": {
        "placed": "timestamptz '2026-11-05 00:00Z' - i * interval '5 minutes'",
        "later": "timestamptz '2026-11-08 00:00Z' - i * interval '5 minutes'",
    },
}


def grown(url: str) -> None:
    filled("*", world)(url)
    kind = "sqlite" if url.startswith("sqlite") else "postgresql"
    names = {"eve": EVE, "bob": BOB, "north": NORTH, "south": SOUTH, "mug": MUG, "shirt": SHIRT_S}
    for statement in (GROWN, LINES):
        said = statement.format(orders=ORDERS, **names, **MOMENTS[kind])
        inside(url, lambda connection, said=said: connection.exec_driver_sql(said))
