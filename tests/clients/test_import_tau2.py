"""The tau2 shop: all of it in, all of it out, equal; and what does not fit is named."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from clients.exporters import tau2 as exporter
from clients.importers import tau2
from common.errors import ShopError
from common.ledgers import accounts
from common.rules import funds
from common.shop import Shop
from common.tables.orders import Order, OrderLine
from common.tables.spine import AuditRecord, Transfer
from tests.clients.data import reasons, take_in
from tests.support import data
from tests.support.shop import a_shop, look

ADDRESS = {"address1": "1 Way", "address2": "", "city": "Austin", "country": "USA",
           "state": "TX", "zip": "78701"}  # fmt: skip


def order(id: str, **changes: Any) -> dict[str, Any]:
    """An order of two of one item and one of another, paid by gift card."""
    items = [
        {"name": "Lamp", "product_id": "p1", "item_id": sku, "price": price,
         "options": {"color": color}}
        for sku, price, color in (("v1", 10.5, "red"), ("v1", 10.5, "red"), ("v2", 20.05, "blue"))
    ]  # fmt: skip
    paid = {"transaction_type": "payment", "amount": 41.05, "payment_method_id": "gift_1"}
    return {
        "order_id": id, "user_id": "u1", "address": ADDRESS, "items": items, "status": "pending",
        "fulfillments": [], "payment_history": [paid],
    } | changes  # fmt: skip


def small(*orders: dict[str, Any]) -> dict[str, Any]:
    methods = {
        "gift_1": {"source": "gift_card", "id": "gift_1", "balance": 5.01},
        "card_1": {"source": "credit_card", "id": "card_1", "brand": "visa", "last_four": "1234"},
        "pal_1": {"source": "paypal", "id": "pal_1"},
    }
    variants = {
        sku: {"item_id": sku, "options": {"color": color}, "available": available, "price": price}
        for sku, color, available, price in (
            ("v1", "red", True, 10.5), ("v2", "blue", False, 20.05), ("v3", "jade", True, 10.5)
        )
    }  # fmt: skip
    user = {
        "user_id": "u1", "name": {"first_name": "Ana", "last_name": "Öz"}, "address": ADDRESS,
        "email": "Ana@Example.com", "payment_methods": methods,
        "orders": [each["order_id"] for each in orders],
    }  # fmt: skip
    return {
        "products": {"p1": {"name": "Lamp", "product_id": "p1", "variants": variants}},
        "users": {"u1": user},
        "orders": {each["order_id"]: each for each in orders},
    }


SHIPPED = [{"tracking_id": ["T1", "T2"], "item_ids": ["v2", "v1", "v1"]}]
PAID, BACK = order("x")["payment_history"][0], {
    "transaction_type": "refund", "amount": 41.05, "payment_method_id": "gift_1"}  # fmt: skip
EVERY_STATE = (
    order("#1"),
    order("#2", status="processed", fulfillments=SHIPPED),
    order("#3", status="delivered", fulfillments=SHIPPED),
    order("#4", status="cancelled", payment_history=[PAID, BACK],
          cancel_reason="no longer needed"),
    order("#5", status="pending (item modified)", payment_history=[
        PAID, {"transaction_type": "refund", "amount": 0.0, "payment_method_id": "card_1"}]),
    order("#6", status="pending (item modified)", payment_history=[
        {**PAID, "amount": 50.1},
        {"transaction_type": "refund", "amount": 9.05, "payment_method_id": "card_1"}]),
    order("#7", status="return requested", fulfillments=SHIPPED,
          return_items=["v1", "v2"], return_payment_method_id="gift_1"),
    order("#8", status="return requested", fulfillments=SHIPPED,
          return_items=[], return_payment_method_id="gift_1"),
    order("#9", status="exchange requested", fulfillments=SHIPPED, exchange_items=["v1", "v1"],
          exchange_new_items=["v1", "v3"], exchange_payment_method_id="pal_1",
          exchange_price_difference=0.0),
)  # fmt: skip


async def exported(shop: Shop) -> dict[str, Any]:
    now = shop.guard.clock()
    found = await look(shop, lambda session: exporter.export(session, now))
    assert found.left_out == []
    again = await look(shop, lambda session: exporter.export(session, now))
    assert found.text() == again.text()
    content: dict[str, Any] = json.loads(found.text())
    return content


def written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "shop.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


async def test_round_trip_of_the_whole_shop(tmp_path: Path) -> None:
    db = data("tau2-retail/db.json")
    async with a_shop(tmp_path) as shop:
        report = await take_in(shop, "tau2", db)
        assert report.refused == []
        assert report.written["variant"] == 591
        assert report.written["payment method"] == 695
        want, got = json.loads(db.read_text(encoding="utf-8")), await exported(shop)
    equal = 0
    for kind in ("products", "users", "orders"):
        assert set(got[kind]) == set(want[kind])
        for id, record in want[kind].items():
            assert got[kind][id] == record
            equal += 1
    assert equal == 1_550


async def test_every_state_goes_in_and_comes_out(tmp_path: Path) -> None:
    content = small(*EVERY_STATE)
    async with a_shop(tmp_path) as shop:
        report = await take_in(shop, "tau2", written(tmp_path, content))
        assert reasons(report) == {}
        assert await exported(shop) == content


async def test_money_of_the_past_is_no_providers_debt(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as shop:
        await take_in(shop, "tau2", written(tmp_path, small(*EVERY_STATE)))
        balances = await look(
            shop, lambda s: accounts.totals(s, funds.money("USD"), now=shop.guard.clock())
        )
        lines = await look(
            shop,
            lambda s: s.scalar(
                select(func.sum(OrderLine.unit_price_minor)).where(OrderLine.status != "cancelled")
            ),
        )
    assert balances["gift_card:gift_1"].available == 501
    assert not any(code.startswith("clearing") for code in balances)
    held = sum(b.posted for code, b in balances.items() if code.startswith("payment:"))
    assert held == lines
    assert balances["opening"].posted == held + 501


async def test_dry_run_keeps_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, small(*EVERY_STATE))
    ticks: list[int] = []
    async with a_shop(tmp_path) as shop:
        report = await take_in(shop, "tau2", path, dry_run=True, tick=ticks.append)
        assert report.dry_run
        assert report.written["order"] == len(EVERY_STATE)
        assert sum(ticks) == tau2.size(tau2.read(path))
        for table in (Order, Transfer, AuditRecord):
            count = await look(
                shop, lambda s, t=table: s.scalar(select(func.count()).select_from(t))
            )
            assert count == 0


async def test_a_second_import_is_refused_row_by_row(tmp_path: Path) -> None:
    path = written(tmp_path, small(order("#1")))
    async with a_shop(tmp_path) as shop:
        await take_in(shop, "tau2", path)
        before = await exported(shop)
        again = await take_in(shop, "tau2", path)
        assert [refusal.kind for refusal in again.refused] == ["product", "customer", "order"]
        assert all("already" in refusal.reason for refusal in again.refused), reasons(again)
        assert await exported(shop) == before


REFUND = {"transaction_type": "refund", "amount": 50, "payment_method_id": "gift_1"}
BAD_ORDERS = {
    "status": {"status": "lost"},
    "customer": {"user_id": "u2"},
    "decimals": {"payment_history": [PAID | {"amount": 41.055}]},
    "payment method": {"payment_history": [PAID | {"payment_method_id": "card_9"}]},
    "refunds": {"payment_history": [PAID, REFUND]},
    "no items": {"items": []},
    "not known": {"gift_wrap": True},
    "missing": {"address": {"city": "Austin"}},
    "more often": {"fulfillments": [{"tracking_id": [], "item_ids": ["v2", "v2"]}]},
    "cancel reason": {"status": "cancelled", "cancel_reason": "bored"},
    "does not fit": {"return_items": ["v1"]},
    "pair": {"status": "exchange requested", "exchange_items": ["v1"], "exchange_new_items": ["z"],
             "exchange_payment_method_id": "pal_1"},
    "not a number": {"payment_history": [PAID | {"amount": "many"}]},
    "another form": {"items": [None]},
    "calls itself": {"order_id": "#other"},
}  # fmt: skip


async def test_every_refused_order_is_named_with_its_reason(tmp_path: Path) -> None:
    bad = {
        f"#{number}": order(f"#{number}") | copy.deepcopy(change)
        for number, change in enumerate(BAD_ORDERS.values(), 2)
    }
    content = small(order("#1"))
    content["orders"] |= bad | {"no id": order("no id")}
    async with a_shop(tmp_path) as shop:
        report = await take_in(shop, "tau2", written(tmp_path, content))
        assert set((await exported(shop))["orders"]) == {"#1"}
    found = reasons(report)
    assert set(found) == {*bad, "no id"}
    for id, word in zip(bad, BAD_ORDERS, strict=True):
        assert word in found[id], (word, found[id])
    assert report.read["order"] == len(bad) + 2
    assert report.written["order"] == 1


async def test_bad_customers_and_products_take_their_orders_along(tmp_path: Path) -> None:
    content = small(order("#1"))
    content["users"]["u1"]["payment_methods"]["gift_1"]["balance"] = -1
    content["products"]["p1"]["variants"]["v1"]["available"] = 7
    content["suppliers"] = {}
    async with a_shop(tmp_path) as shop:
        report = await take_in(shop, "tau2", written(tmp_path, content))
    kinds = [refusal.kind for refusal in report.refused]
    assert kinds == ["part", "product", "customer", "order", "order of a customer"]


@pytest.mark.parametrize("content", ["[]", '{"products": {}, "users": [], "orders": {}}', "{"])
async def test_another_file_is_no_shop(tmp_path: Path, content: str) -> None:
    (tmp_path / "shop.json").write_text(content)
    async with a_shop(tmp_path) as shop:
        with pytest.raises((ValueError, ShopError)):
            await take_in(shop, "tau2", tmp_path / "shop.json")


async def test_the_import_is_on_record(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as shop:
        await take_in(shop, "tau2", written(tmp_path, small(order("#1"))))
        records = await look(shop, lambda s: list(s.scalars(select(AuditRecord.record))))
        rows = await look(shop, lambda s: set(s.scalars(select(OrderLine.audit_id))))
    assert len(records) == len(rows) == 1
    assert records[0]["tool"] == "import"
    assert len(records[0]["args"]["sha256"]) == 64
    assert {"op": "import", "type": "order", "count": 1} in records[0]["effects"]


async def test_every_state_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    content = small(*EVERY_STATE)
    async with a_shop(tmp_path, database_url=postgres_url) as shop:
        report = await take_in(shop, "tau2", written(tmp_path, content))
        assert reasons(report) == {}
        assert await exported(shop) == content
