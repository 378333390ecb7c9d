"""However many orders there are, a search looks at few of them."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import combinations

from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session

from common.call import Call
from common.tables.orders import Order
from servers.orders.searching import Wanted, search
from tests.conftest import CopyOf
from tests.orders.seed import BOB, EVE, MUG, NORTH, SHIRT_S, SOUTH, world
from tests.support.plans import visited
from tests.support.shop import actor, filled
from tests.support.sql import inside

NOW = datetime(2026, 11, 5, 9, tzinfo=UTC)
ORDERS = 20_000
MOST = 2_500  # for two pages, one in twenty fitting
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
AXES = {
    "status": ("completed", "cancelled"),
    "payment_status": ("captured", "refunded"),
    "fulfilment_status": ("delivered", "not_fulfilled"),
    "warehouse": (NORTH, SOUTH),
}
NEVER = {"payment_status": "authorized", "fulfilment_status": "shipped", "status": "on_hold"}
CASES = [
    *({axis: value} for axis, values in AXES.items() for value in values),
    *({axis: value} for axis, value in NEVER.items()),
    # Both sides are many, and no order is in both; or all are.
    *(
        {one: this, two: that}
        for one, two in combinations(AXES, 2)
        for this in AXES[one]
        for that in AXES[two]
    ),
    {"customer_id": EVE}, {"email": "eve@example.com"}, {"sku": MUG}, {"late": True},
    {"drafts": True}, {"placed_to": "2026-09-30"}, {"sku": MUG, "customer_id": EVE},
    {"placed_from": "2026-09-29", "placed_to": "2026-09-30", "payment_status": "refunded"},
    {"email": "eve@example.com", "status": "completed"}, {"customer_id": EVE, "late": True},
    {"customer_id": BOB, "status": "placed"}, {"customer_id": BOB, "fulfilment_status": "shipped"},
    {"sku": MUG, "placed_to": "2026-09-30"}, {"sku": MUG, "status": "completed"},
    {"sku": SHIRT_S, "status": "placed"}, {"sku": SHIRT_S, "payment_status": "authorized"},
    {"sku": SHIRT_S, "warehouse": SOUTH}, {"sku": MUG, "customer_id": EVE, "drafts": True},
    {"late": True, "status": "placed"}, {"late": True, "payment_status": "refunded"},
    {"late": True, "warehouse": SOUTH}, {"late": True, "status": "completed"},
    {"drafts": True, "status": "cancelled"}, {"drafts": True, "sku": MUG},
]  # fmt: skip


def grown(url: str) -> None:
    filled("*", world)(url)
    kind = "sqlite" if url.startswith("sqlite") else "postgresql"
    names = {"eve": EVE, "bob": BOB, "north": NORTH, "south": SOUTH, "mug": MUG, "shirt": SHIRT_S}
    for statement in (GROWN, LINES):
        said = statement.format(orders=ORDERS, **names, **MOMENTS[kind])
        inside(url, lambda connection, said=said: connection.exec_driver_sql(said))


def test_no_search_walks_through_the_orders(kind: str, copy_of: CopyOf) -> None:
    """Not on SQLite either, which nobody may have told what its tables are like."""
    url = copy_of(kind, "grown", grown)

    def every(connection: Connection) -> dict[str, int]:
        return {str(case): visited(connection, searching(case)) for case in CASES}

    for analysed in (False, True) if kind == "sqlite" else (True,):
        if analysed:
            inside(url, lambda connection: connection.execute(text("ANALYZE")))
        found = inside(url, every)
        assert {case: rows for case, rows in found.items() if rows > MOST} == {}, analysed


def test_a_walk_is_noticed(kind: str, copy_of: CopyOf) -> None:
    walk = select(Order.id).where(Order.channel == "phone").order_by(Order.placed_at).limit(20)

    def walked(connection: Connection) -> int:
        return visited(connection, lambda session: session.scalars(walk).all())

    assert inside(copy_of(kind, "grown", grown), walked) > 2 * MOST


def searching(case: dict[str, object]) -> Callable[[Session], None]:
    def work(session: Session) -> None:
        call = Call(actor(), session, NOW, "aud", "orders", "test")
        wanted = Wanted(**case)  # type: ignore[arg-type]
        orders, cursor = search(call, wanted, None, 20)
        if cursor:
            following, _ = search(call, wanted, cursor, 20)
            assert not {order.id for order in orders} & {order.id for order in following}

    return work
