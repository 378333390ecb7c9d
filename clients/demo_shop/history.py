"""Customers and ninety days of orders of the demo shop."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

from clients.demo_shop import words
from common.call import Call
from common.rules import funds
from common.tables.inventory import Variant
from common.tables.logistics import Shipment, ShipmentLine
from common.tables.orders import Customer, Order, OrderAdjustment, OrderEvent, OrderLine
from common.tables.payments import Payment, PaymentMethod

EUR = "EUR"
CUSTOMERS = 140
WEEKDAYS = (14, 12, 11, 12, 13, 9, 8)  # orders a day, Monday first


def meet(call: Call, rng: Random) -> list[tuple[Customer, str, str]]:
    """Customers with a card each, some with a gift card: (customer, method id, warehouse)."""
    session, met = call.session, []
    for number in range(1, CUSTOMERS + 1):
        first, last = rng.choice(words.FIRST), rng.choice(words.LAST)
        home = rng.choice(words.CITIES)
        # The first one, who orders in the demo, lives where a van can reach them.
        city, postal_code, lat, lon, warehouse = words.CITIES[0] if number == 1 else home
        address = {
            "line1": f"{rng.choice(words.STREETS)} {rng.randint(1, 120)}", "line2": "",
            "city": city, "region": "", "postal_code": postal_code, "country": "DE",
            "lat_e6": lat + rng.randint(-30_000, 30_000),
            "lon_e6": lon + rng.randint(-40_000, 40_000),
        }  # fmt: skip
        email = f"{first}.{last}.{number}@example.com".casefold().replace("ä", "ae")
        customer = Customer(
            id=f"cus-{number:04}", email=email, email_key=email, first_name=first, last_name=last,
            name_key=f"{first} {last}".casefold(), address=address, postal_code=postal_code,
            created_at=call.now - timedelta(days=rng.randint(91, 700)),
        )  # fmt: skip
        session.add(customer)
        met.append((customer, f"card-{number:04}", warehouse))
    session.flush()
    for number, (customer, method, _) in enumerate(met, 1):
        session.add(
            PaymentMethod(
                id=method, customer_id=customer.id, kind="card", brand=rng.choice(("visa", "mc")),
                last4=f"{rng.randint(0, 9999):04}", exp_month=rng.randint(1, 12), exp_year=2029,
                provider="simulator", created_at=customer.created_at,
            )
        )  # fmt: skip
        if number % 5 == 0:
            card = f"gift-{number:04}"
            session.add(
                PaymentMethod(
                    id=card, customer_id=customer.id, kind="gift_card", position=1, currency=EUR,
                    created_at=customer.created_at,
                )
            )  # fmt: skip
    session.flush()
    for number in range(5, CUSTOMERS + 1, 5):
        account = funds.gift_card(f"gift-{number:04}")
        funds.open_balance(call, account, rng.randint(10, 80) * 100, EUR, "opening")
    return met


def happen(
    call: Call,
    rng: Random,
    customers: Sequence[tuple[Customer, str, str]],
    variants: Sequence[Variant],
    days: int,
) -> int:
    """The orders of the days before today, oldest first. Returns how many.

    Their stock left before the opening balance was counted, so only the last ones reserve."""
    number = 1_000
    midnight = call.now.replace(hour=0, minute=0, second=0, microsecond=0)
    for back in range(days, 0, -1):
        day = midnight - timedelta(days=back)
        for _ in range(max(1, WEEKDAYS[day.weekday()] + rng.randint(-3, 3))):
            number += 1
            placed = day + timedelta(minutes=rng.randint(6 * 60, 22 * 60))
            _order(call, rng, f"SO-{number}", placed, rng.choice(customers), variants, back)
        call.session.flush()
    return number - 1_000


def _order(
    call: Call,
    rng: Random,
    order_id: str,
    placed: datetime,
    who: tuple[Customer, str, str],
    variants: Sequence[Variant],
    back: int,
) -> None:
    customer, method, warehouse = who
    wanted = {v.id: v for v in rng.sample(variants, rng.choice((1, 1, 1, 2, 2, 3)))}
    quantities = [rng.choice((1, 1, 1, 1, 2, 2, 3)) for _ in wanted]
    prices = [variant.price_minor for variant in wanted.values()]
    subtotal = sum(q * p for q, p in zip(quantities, prices, strict=True))
    shipping = 0 if subtotal >= 5_000 else 490
    cancelled = rng.random() < 0.03
    delivered = placed + timedelta(hours=rng.randint(44, 76))
    on_time = delivered <= call.now and not cancelled
    order = Order(
        id=order_id, customer_id=customer.id, currency=EUR, subtotal_minor=subtotal,
        shipping_minor=shipping, total_minor=subtotal + shipping, ship_to=dict(customer.address),
        warehouse_id=warehouse, payment_method_id=method, created_at=placed, placed_at=placed,
        status="cancelled" if cancelled else "completed" if on_time else "in_fulfilment",
        payment_status="refunded" if cancelled else "captured",
        fulfilment_status="delivered" if on_time else "not_fulfilled" if cancelled else "shipped",
        cancel_reason="no_longer_needed" if cancelled else None,
        cancelled_at=placed + timedelta(hours=2) if cancelled else None,
        ship_by=placed + timedelta(days=1), promised_at=placed + timedelta(days=3),
        released_at=None if cancelled else placed + timedelta(hours=4),
        shipped_at=None if cancelled else placed + timedelta(hours=20),
        delivered_at=delivered if on_time else None,
    )  # fmt: skip
    call.session.add(order)
    call.session.flush()
    status = "cancelled" if cancelled else "delivered" if on_time else "shipped"
    lines = [
        OrderLine(
            id=f"{order_id}-{position}", order_id=order_id, position=position, sku=variant.id,
            product_id=variant.product_id, name=variant.name, options=variant.options,
            quantity=quantity, unit_price_minor=variant.price_minor, status=status,
            warehouse_id=warehouse, placed_at=placed, delivered_at=order.delivered_at,
        )
        for position, (variant, quantity) in enumerate(
            zip(wanted.values(), quantities, strict=True)
        )
    ]  # fmt: skip
    call.session.add_all(lines)
    if shipping:
        call.session.add(
            OrderAdjustment(
                id=f"{order_id}-ship", order_id=order_id, kind="shipping", label="Shipping",
                amount_minor=shipping,
            )
        )  # fmt: skip
    _told(call, order)
    call.session.flush()
    _paid(call, order, method)
    if not cancelled:
        _shipped(call, rng, order, lines, customer.address)


def _paid(call: Call, order: Order, method: str) -> None:
    payment = Payment(
        id=f"pay-{order.id}", order_id=order.id, customer_id=order.customer_id, method_id=method,
        amount_minor=order.total_minor, currency=EUR, status="captured", provider="simulator",
        created_at=order.placed_at, authorized_at=order.placed_at, captured_at=order.placed_at,
    )  # fmt: skip
    call.session.add(payment)
    call.session.flush()
    payment.transfer_id = funds.charge(
        call, payment.id, order.total_minor, EUR, funds.clearing("card"), reference=order.id
    )
    if order.status == "cancelled":
        payment.status = "refunded"
        funds.refund(
            call, payment.id, order.total_minor, EUR, funds.clearing("card"), reference=order.id
        )


def _shipped(
    call: Call, rng: Random, order: Order, lines: Sequence[OrderLine], address: dict[str, Any]
) -> None:
    delivered = order.delivered_at
    shipment = Shipment(
        id=f"shp-{order.id}", order_id=order.id, warehouse_id=order.warehouse_id,
        status="delivered" if delivered else "in_transit", status_at=delivered or order.shipped_at,
        ship_to=address, lat_e6=address["lat_e6"], lon_e6=address["lon_e6"], carrier_id="post",
        service="standard", tracking_number=f"PP{rng.randint(10**9, 10**10 - 1)}",
        weight_g=500 * len(lines), volume_cm3=4_000 * len(lines), currency=EUR, cost_minor=459,
        declared_value_minor=order.subtotal_minor, ship_by=order.ship_by,
        promised_at=order.promised_at, created_at=order.released_at,
        shipped_at=order.shipped_at, delivered_at=delivered,
    )  # fmt: skip
    call.session.add(shipment)
    call.session.flush()
    call.session.add_all(
        ShipmentLine(
            id=f"{line.id}-shp",
            shipment_id=shipment.id,
            order_line_id=line.id,
            sku=line.sku,
            quantity=line.quantity,
        )
        for line in lines
    )


def _told(call: Call, order: Order) -> None:
    moments = {
        "placed": order.placed_at, "cancelled": order.cancelled_at,
        "released": order.released_at, "shipped": order.shipped_at,
        "delivered": order.delivered_at,
    }  # fmt: skip
    call.session.add_all(
        OrderEvent(id=f"{order.id}-{kind}", order_id=order.id, kind=kind, at=at)
        for kind, at in moments.items()
        if at is not None and at <= call.now
    )
