"""What operators' pages show in tests and pictures: a van's round, and returns to decide on."""

from typing import Any

from common.shop import Shop
from servers.logistics.tools import tools as logistics
from servers.orders.tools import tools as orders
from servers.returns.tools import tools as returns
from tests.logistics import seed as vans
from tests.orders import seed as sales
from tests.support.shop import MovingClock, Person, connected, do, done


async def a_round(shop: Shop, stops: int) -> dict[str, Any]:
    """A draft of a route with so many stops, in a shop of its own."""
    clock, person = shop.guard.clock, Person("yes")
    assert isinstance(clock, MovingClock)
    await do(shop, "*", vans.world)
    async with connected(shop, logistics, person=person) as client:
        desk = vans.Desk(shop, client, clock, person)
        for _ in range(stops):
            await desk.shipment()
        planned = await desk.done("plan_routes", date=vans.TODAY, vehicles=["VAN-1"], iterations=50)
        route: dict[str, Any] = planned["routes"][0]
        return route


async def dispatched(shop: Shop, route_id: str) -> None:
    async with connected(shop, logistics, person=Person("yes")) as client:
        await done(client, "dispatch_route", route_id=route_id, idempotency_key="go-off-now")


async def some_returns(shop: Shop) -> list[str]:
    """Returns of two orders that a person has to look at, in a shop of its own; their ids."""
    clock, person = shop.guard.clock, Person("yes", [])
    assert isinstance(clock, MovingClock)
    await do(shop, "*", sales.world)
    async with (
        connected(shop, orders, person=person) as one,
        connected(shop, returns, person=person) as two,
    ):
        desk = sales.Desk(shop, one, two, clock, person)
        await desk.seed(sales.a_policy(review_from_minor=1), "returns")
        found = []
        for number, (sku, quantity) in enumerate(((sales.SHIRT_S, 2), (sales.SHIRT_M, 1))):
            order = await sales.a_delivered_order(desk, (sku, quantity))
            line = {"line_id": order["lines"][0]["line_id"], "quantity": 1}
            asked = await done(
                two, "request_return", order_id=order["order_id"], lines=[line],
                idempotency_key=f"a-return-{number}",
            )  # fmt: skip
            found.append(str(asked["return_id"]))
        return found
