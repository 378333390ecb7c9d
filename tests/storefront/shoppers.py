"""Who calls in these tests, and the world they shop in."""

from typing import Any

from mcp import Client
from sqlalchemy import func, select

from common.background.outbox import OutboxWorker
from common.call import Actor, Call
from common.gateways.simulator import Simulator
from common.rules import stock
from common.rules.funds import trial_balance
from common.shop import Shop
from common.shoppers import GUEST_ISSUER, GUEST_SCOPES, SHOPPER_SCOPES
from common.tables.inventory import Reservation
from common.tables.logistics import Carrier, RateCard
from common.tables.orders import Customer, Order, TaxRate
from common.tables.payments import Payment, PaymentMethod
from common.tables.spine import Account
from common.tables.storefront import Checkout, MembershipTier, Promotion
from tests.support.shop import START, done, look

ISSUER = "https://accounts.example"
ADDRESS = {
    "line1": "Lindenweg 4", "city": "Bonn", "postal_code": "53111", "country": "DE",
}  # fmt: skip
TOKENS = ("tok_ok", "tok_declined", "tok_async", "tok_timeout_done", "tok_timeout_lost")


def guest(name: str = "one") -> Actor:
    return Actor(GUEST_ISSUER, f"guest-{name}-unguessable", "test", GUEST_SCOPES)


def member(name: str = "lea", email: str = "") -> Actor:
    """Somebody who signed in, with every scope of a shopper."""
    return Actor(ISSUER, name, "test", SHOPPER_SCOPES, email=email)


def world(call: Call) -> None:
    """Rates, taxes, promotions, tiers, and a customer for each way a card behaves."""
    call.add(Carrier(id="post", name="Parcel Post"))
    for service, base, days in (("standard", 490, 3), ("express", 1290, 1)):
        call.add(
            RateCard(
                id=f"post-{service}", carrier_id="post", service=service, max_weight_g=31_500,
                base_minor=base, per_kg_minor=0, currency="EUR", transit_days_min=1,
                transit_days_max=days, valid_from=START.date(),
            )
        )  # fmt: skip
    call.add(
        TaxRate(
            id="tax-de", country="DE", tax_class="standard", name="VAT 19 %", rate_bps=1900,
            included=True, valid_from=START.date(),
        )
    )  # fmt: skip
    call.add(
        TaxRate(
            id="tax-us", country="US", region="CA", tax_class="standard", name="Sales tax",
            rate_bps=725, valid_from=START.date(),
        )
    )  # fmt: skip
    promotions: list[dict[str, Any]] = [
        {"id": "TEN", "name": "Ten percent", "kind": "percent", "value": 1000, "stackable": True},
        {"id": "DAIRY5", "name": "5 off dairy", "kind": "amount", "value": 500,
         "currency": "EUR", "category": "Dairy", "stackable": True},
        {"id": "ALONE", "name": "Half", "kind": "percent", "value": 5000},
        {"id": "SHIPFREE", "name": "Free shipping", "kind": "free_shipping", "stackable": True},
        {"id": "BIG", "name": "Big carts", "kind": "percent", "value": 2000,
         "minimum_minor": 100_000},
        {"id": "ONCE", "name": "Once each", "kind": "percent", "value": 1500,
         "most_uses_per_customer": 1},
        {"id": "LAST", "name": "One use", "kind": "percent", "value": 1500, "most_uses": 1},
        {"id": "GOLDIES", "name": "Gold", "kind": "percent", "value": 3000, "tier_id": "gold"},
    ]  # fmt: skip
    call.add(MembershipTier(id="circle", name="Circle", rank=1, currency="EUR", discount_bps=500))
    call.add(
        MembershipTier(
            id="gold", name="Gold", rank=2, currency="EUR", yearly_fee_minor=4900,
            discount_bps=1000, free_shipping_from_minor=1000, points_per_major_unit=3,
        )
    )  # fmt: skip
    for values in promotions:
        call.add(Promotion(**values))
    for name in ("lea", "max", "eve", *TOKENS):
        customer(call, name)


def customer(call: Call, name: str, token: str = "") -> None:
    """A customer who signs in as ``name``, with a card and 50.00 of store credit."""
    call.add(
        Customer(
            id=f"cus-{name}", first_name=name.title(), last_name="Test",
            name_key=f"{name} test", email=f"{name}@example.com", email_key=f"{name}@example.com",
            subject=f"{ISSUER}|{name}", address=ADDRESS, created_at=call.now,
        )
    )  # fmt: skip
    reference = token or (name if name in TOKENS else "tok_ok")
    call.add(
        PaymentMethod(
            id=f"pm-{name}", customer_id=f"cus-{name}", kind="card", brand="visa", last4="4242",
            provider="simulator", provider_reference=reference, created_at=call.now,
        )
    )  # fmt: skip


def more(call: Call, sku: str, units: int) -> None:
    stock.receive(call, sku, "WH-1", units, "more")


async def filled(client: Client, *items: tuple[str, int]) -> str:
    """A cart with these; its id."""
    cart: str | None = None
    for name, quantity in items:
        known = {"cart_id": cart} if cart else {}
        view = await done(client, "add_to_cart", product_name=name, quantity=quantity, **known)
        cart = view["cart_id"]
    assert cart is not None
    return cart


async def quoted(client: Client, cart: str, **more: Any) -> dict[str, Any]:
    """A quote with everything said."""
    said = {"ship_to": ADDRESS, "recipient": "Lea Test", "shipping_service": "post:standard"}
    return await done(client, "prepare_checkout", cart_id=cart, **(said | more))


async def agreed(client: Client, quote: dict[str, Any], method: str, **more: Any) -> Any:
    """Checkout of exactly the quote."""
    result = await client.call_tool(
        "checkout",
        {
            "cart_id": quote["cart_id"], "quote_id": quote["quote_id"],
            "agreed_total_minor": quote["total_minor"], "payment_method_id": method,
        } | more,
    )  # fmt: skip
    return result.structured_content


def worker(shop: Shop) -> OutboxWorker:
    """The worker of the outbox, with a provider whose books are kept beside the shop."""
    simulator = Simulator(shop.settings.home / "provider.db", clock=shop.guard.clock)
    return OutboxWorker(shop.database, {"simulator": simulator}, shop.guard.clock)


async def nothing_stranded(shop: Shop) -> None:
    """Reserved is what open orders hold; authorized what they are paid with; ledgers add up."""

    def check(session: Any) -> None:
        held = session.scalars(
            select(Reservation).where(
                Reservation.source_type == "checkout", Reservation.state.in_(("pending",))
            )
        ).all()
        open_ = set(
            session.scalars(select(Checkout.id).where(Checkout.state == "complete_in_progress"))
        )
        assert {row.source_id for row in held} <= open_
        loose = session.scalars(
            select(Payment).where(
                Payment.order_id.is_(None),
                Payment.closed_at.is_(None),
                Payment.status.in_(("created", "authorized")),
            )
        ).all()
        paying = set(session.scalars(select(Checkout.payment_id).where(Checkout.id.in_(open_))))
        assert {row.id for row in loose} <= paying
        assert sum(line.net for line in trial_balance(session, "EUR")) == 0

    await look(shop, check)


async def all_sold(shop: Shop, units: int) -> None:
    """Each unit of OUT-1 is in an order of its own, paid with its own authorization; nothing else
    is reserved or authorized, and every ledger is at zero."""

    def counted(session: Any) -> None:
        orders = session.scalars(select(Order)).all()
        assert len(orders) == units
        level = stock.level(session, shop.guard.clock(), "OUT-1")
        assert (level.available, level.reserved) == (0, units)
        open_ = select(func.count()).select_from(Checkout)
        assert session.scalar(open_.where(Checkout.state == "complete_in_progress")) == 0
        authorized = session.scalars(select(Payment).where(Payment.status == "authorized")).all()
        assert sum(p.amount_minor for p in authorized) == sum(o.total_minor for o in orders)
        assert {p.order_id for p in authorized} == {o.id for o in orders}
        for ledger in set(session.scalars(select(Account.ledger))):
            rows = session.scalars(select(Account).where(Account.ledger == ledger)).all()
            assert sum(r.debits_posted - r.credits_posted for r in rows) == 0
            assert sum(r.debits_pending - r.credits_pending for r in rows) == 0

    await look(shop, counted)
