"""The demo shop: made into an empty shop only, the same every time."""

from pathlib import Path

import pytest
from sqlalchemy import select

from clients.seeding import seed_demo
from common.errors import RuleViolation
from common.ledgers import accounts
from common.shop import Shop
from common.tables.orders import Order
from tests.support.shop import a_shop, look


async def totals(shop: Shop) -> list[tuple[str, str, int]]:
    """(id, customer, total) of every order. One that a rule placed has a new id every time."""
    query = select(Order.id, Order.customer_id, Order.total_minor)
    found = await look(shop, lambda s: [tuple(row) for row in s.execute(query)])
    return sorted(("" if id.startswith("ord_") else id, *more) for id, *more in found)


async def test_two_seeds_are_the_same_shop(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        async with a_shop(tmp_path / name) as shop:
            made = await seed_demo(shop, days=10)
            assert made["warehouses"] == 3
            found.append(await totals(shop))
    assert found[0] == found[1]
    assert len(found[0]) >= made["orders"] > 50


async def test_only_an_empty_shop_is_seeded(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as shop:
        await seed_demo(shop, days=5)
        before = await totals(shop)
        with pytest.raises(RuleViolation):
            await seed_demo(shop, days=5)
        assert await totals(shop) == before


async def test_no_card_is_overdrawn_and_no_unit_is_missing(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as shop:
        await seed_demo(shop, days=20)
        money = await look(shop, lambda s: accounts.totals(s, "money/EUR", now=shop.guard.clock()))
        assert sum(b.debits_posted for b in money.values()) == sum(
            b.credits_posted for b in money.values()
        )
        assert all(b.available >= 0 for b in money.values() if b.side != "none")
