"""Worked examples of the inventory pages: the shop's own rules, run on a small shop in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from common.call import Actor, Call
from common.rules import stock
from common.tables.inventory import (
    Lot,
    Product,
    Supplier,
    SupplierItem,
    Variant,
    Warehouse,
)
from common.tables.whole import Base
from servers.inventory import (
    corrections,
    counts,
    purchasing,
    receiving,
    reservations,
    transferring,
)
from servers.inventory.classes import Policy, Position
from servers.inventory.counts import Counted
from servers.inventory.forecasting import forecast
from servers.inventory.receiving import ReceivedLine
from servers.inventory.replenishing import decide
from servers.inventory.transferring import ArrivedLine, SentLine

MONDAY: Final = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
NORTH, SOUTH, CUPS, MILK = "WH-N", "WH-S", "CUP-01", "MILK-1L"
WRITER: Final = Actor("docs", "example", "docs", frozenset(), machine=True)
# Four weeks of sales: more on Fridays and Saturdays, one promotion.
SOLD: Final = (4, 5, 4, 6, 9, 11, 3) * 3 + (4, 5, 21, 6, 9, 11, 3)


@contextmanager
def shop() -> Iterator[Call]:
    """An empty shop in memory, at nine on a Monday."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine, info={"audit_id": "aud_example", "domain": "*"}) as session:
        yield Call(WRITER, session, MONDAY, "aud_example", "*", "docs")
    engine.dispose()


def stocked(call: Call) -> None:
    """Two warehouses, cups from a supplier, milk in lots."""
    for id in (NORTH, SOUTH):
        call.add(Warehouse(id=id, name=id, region="north", address={}, timezone="UTC"))
    call.add(Product(id="P-1", name="Kitchen"))
    call.add(Supplier(id="SUP-1", name="Potter", currency="EUR"))
    for sku, lots in ((CUPS, False), (MILK, True)):
        call.add(
            Variant(
                id=sku, product_id="P-1", name=sku, price_minor=800, currency="EUR",
                lot_tracked=lots,
            )
        )  # fmt: skip
    call.session.flush()
    call.add(
        SupplierItem(
            id="SI-1", supplier_id="SUP-1", sku=CUPS, unit_cost_minor=300, currency="EUR",
            minimum_order=24, pack_multiple=12, lead_time_millidays=4_000,
            lead_time_sd_millidays=1_000,
        )
    )  # fmt: skip
    call.session.flush()


def stock_table() -> str:
    """One item through every status, in two warehouses."""
    with shop() as call:
        stocked(call)
        rows = list(_steps(call))
    head = (
        "| step | north: on hand | reserved | available | quarantine | damaged "
        "| south: on the way | available | damaged |"
    )
    return "\n".join([head, "| --- |" + " --- |" * 8, *rows, ""])


def _steps(call: Call) -> Iterator[str]:
    order = purchasing.create_reorder(call, CUPS, 30, NORTH, None, "", False)
    arrived = [ReceivedLine(sku=CUPS, received=33, damaged=2)]
    got = receiving.receive_purchase_order(call, order.purchase_order_id, arrived, "DN-1", True)
    odd = ", ".join(f"{found.kind} {found.units}" for found in got.discrepancies)
    yield _row(call, f"{order.quantity} ordered; 33 good and 2 damaged came: {odd}")
    reservations.reserve_stock(call, CUPS, 5, NORTH, "phone", 30, "manual", None)
    yield _row(call, "5 reserved for half an hour")
    corrections.move_stock(call, CUPS, NORTH, 3, "available", "quarantine", None, "wet carton")
    yield _row(call, "3 set aside")
    sent = transferring.transfer_stock(call, NORTH, SOUTH, [SentLine(sku=CUPS, quantity=8)], 2, "")
    yield _row(call, "8 sent south: the first leg")
    came = [ArrivedLine(sku=CUPS, received=6, damaged=1, lost=1)]
    transferring.receive_transfer(call, sent.transfer_id, came, None)
    yield _row(call, "6 came, 1 damaged, 1 lost: the second leg")
    call.now = MONDAY + timedelta(minutes=31)
    yield _row(call, "31 minutes later: the reservation is over")
    sheet = counts.start_cycle_count(call, NORTH, [CUPS], 1, "available")
    corrections.move_stock(call, CUPS, NORTH, 2, "available", "damaged", None, "dropped")
    yield _row(call, "a count begins at 22; 2 are dropped meanwhile")
    for _ in range(2):
        posted = counts.submit_cycle_count(
            call, sheet.count_id, [Counted(line=1, counted=21)], "submit"
        )
    yield _row(call, f"21 counted, and 21 again: {posted.state}, 1 less than the snapshot")


def _row(call: Call, step: str) -> str:
    call.session.flush()
    north, south = (stock.level(call.session, call.now, CUPS, id) for id in (NORTH, SOUTH))
    figures = (
        north.on_hand, north.reserved, north.available, north.quarantine, north.damaged,
        south.in_transit, south.available, south.damaged,
    )  # fmt: skip
    return f"| {step} | " + " | ".join(str(figure) for figure in figures) + " |"


def lots_table() -> str:
    """Which lots a reservation of ten takes."""
    with shop() as call:
        stocked(call)
        for code, units, days in (("A", 7, 20), ("B", 4, 3), ("C", 9, -1), ("D", 5, None)):
            expires = None if days is None else MONDAY.date() + timedelta(days=days)
            call.add(Lot(id=code, sku=MILK, code=code, expires_on=expires, received_at=call.now))
            call.session.flush()
            stock.adjust(call, MILK, NORTH, units, "example", lot=code)
        made = reservations.reserve_stock(call, MILK, 10, NORTH, "phone", 30, "manual", None)
        taken = {row.lot: row.quantity for row in made.reservations}
        lots = call.all(Lot, Lot.sku == MILK)
    rows = [
        f"| {lot.code} | {lot.expires_on or 'never'} | {taken.get(lot.id, 0)} |"
        for lot in sorted(lots, key=lambda lot: lot.id)
    ]
    return "\n".join(["| lot | expires on | taken of 10 |", "| --- | --- | --- |", *rows, ""])


def reorder_lines() -> str:
    """One decision with its arithmetic, as list_low_stock shows it."""
    policy = Policy(lead_time_days=4, lead_time_sd_days=1.0, minimum_order=24, pack_multiple=12)
    position = Position(on_hand=40, reserved=6, unavailable=2, backordered=1)
    demand = forecast(SOLD, policy.protection_days)
    by_fill = decide(position, demand, policy, recent=SOLD)
    by_level = decide(position, demand, replace(policy, service_level=0.95), recent=SOLD)
    return "\n".join(
        ["```text", *by_fill.arithmetic, "", "with a service level of 95 % instead:",
         *by_level.arithmetic[3:5], by_level.arithmetic[-1], "```", ""]
    )  # fmt: skip


EXAMPLES: Final[dict[str, Callable[[], str]]] = {
    "example-stock": stock_table,
    "example-lots": lots_table,
    "example-reorder": reorder_lines,
}
