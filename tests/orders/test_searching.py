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
from tests.orders.grown import grown
from tests.orders.seed import BOB, EVE, MUG, NORTH, SHIRT_S, SOUTH
from tests.support.plans import visited
from tests.support.shop import actor
from tests.support.sql import inside

NOW = datetime(2026, 11, 5, 9, tzinfo=UTC)
MOST = 2_500  # for two pages, one in twenty fitting
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
