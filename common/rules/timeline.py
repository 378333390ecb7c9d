"""What happened to an order, whichever domain did it."""

from common.call import Call
from common.tables.orders import OrderEvent


def happened(
    call: Call, order_id: str, kind: str, detail: str = "", *, reference: str | None = None
) -> OrderEvent:
    """Add to the order's timeline. ``kind`` is one word in the past tense, such as ``released``;
    ``detail`` is written by us, never by a customer or a model."""
    return call.add(
        OrderEvent(
            id=call.new_id("event"),
            order_id=order_id,
            kind=kind,
            detail=detail,
            reference=reference,
            at=call.now,
        )
    )


def count(number: int, noun: str) -> str:
    """So many of them, as people write it: ``1 line``, ``2 lines``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
