"""Put a money effect in the outbox, for the worker that talks to the provider."""

from typing import Final

from sqlalchemy import select

from common.call import Call
from common.gateways.port import Kind
from common.tables.payments import Dispute, Outbox, Payment, PaymentMethod, Refund

GATEWAY: Final = "gateway"
PROVIDER_KINDS: Final = ("card", "wallet")


def has_provider(method: PaymentMethod) -> bool:
    """Whether a provider has to be asked: imported methods have no token to charge."""
    return method.kind in PROVIDER_KINDS and method.provider_reference is not None


def at_provider(call: Call, payment: Payment) -> bool:
    """Whether the provider knows the payment, or will when the outbox has been worked through."""
    if payment.provider_reference is not None:
        return True
    query = select(Outbox.id).where(
        Outbox.target_type == "payment", Outbox.target_id == payment.id, Outbox.port == GATEWAY
    )
    return call.session.scalar(query.limit(1)) is not None


def enqueue(
    call: Call,
    kind: Kind,
    payment: Payment,
    amount_minor: int,
    *,
    refund: Refund | None = None,
    dispute: Dispute | None = None,
    capture: bool = False,
) -> Outbox:
    """One row in the transaction of the effect. Every row's target is the payment, so that a
    payment's operations are made in turn; ``operation_id`` follows from what is done. The payload
    has amounts and ids and no token. ``capture``: take the money once it is authorized."""
    payload: dict[str, object] = {"amount_minor": amount_minor, "currency": payment.currency}
    if refund is not None:
        payload["refund_id"] = refund.id
    if dispute is not None:
        payload["dispute_id"] = dispute.id
    if capture:
        payload["capture"] = True
    about = f"{(dispute or payment).id}.{kind}" if refund is None else refund.id
    return call.add(
        Outbox(
            id=call.new_id("outbox"),
            operation_id=about,
            port=GATEWAY,
            kind=kind,
            target_type="payment",
            target_id=payment.id,
            payload=payload,
            next_at=call.now,
            created_at=call.now,
        )
    )
