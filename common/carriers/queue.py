"""Put what is asked of a carrier in the outbox, in the transaction that decides it."""

from typing import Any, Final, Literal

from common.call import Call
from common.tables.logistics import Carrier
from common.tables.payments import Outbox

CARRIER: Final = "carrier"
Kind = Literal["buy", "void", "close", "collect"]


def enqueue(
    call: Call, kind: Kind, carrier: Carrier, target: str, id: str, payload: dict[str, Any]
) -> Outbox:
    """One row. ``operation_id`` follows from what is done to what, so that it is done once."""
    return call.add(
        Outbox(
            id=call.new_id("outbox"), operation_id=f"{id}.{kind}", port=CARRIER, kind=kind,
            target_type=target, target_id=id,
            payload={"connection": carrier.connection, **payload},
            next_at=call.now, created_at=call.now,
        )
    )  # fmt: skip
