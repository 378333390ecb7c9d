"""Nothing leaves the house that was not paid for, whatever the books show was moved."""

from common.call import Call
from common.gateways.port import Outcome, State
from common.rules import paid, paid_answered
from common.tables.orders import Order
from common.tables.payments import Outbox, Payment
from tests.logistics.seed import Desk


async def test_a_capture_that_failed_pays_for_nothing(desk: Desk) -> None:
    """Its money was booked in and out again; a cent that did come is not the rest."""
    order_id = await desk.order()
    made = await desk.done("create_shipment", order_id=order_id, carrier="swift")

    def fails(call: Call) -> None:
        order = call.get(Order, order_id)
        (payment,) = call.all(Payment, Payment.order_id == order_id)
        paid.capture(call, payment)
        asked = Outbox(kind="capture", target_id=payment.id, payload={"amount_minor": 4_000})
        paid_answered.settle(call, asked, Outcome(State.FAILED, None, "expired"))
        paid.charge(
            call, order_id=order_id, customer_id=order.customer_id, method_id=payment.method_id,
            amount_minor=1, currency="EUR",
        )  # fmt: skip

    await desk.seed("payments", fails)
    answer = await desk.refused(
        "record_tracking_event", "rule_violation", shipment_id=made["shipment_id"],
        event_id="e1", status="in_transit", occurred_at="2026-11-02T09:00:00Z",
    )  # fmt: skip
    assert answer["details"] == {"taken_minor": 1, "refunded_minor": 0, "lost_minor": 0}
