"""The end of a checkout: its payment is authorized, refused, or never answered in time.

Whoever comes first ends it: the shopper's next call, the worker that heard from the provider, or
housekeeping. Either everything that was agreed happens, or all of it is undone: units let go, the
authorization void, points given back.
"""

import logging
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, or_, select
from sqlalchemy.exc import DBAPIError

from common.call import Call
from common.errors import ShopError
from common.ledgers import ledger
from common.rules import members, paid, placing, reserving
from common.rules.paid_state import AWAITED
from common.rules.placing import NewLine, NewOrder
from common.rules.timeline import happened
from common.storage.database import lock
from common.tables.inventory import Reservation
from common.tables.payments import Payment
from common.tables.storefront import Cart, Checkout, CheckoutPromotion, PromotionUse

log = logging.getLogger(__name__)

SOURCE: Final = "checkout"
IN_PROGRESS: Final = "complete_in_progress"
MOST_LINES: Final = 50


def begin(call: Call, checkout: Checkout, method_id: str | None, until: datetime) -> None:
    """Reserve what was agreed and ask for the money; end at once where nobody has to be asked.
    Raises InsufficientStock, InsufficientFunds, RuleViolation; nothing is kept then."""
    terms = checkout.agreed
    customer_id = str(checkout.customer_id)
    for line in sorted(terms["lines"], key=lambda each: str(each["sku"])):
        reserving.reserve(
            call, line["sku"], terms["warehouse"], line["quantity"],
            source=SOURCE, source_id=checkout.id, expires_at=until,
        )  # fmt: skip
    if terms["points"]:
        checkout.points_hold = members.hold_points(
            call, customer_id, terms["points"], checkout.id, until
        )
    for promotion_id in terms["promotions"]:
        call.add(
            CheckoutPromotion(
                id=call.new_id("promotion_use"), checkout_id=checkout.id, promotion_id=promotion_id
            )
        )
    checkout.payment_id = None
    if checkout.total_minor and method_id is not None:
        payment = paid.authorize(
            call, order_id=None, customer_id=customer_id, method_id=method_id,
            amount_minor=checkout.total_minor, currency=checkout.currency,
        )  # fmt: skip
        checkout.payment_id = payment.id
    checkout.state, checkout.expires_at, checkout.failure_code = IN_PROGRESS, until, None
    checkout.method_id = method_id
    call.get(Cart, checkout.cart_id).status = "checkout"
    call.session.flush()
    call.effect("update", "checkout", checkout.id, state=checkout.state)
    finish(call, checkout.id)


def finish(call: Call, checkout_id: str) -> Checkout:
    """End the checkout if it can be ended now; otherwise it stays in progress."""
    call.session.flush()
    lock(call.session, Checkout, [checkout_id])
    checkout = call.session.get_one(Checkout, checkout_id, populate_existing=True)
    if checkout.state != IN_PROGRESS:
        return checkout
    payment = None
    if checkout.payment_id is not None:
        payment = paid.locked(call, checkout.payment_id)
    status = "authorized" if payment is None else paid.standing(payment, call.now)
    if status not in ("authorized", *AWAITED):
        why = (payment.decline_code if payment else None) or status
        _undo(call, checkout, payment, "ready_for_complete", why)
    elif checkout.expires_at <= call.now:
        _undo(call, checkout, payment, "expired", "timed_out")
    elif status == "authorized":
        try:
            with call.trying():
                _complete(call, checkout)
        except ShopError as error:
            call.session.refresh(checkout)
            _undo(call, checkout, payment, "ready_for_complete", error.code)
    return checkout


def finish_due(call: Call, limit: int) -> int:
    """End every checkout that can be ended, the longest waiting first. Returns how many. One that
    breaks is left as it is and holds up no other."""
    done = 0
    for checkout_id in list(call.session.scalars(due(call.now).limit(limit))):
        try:
            with call.trying():
                done += finish(call, checkout_id).state != IN_PROGRESS
        except DBAPIError:
            raise  # a lost race: all of it is tried again
        except Exception:
            log.exception("checkout %s could not be ended", checkout_id)
    return done


def sweep(call: Call, limit: int) -> int:
    """Everything of the storefront that time brings: checkouts to end, carts that are over, points
    that were earned or go back, memberships that lapse. Returns how many things were done."""
    done = finish_due(call, limit) + members.settle_awards(call, limit)
    done += members.settle_refunds(call, limit) + members.lapse_due(call, limit)
    query = _carts_over(call.now).order_by(Cart.expires_at, Cart.id).limit(limit)
    for cart in call.session.scalars(query.with_for_update(skip_locked=True)):
        cart.status = "expired"
        done += 1
    call.session.flush()
    return done


def due_queries(now: datetime) -> list[Any]:
    """What finds anything if ``sweep`` has something to do."""
    points = [members.awards_due(), members.refunds_due()]
    return [due(now), *points, members.lapse_due_query(now), _carts_over(now)]


def _carts_over(now: datetime) -> Select[Cart]:
    return select(Cart).where(Cart.status == "active", Cart.expires_at <= now)


def due(now: datetime) -> Any:
    """Ids of checkouts in progress whose payment was answered or whose time is over."""
    answered = or_(
        Checkout.payment_id.is_(None),
        Checkout.payment_id.in_(
            select(Payment.id).where(Payment.status.not_in(AWAITED))
        ),
        Checkout.expires_at <= now,
    )  # fmt: skip
    query = select(Checkout.id).where(Checkout.state == IN_PROGRESS, answered)
    return query.order_by(Checkout.expires_at, Checkout.id)


def _complete(call: Call, checkout: Checkout) -> None:
    terms = checkout.agreed
    _let_go(call, checkout)
    order = placing.place(call, _order_of(call, checkout))
    if order.total_minor != checkout.total_minor:
        raise AssertionError(f"{checkout.id}: {order.total_minor} is not what was agreed")
    if checkout.points_hold is not None:
        ledger.post(call, checkout.points_hold)
    for promotion_id in terms["promotions"]:
        call.add(
            PromotionUse(
                id=call.new_id("promotion_use"), promotion_id=promotion_id, order_id=order.id,
                customer_id=checkout.customer_id, at=call.now,
            )
        )  # fmt: skip
    members.promise_points(call, order)
    checkout.order_id, checkout.state, checkout.completed_at = order.id, "completed", call.now
    call.get(Cart, checkout.cart_id).status = "converted"
    happened(call, order.id, "bought", "storefront", reference=checkout.id)
    call.session.flush()
    call.effect("update", "checkout", checkout.id, state="completed")


def _order_of(call: Call, checkout: Checkout) -> NewOrder:
    terms = checkout.agreed
    lines = [
        NewLine(each["sku"], each["quantity"], each["price_minor"], each["discount_minor"])
        for each in terms["lines"]
    ]
    return NewOrder(
        customer_id=str(checkout.customer_id),
        lines=lines,
        ship_to=dict(terms["ship_to"]) | {"name": terms["recipient"]},
        payment_method_id=checkout.method_id,
        payment_id=checkout.payment_id,
        warehouse_id=terms["warehouse"],
        named_discounts=[(code, label, amount) for code, label, amount in terms["discounts"]],
        agreed=True,
        shipping_minor=terms["shipping"][1] if terms["shipping"] else 0,
        shipping_service=terms["service"],
        ship_by=_moment(terms.get("ship_by_at")),
        promised_at=_moment(terms.get("promised_at")),
        channel="storefront",
        source="storefront",
        tax_at=_moment(terms.get("quoted_at")),
    )


def _undo(call: Call, checkout: Checkout, payment: Payment | None, state: str, why: str) -> None:
    _let_go(call, checkout)
    if checkout.points_hold is not None:
        ledger.void_if_open(call, checkout.points_hold)
        checkout.points_hold = None
    stands = ("authorized", "expired", *AWAITED)
    if (
        payment is not None
        and payment.closed_at is None
        and paid.standing(payment, call.now) in stands
    ):
        paid.void(call, payment)
    for used in call.all(CheckoutPromotion, CheckoutPromotion.checkout_id == checkout.id):
        call.session.delete(used)
    checkout.state, checkout.failure_code = state, why[:32]
    cart = call.get(Cart, checkout.cart_id)
    cart.status = "active"
    cart.expires_at = max(cart.expires_at, checkout.expires_at)
    call.session.flush()
    call.effect("update", "checkout", checkout.id, state=state, why=why[:32])


def _let_go(call: Call, checkout: Checkout) -> None:
    held = call.all(
        Reservation, Reservation.source_type == SOURCE, Reservation.source_id == checkout.id,
        Reservation.state.in_(reserving.OPEN), limit=MOST_LINES,
    )  # fmt: skip
    for reservation in sorted(held, key=lambda each: each.sku):
        if not reserving.release_if_open(call, reservation):
            reservation.state, reservation.closed_at = "expired", call.now
    call.session.flush()


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
