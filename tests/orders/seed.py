"""A shop that sells shirts, mugs and cream to two people."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp import Client
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.approvals import approvers, decisions
from common.call import Actor, Call
from common.rules import funds, paid, placing, reserving, stock
from common.shop import Shop
from common.tables.inventory import Product, Reservation, Variant, Warehouse
from common.tables.orders import Customer, Order, OrderLine, TaxRate
from common.tables.payments import Payment, PaymentMethod
from common.tables.returns import ReturnPolicy
from common.tables.spine import Approver
from common.tables.whole import Base
from servers.orders.tools import tools as orders_tools
from servers.returns.tools import tools as returns_tools
from tests.support.shop import MovingClock, Person, a_shop, actor, connected, do, done, look
from tests.support.shop import call as call_tool

T = TypeVar("T")
LYON = {"line1": "Quai 1", "line2": "", "city": "Lyon", "region": "", "postal_code": "69002",
        "country": "FR"}  # fmt: skip
BERLIN = LYON | {"city": "Berlin", "country": "DE"}  # 19 % on top
WIEN = LYON | {"city": "Wien", "country": "AT"}  # 20 % inside
GENT = LYON | {"city": "Gent", "country": "BE"}  # with ``two_taxes``: shirts on top, cream inside
NORTH, SOUTH = "WH-N", "WH-S"
SHIRT_S, SHIRT_M, SHIRT_L, MUG, CREAM = "SHIRT-S", "SHIRT-M", "SHIRT-L", "MUG-1", "CREAM-1"
PRICES = {SHIRT_S: 2000, SHIRT_M: 2500, SHIRT_L: 1500, MUG: 900, CREAM: 1200}
EVE, BOB = "cus_eve", "cus_bob"
PASSPHRASE = "five random words would do"
CARD, CARD2, WALLET, GIFT, BOBS = (
    "card_eve_1", "card_eve_2", "wallet_eve", "gift_eve", "card_bob",
)  # fmt: skip
# What a call leaves behind whatever comes of it.
_TRACES = {
    "audit_record", "audit_payload", "audit_head", "stored_result", "policy_use",
    "approval_request", "approval_decision", "access_record",
}  # fmt: skip


@dataclass
class Desk:
    """The shop with a client of each of the two servers; one person answers for both."""

    shop: Shop
    client: Client
    returns: Client
    clock: MovingClock
    person: Person
    _number: int = field(default=0)
    _colleague: tuple[Approver, Ed25519PrivateKey] | None = None

    def key(self) -> dict[str, str]:
        """A fresh idempotency key: each call of a test is an intent of its own."""
        self._number += 1
        return {"idempotency_key": f"test-key-{self._number:06d}"}

    async def seed(self, work: Callable[[Call], T], domain: str = "orders") -> T:
        return await do(self.shop, domain, work)

    async def look(self, work: Callable[[Session], T]) -> T:
        return await look(self.shop, work)

    async def approved(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """A call to the orders server that a colleague has to approve first."""
        key = self.key()
        asked = await call_tool(self.client, tool, **key, **arguments)
        assert asked.get("level") == 2, asked
        if self._colleague is None:
            who = ("ben@example.com", "Ben", PASSPHRASE, "")
            made = await self.seed(lambda c: approvers.enroll(c.session, *who, c.now, n=2**4), "*")
            self._colleague = (made, approvers.unlock(made, PASSPHRASE))
        ben = self._colleague
        await self.seed(
            lambda c: decisions.decide(
                c.session, asked["approval_id"], *ben, "approve", "", c.now, "terminal"
            ),
            "*",
        )
        return await done(self.client, tool, **key, **arguments, approval_id=asked["approval_id"])

    async def available(self, sku: str, warehouse: str | None = None) -> int:
        now = self.clock.now
        found = await self.look(lambda s: stock.level(s, now, sku, warehouse))
        return found.available

    async def balance(self, method: str = GIFT) -> int:
        now = self.clock.now
        return await self.look(
            lambda s: funds.credit_balance(s, now, funds.gift_card(method), "EUR")
        )

    async def net_paid(self, order_id: str) -> dict[str, int]:
        now = self.clock.now
        return await self.look(lambda s: paid.net_paid(s, order_id, now))

    async def picture(self) -> dict[str, list[str]]:
        """Every business row of the shop, as text."""
        return await self.look(_picture)


@asynccontextmanager
async def a_desk(
    folder: Path, *, answer: str = "yes", who: Actor | None = None, **changes: Any
) -> AsyncIterator[Desk]:
    clock = MovingClock()
    person = Person(answer, [])
    who = who or actor()
    async with AsyncExitStack() as stack:
        shop = await stack.enter_async_context(a_shop(folder, clock=clock, **changes))
        await do(shop, "*", world)
        one = await stack.enter_async_context(connected(shop, orders_tools, who=who, person=person))
        two = await stack.enter_async_context(
            connected(shop, returns_tools, who=who, person=person)
        )
        yield Desk(shop, one, two, clock, person)


def world(call: Call) -> None:
    """Two houses, five items of three products with 20 each in the north, two customers."""
    for id in (NORTH, SOUTH):
        call.add(Warehouse(id=id, name=f"House {id}", region="x", address=LYON))
    for id, category, final, restockable in (
        ("shirt", "clothes", False, True), ("mug", "gifts", True, True),
        ("cream", "care", False, False),
    ):  # fmt: skip
        call.add(
            Product(
                id=id, name=id.capitalize(), category=category, final_sale=final,
                restockable=restockable,
            )
        )  # fmt: skip
    for position, (sku, price) in enumerate(PRICES.items()):
        product = sku.split("-")[0].lower()
        call.add(
            Variant(
                id=sku, product_id=product, position=position, name=f"{product} {sku[-1]}",
                options={"size": sku[-1]}, price_minor=price, currency="EUR",
            )
        )  # fmt: skip
        stock.adjust(call, sku, NORTH, 20, "opening")
    for id, first, last in ((EVE, "Eve", "Noir"), (BOB, "Bob", "Blanc")):
        call.add(
            Customer(
                id=id, first_name=first, last_name=last, email=f"{first}@Example.com",
                email_key=f"{first}@example.com".casefold(),
                name_key=f"{first} {last}".casefold(), address=LYON, postal_code="69002",
                created_at=call.now,
            )
        )  # fmt: skip
    for id, owner, kind in (
        (CARD, EVE, "card"), (CARD2, EVE, "card"), (WALLET, EVE, "wallet"),
        (GIFT, EVE, "gift_card"), (BOBS, BOB, "card"),
    ):  # fmt: skip
        stored = kind == "gift_card"
        call.add(
            PaymentMethod(
                id=id, customer_id=owner, kind=kind, brand="visa" if kind == "card" else None,
                last4=None if stored else "4242", currency="EUR" if stored else None,
                created_at=call.now,
            )
        )  # fmt: skip
    funds.open_balance(call, funds.gift_card(GIFT), 6000, "EUR", GIFT)
    for country, bps, included in (("DE", 1900, False), ("AT", 2000, True)):
        call.add(
            TaxRate(
                id=f"rate_{country}", country=country, name=f"VAT {country}", rate_bps=bps,
                included=included, valid_from=date(2020, 1, 1),
            )
        )  # fmt: skip
    call.add(ReturnPolicy(id="pol_all", name="Thirty days", window_days=30, currency="EUR"))


def two_taxes(call: Call) -> None:
    """In one place 21 % on top of most things, and 6 % inside the price of cream. Domain: *."""
    call.get(Product, "cream").tax_class = "reduced"
    for kind, bps, included in (("standard", 2100, False), ("reduced", 600, True)):
        call.add(
            TaxRate(
                id=f"rate_BE_{kind}", country="BE", tax_class=kind, name=f"VAT BE {kind}",
                rate_bps=bps, included=included, valid_from=date(2020, 1, 1),
            )
        )  # fmt: skip


def a_policy(**values: Any) -> Callable[[Call], None]:
    """Change the shop's return policy. Domain: returns."""

    def work(call: Call) -> None:
        policy = call.get(ReturnPolicy, "pol_all")
        for name, value in values.items():
            setattr(policy, name, value)

    return work


def an_order(
    *lines: tuple[str, int], method: str = CARD, captured: bool = False, **more: Any
) -> Callable[[Call], str]:
    """An open order of Eve's; with ``captured`` its money was taken before it was seen here."""

    def work(call: Call) -> str:
        new = placing.NewOrder(
            customer_id=EVE, lines=[placing.NewLine(*line) for line in lines], ship_to=LYON,
            warehouse_id=NORTH, payment_method_id=None if captured else method,
            ship_by=call.now + timedelta(days=1), promised_at=call.now + timedelta(days=3),
        )  # fmt: skip
        for name, value in more.items():
            setattr(new, name, value)
        order = placing.place(call, new)
        order.payment_method_id = method
        if captured:
            paid.charge(
                call, order_id=order.id, customer_id=EVE, method_id=method,
                amount_minor=order.total_minor, currency="EUR",
            )  # fmt: skip
        return order.id

    return work


def delivered(order_id: str) -> Callable[[Call], None]:
    """Everything of an order has reached the customer, and was paid."""

    def work(call: Call) -> None:
        order = call.get(Order, order_id)
        for payment in call.all(Payment, Payment.order_id == order_id):
            if payment.status == "authorized":
                paid.capture(call, payment)
        for line in call.all(OrderLine, OrderLine.order_id == order_id):
            if line.reservation_id is not None:
                reserving.consume(call, call.get(Reservation, line.reservation_id))
            line.status, line.delivered_at = "delivered", call.now
        order.status, order.fulfilment_status = "completed", "delivered"
        order.released_at = order.shipped_at = order.delivered_at = call.now

    return work


async def a_delivered_order(desk: Desk, *lines: tuple[str, int], **more: Any) -> dict[str, Any]:
    """A delivered order as get_order shows it."""
    order_id = await desk.seed(an_order(*lines, **more))
    await desk.seed(delivered(order_id))
    return await done(desk.client, "get_order", order_id=order_id)


def _picture(session: Session) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table in Base.metadata.sorted_tables:
        if table.name in _TRACES:
            continue
        if not session.scalar(select(func.count()).select_from(table)):
            continue
        found[table.name] = sorted(repr(tuple(row)) for row in session.execute(select(table)))
    return found
