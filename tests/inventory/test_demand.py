"""What demand is read from, in a shop with many orders."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text, update
from sqlalchemy.orm import Session

from common.call import Call
from common.tables.orders import OrderLine
from servers.inventory import availability, demand
from servers.orders.service import demand as feed
from tests.conftest import CopyOf
from tests.orders.grown import grown
from tests.orders.seed import MUG, NORTH, SHIRT_S, SOUTH
from tests.support.plans import visited
from tests.support.shop import actor
from tests.support.sql import inside

NOW = datetime(2026, 11, 5, 0, 0, 1, tzinfo=UTC)


def test_the_few_lines_that_wait_are_found_at_once(kind: str, copy_of: CopyOf) -> None:
    url = copy_of(kind, "grown", grown)

    def look(connection: Connection) -> None:
        wait = update(OrderLine).where(OrderLine.id.in_(["l-5", "l-15", "l-7", "l-20"]))
        connection.execute(wait.values(status="backordered"))
        with Session(connection) as session:
            found = availability.backordered(session, [MUG, SHIRT_S])
        # The twentieth order was cancelled.
        assert found == {(MUG, NORTH): 2, (SHIRT_S, NORTH): 1}
        for skus in ([MUG], [MUG, SHIRT_S, *(f"S{n}" for n in range(100))]):
            assert visited(connection, lambda s, skus=skus: availability.backordered(s, skus)) < 500

    inside(url, lambda connection: connection.execute(text("ANALYZE")))
    inside(url, look)


def test_days_are_read_from_an_index_of_theirs(kind: str, copy_of: CopyOf) -> None:
    url = copy_of(kind, "grown", grown)

    def look(connection: Connection) -> None:
        with Session(connection) as session:
            found = demand.sums(session, NOW, 1)
            year = demand.history(session, NOW, [MUG, SHIRT_S])
        assert found == {(MUG, NORTH): 29, (SHIRT_S, NORTH): 244, (SHIRT_S, SOUTH): 15}
        assert {key: units[-1] for key, units in year.daily.items()} == found
        for read in (
            lambda s: demand.sums(s, NOW, 1),
            lambda s: feed(Call(actor(), s, NOW, "aud", "orders", "t"), 1, None, None, None, 50),
        ):
            assert visited(connection, read) < 8 * (29 + 244 + 15)

    if kind == "sqlite":
        inside(url, look)
    inside(url, lambda connection: connection.execute(text("ANALYZE")))
    inside(url, look)


def test_a_line_without_a_warehouse_is_demand_of_its_order_s(kind: str, copy_of: CopyOf) -> None:
    def look(connection: Connection) -> None:
        since = NOW - timedelta(minutes=20)
        connection.execute(
            update(OrderLine).where(OrderLine.placed_at > since).values(warehouse_id=None)
        )
        query = demand.demand(NOW, since, text("count(*)"))
        rows = [tuple(row) for row in connection.execute(query.order_by(text("1"), text("2")))]
        assert rows == [(SHIRT_S, NORTH, 3), (SHIRT_S, SOUTH, 1)]

    inside(copy_of(kind, "grown", grown), look)
