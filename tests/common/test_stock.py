"""Units in a warehouse: every word, and what the levels say about it."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import InsufficientStock, InvalidParameters, RuleViolation
from common.ledgers import accounts, ledger
from common.ledgers.books import SIDES
from common.rules import stock
from common.rules.stock import Levels
from common.storage import hot
from tests.common.ledger_model import broken_promises
from tests.support.ledger import START, Desk

SKU = "SKU-1"
SOON = START + timedelta(minutes=15)


def levels(desk: Desk, warehouse: str | None = "WH-1") -> Levels:
    assert desk.look(broken_promises) == []
    return desk.look(lambda s: stock.level(s, desk.now, SKU, warehouse))


def test_a_unit_lives(desk: Desk) -> None:
    do = desk.do
    do("inventory", lambda c: stock.receive(c, SKU, "WH-1", 10, "po_1"))
    do("inventory", lambda c: stock.receive(c, SKU, "WH-1", 2, "po_1", status="damaged"))
    assert levels(desk) == Levels(on_hand=12, available=10, damaged=2)
    sold = do("orders", lambda c: stock.reserve(c, SKU, "WH-1", 4, "ord_1", SOON))
    cart = do("storefront", lambda c: stock.reserve(c, SKU, "WH-1", 3, "crt_1", SOON))
    assert levels(desk) == Levels(on_hand=12, reserved=7, available=3, damaged=2)
    do("storefront", lambda c: stock.release(c, cart))
    do("logistics", lambda c: stock.ship(c, sold, 3))
    assert levels(desk) == Levels(on_hand=9, available=7, damaged=2)
    do("returns", lambda c: stock.move(
        c, SKU, "WH-1", "customer", "inspection", 2, "return_in", "rma_1"))  # fmt: skip
    assert levels(desk) == Levels(on_hand=11, available=7, damaged=2, inspection=2)
    do("returns", lambda c: stock.move(
        c, SKU, "WH-1", "inspection", "available", 1, "restock", "rma_1"))  # fmt: skip
    do("returns", lambda c: stock.move(
        c, SKU, "WH-1", "inspection", "scrap", 1, "dispose", "rma_1"))  # fmt: skip
    do("inventory", lambda c: stock.adjust(c, SKU, "WH-1", -2, "cnt_1", counted=True))
    do("inventory", lambda c: stock.adjust(c, SKU, "WH-1", 1, "adj_1", status="quarantine"))
    assert levels(desk) == Levels(on_hand=9, available=6, quarantine=1, damaged=2)
    world = desk.look(lambda s: accounts.totals(s, "units/SKU-1", now=desk.now))
    assert {code: b.posted for code, b in world.items() if "/" not in code} == {
        "supplier": -12, "customer": 1, "scrap": 1, "adjustments": 1,
    }  # fmt: skip


def test_a_transfer_between_warehouses_keeps_the_network_whole(desk: Desk) -> None:
    desk.do("inventory", lambda c: stock.receive(c, SKU, "WH-1", 10, "po_1"))
    desk.do("inventory", lambda c: stock.send(c, SKU, "WH-1", "WH-2", 6, "stt_1"))
    assert levels(desk) == Levels(on_hand=4, available=4)
    assert levels(desk, "WH-2") == Levels(in_transit=6)
    assert levels(desk, None) == Levels(on_hand=4, available=4, in_transit=6)
    desk.do("inventory", lambda c: stock.arrive(c, SKU, "WH-2", 4, "stt_1"))
    desk.do("inventory", lambda c: stock.arrive(c, SKU, "WH-2", 1, "stt_1", status="damaged"))
    desk.do("inventory", lambda c: stock.lose_in_transit(c, SKU, "WH-2", 1, "stt_1"))
    assert levels(desk, "WH-2") == Levels(on_hand=5, available=4, damaged=1)
    for word in (stock.arrive, stock.lose_in_transit):
        with pytest.raises(InsufficientStock):
            desk.do("inventory", lambda c, w=word: w(c, SKU, "WH-2", 1, "stt_1"))


def test_what_is_reserved_cannot_be_sent_or_lost(desk: Desk) -> None:
    desk.do("inventory", lambda c: stock.receive(c, SKU, "WH-1", 5, "po_1"))
    desk.do("orders", lambda c: stock.reserve(c, SKU, "WH-1", 4, "ord_1", SOON))
    for work in (
        lambda c: stock.send(c, SKU, "WH-1", "WH-2", 2, "stt_1"),
        lambda c: stock.adjust(c, SKU, "WH-1", -2, "adj_1"),
        lambda c: stock.reserve(c, SKU, "WH-1", 2, "ord_2", SOON),
        lambda c: stock.move(c, SKU, "WH-1", "available", "damaged", 2, "damage", "adj_1"),
    ):
        with pytest.raises(InsufficientStock) as error:
            desk.do("inventory", work)
        assert error.value.details["available"] == 1
    assert levels(desk) == Levels(on_hand=5, reserved=4, available=1)


def test_an_expired_reservation_is_not_reserved(desk: Desk) -> None:
    desk.do("inventory", lambda c: stock.receive(c, SKU, "WH-1", 5, "po_1"))
    id = desk.do("orders", lambda c: stock.reserve(c, SKU, "WH-1", 4, "ord_1", SOON))
    desk.now = SOON
    assert levels(desk) == Levels(on_hand=5, available=5)
    with pytest.raises(RuleViolation, match="already expired"):
        desk.do("orders", lambda c: stock.ship(c, id))
    desk.do("*", ledger.expire_due)
    assert levels(desk) == Levels(on_hand=5, available=5)


def test_lots_are_apart_and_add_up(desk: Desk) -> None:
    def work(call: Call) -> None:
        stock.receive(call, SKU, "WH-1", 3, "po_1", lot="lot/a")
        stock.receive(call, SKU, "WH-1", 4, "po_1", lot="lot_b")
        stock.receive(call, SKU, "WH-1", 5, "po_1")
        stock.reserve(call, SKU, "WH-1", 2, "ord_1", None, lot="lot_b")

    desk.do("inventory", work)
    assert desk.look(lambda s: stock.by_lot(s, desk.now, SKU, "WH-1")) == {
        "lot/a": Levels(on_hand=3, available=3),
        "lot_b": Levels(on_hand=4, reserved=2, available=2),
        None: Levels(on_hand=5, available=5),
    }
    assert levels(desk) == Levels(on_hand=12, reserved=2, available=10)
    with pytest.raises(InsufficientStock):
        desk.do("inventory", lambda c: stock.reserve(c, SKU, "WH-1", 3, "x", None, lot="lot_b"))


def test_levels_of_many_skus_take_few_queries(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    skus = [f"SKU-{n}" for n in range(40)]

    def work(call: Call) -> None:
        for number, sku in enumerate(skus, 1):
            stock.receive(call, sku, "WH-1", number, "po_1")
            stock.receive(call, sku, "WH-10", 1, "po_1")
            stock.reserve(call, sku, "WH-1", 1, "ord_1", SOON)

    desk.do("inventory", work)
    desk.now = SOON
    statements = Counter[str]()
    plain = hot.rows

    def counted(session: Session, statement: Any, **values: Any) -> Any:
        statements[str(statement)] += 1
        return plain(session, statement, **values)

    monkeypatch.setattr(hot, "rows", counted)
    found = desk.look(lambda s: stock.levels(s, desk.now, skus, "WH-1"))
    assert found == {(sku, "WH-1"): Levels(on_hand=n, available=n) for n, sku in enumerate(skus, 1)}
    assert statements.total() == 2  # the balances, and what has lapsed of what is pending on them
    assert desk.look(lambda s: stock.levels(s, desk.now, ["SKU-none"])) == {}
    assert desk.look(lambda s: stock.level(s, desk.now, "SKU-none")) == Levels()


def test_accounts_locked_beforehand_serve_the_rule(desk: Desk) -> None:
    def work(call: Call) -> None:
        keys = [
            (stock.units(sku), code)
            for sku in ("B", "A")
            for code in ("WH-1/available", "supplier")
        ]
        accounts.lock(call.session, keys)
        for sku in ("B", "A"):
            stock.receive(call, sku, "WH-1", 1, "po_1")

    desk.do("inventory", work)
    found = desk.look(lambda s: stock.levels(s, desk.now, ["A", "B"]))
    assert set(found.values()) == {Levels(on_hand=1, available=1)}


@pytest.mark.parametrize("warehouse", ["", "WH/1", "/"])
def test_a_warehouse_cannot_name_another_account(desk: Desk, warehouse: str) -> None:
    with pytest.raises(InvalidParameters):
        desk.do("inventory", lambda c: stock.receive(c, SKU, warehouse, 1, "po_1"))


def test_nothing_moves_to_where_it_is(desk: Desk) -> None:
    desk.do("inventory", lambda c: stock.receive(c, SKU, "WH-1", 1, "po_1"))
    with pytest.raises(InvalidParameters):
        desk.do("inventory", lambda c: stock.send(c, SKU, "WH-1", "WH-1", 1, "stt_1"))
    with pytest.raises(InvalidParameters):
        desk.do("inventory", lambda c: stock.move(
            c, SKU, "WH-1", "damaged", "damaged", 1, "damage", "adj_1"))  # fmt: skip
    with pytest.raises(InvalidParameters):
        desk.do("inventory", lambda c: stock.adjust(c, SKU, "WH-1", 0, "adj_1"))


def test_every_status_is_a_level() -> None:
    limited = {name for name, side in SIDES["units"].items() if side == "debit"}
    assert limited <= set(Levels.__dataclass_fields__)
