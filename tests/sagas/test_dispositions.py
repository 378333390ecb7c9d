"""What becomes of goods that came back: which ledger accounts move, what may be sold, what a
supplier is claimed for."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.ledgers import ledger
from common.rules import funds, stock
from common.tables.inventory import Supplier
from common.tables.spine import Transfer
from tests.sagas.town import HOUSE, LAMP, Town, a_town
from tests.support.shop import do

UNITS, LAMP_COST = 7, 1_500


@pytest.fixture
async def town(url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with a_town(tmp_path, database_url=url) as found:
        await do(
            found.shop, "*", lambda c: c.add(Supplier(id="sup-1", name="Lights", currency="EUR"))
        )
        yield found


async def levels(town: Town) -> stock.Levels:
    return await town.look(lambda s: stock.level(s, town.clock.now, LAMP, HOUSE))


async def came_back(town: Town) -> tuple[str, str, str]:
    """Seven lamps sold, all of them back and waiting: order, return and its line."""
    order, _ = await town.sold(quantity=UNITS)
    line = {"line_id": order["lines"][0]["line_id"], "quantity": UNITS, "reason": "defective"}
    made = await town.do("returns", "request_return", order_id=order["order_id"], lines=[line])
    id, line_id = made["return_id"], made["lines"][0]["line_id"]
    await town.do("returns", "authorize_return", return_id=id)
    here = [{"line_id": line_id, "quantity": UNITS}]
    await town.do("returns", "receive_return", return_id=id, lines=here)
    return order["order_id"], id, line_id


async def looked_at(town: Town, id: str, line: str, disposition: str, quantity: int = 1) -> Any:
    found = {
        "line_id": line, "quantity": quantity, "grade": "B", "condition": "opened",
        "disposition": disposition,
    }  # fmt: skip
    return await town.do("returns", "inspect_return", return_id=id, lines=[found])


async def last_move(town: Town, id: str) -> tuple[str, str, str, int]:
    """What the units ledger has last of a return: code, from, to, units."""
    query = select(Transfer.id).where(Transfer.reference == id).order_by(Transfer.id.desc())
    now = town.clock.now

    def work(session: Session) -> tuple[str, str, str, int]:
        row = ledger.state_of(session, session.scalars(query.limit(1)).one(), now)
        return row.code, inside(row.credit), inside(row.debit), row.amount

    return await town.look(work)


def inside(account: str) -> str:
    return account.removeprefix(f"{HOUSE}/")


WAYS = {
    "restock": ("restock", "available"), "open_box": ("restock", "available"),
    "refurbish": ("refurbish", "refurbish"), "repackage": ("refurbish", "refurbish"),
    "quarantine": ("quarantine", "quarantine"), "rtv": ("supplier_return", "supplier"),
    "scrap": ("dispose", "scrap"),
}  # fmt: skip


async def test_each_goes_where_it_says_and_only_after_it_was_looked_at(town: Town) -> None:
    _, id, line = await came_back(town)
    waiting = await levels(town)
    assert (waiting.inspection, waiting.available) == (UNITS, 100 - UNITS)
    before = waiting
    for disposition, (code, target) in WAYS.items():
        await looked_at(town, id, line, disposition)
        assert await last_move(town, id) == (code, "inspection", target, 1)
        now = await levels(town)
        assert now.inspection == before.inspection - 1
        for status in ("available", "refurbish", "quarantine"):
            more = getattr(now, status) - getattr(before, status)
            assert more == (target == status), (disposition, status)
        gone = target in ("supplier", "scrap")
        assert before.on_hand - now.on_hand == gone, disposition
        before = now
    assert (before.available, before.refurbish, before.quarantine) == (95, 2, 1)


async def test_refurbished_goods_are_sold_once_they_are_mended(town: Town) -> None:
    _, id, line = await came_back(town)
    await looked_at(town, id, line, "refurbish", 3)
    await looked_at(town, id, line, "scrap", UNITS - 3)
    assert (await levels(town)).available == 100 - UNITS, "not while they are being mended"
    answer = await town.ask(
        "orders", "place_order", customer_id="cus-1", payment_method_id="card-1",
        warehouse=HOUSE, lines=[{"sku": LAMP, "quantity": 100 - UNITS + 1}],
    )  # fmt: skip
    assert answer["code"] == "insufficient_stock"
    mended = {"sku": LAMP, "warehouse": HOUSE, "from_status": "refurbish"}
    await town.do(
        "inventory", "move_stock", **mended, to="available", quantity=2, reason="new cable"
    )
    await town.do("inventory", "move_stock", **mended, to="scrap", quantity=1, reason="no use")
    now = await levels(town)
    assert (now.available, now.refurbish, now.on_hand) == (95, 0, 95)
    await town.refused(
        "inventory", "move_stock", "insufficient_stock", **mended, to="available", quantity=1,
        reason="once more",
    )  # fmt: skip


async def test_a_supplier_is_claimed_for_what_went_back_to_it(town: Town) -> None:
    order, id, line = await came_back(town)
    claim = {"kind": "supplier", "type": "damage", "supplier_id": "sup-1", "return_id": id}
    early = await town.refused("claims", "open_claim", "rule_violation", **claim)
    assert "inspect_return" in early["next"]
    await looked_at(town, id, line, "scrap", UNITS - 3)
    looked = await looked_at(town, id, line, "rtv", 3)
    assert "kind=supplier" in looked["next"]
    await town.do("returns", "settle_return", return_id=id)
    await town.provider_answers()

    opened = await town.do("claims", "open_claim", **claim)
    (row,) = opened["lines"]
    assert (row["sku"], row["quantity"], row["unit_cost_minor"]) == (LAMP, 3, LAMP_COST)
    assert opened["claimed_minor"] == 3 * LAMP_COST, "at cost, and only what went back"
    await town.refused("claims", "open_claim", "rule_violation", **claim)
    claim_id = opened["claim_id"]
    await town.evidence(claim_id, *opened["missing"])
    await town.do("claims", "submit_claim", claim_id=claim_id)
    await town.do("claims", "record_carrier_decision", claim_id=claim_id, decision="approved")
    assert await owed(town, claim_id) == 3 * LAMP_COST
    await town.do(
        "claims", "record_recovery", claim_id=claim_id, amount_minor=3 * LAMP_COST,
        reference="CREDIT-1",
    )  # fmt: skip
    assert await owed(town, claim_id) == 0
    await town.books(order)


async def owed(town: Town, claim_id: str) -> int:
    now = town.clock.now
    return await town.look(lambda s: funds.balance(s, now, f"receivable:{claim_id}", "EUR").posted)
