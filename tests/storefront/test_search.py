"""Search that forgives, on both databases: figures, upkeep by other servers, and the cache."""

from typing import Any

import pytest
from sqlalchemy import event

from benchmarks.search import BEST, made_up, measured
from common.call import Call
from common.rules import catalogue_cache as cache
from common.shop import Shop
from common.tables.inventory import Product, Variant
from servers.storefront import catalogue
from servers.storefront.search import Within
from servers.storefront.tools import tools
from tests.support.shop import actor, connected, do, done


async def test_hit_at_1(url: str) -> None:
    """The benchmark, smaller: docs/evaluation.md has it in full."""
    figures = await measured(url, made_up(3_000), 60)
    for kind, least in BEST.items():
        assert figures[kind].hit_at_1 >= least, (kind, figures[kind])


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("avocado", "AVO-1"),
        ("avocdo", "AVO-1"),
        ("avo", "AVO-1"),
        ("avo-1", "AVO-1"),
        ("4006381333931", "AVO-1"),
        ("04006381333931", "AVO-1"),
        ("1 l milk whole", "MILK-1"),
        ("skimed milk", "MILK-2"),
        ("tomatos vine", "TOM-1"),
        ("tomatoe", "TOM-1"),
        ("guacamole", "AVO-1"),
        ("LAVASH'); DROP TABLE variant; --", None),
        ('" OR sku MATCH "', None),
        ("%", None),
        ("ab", None),
    ],
)
async def test_search_forgives(either: Shop, query: str, first: str | None) -> None:
    async with connected(either, tools) as client:
        found = await done(client, "search_products", query=query)
    if first is None:
        assert found["count"] == 0
        assert found["message"]
    else:
        assert found["products"][0]["sku"] == first


async def test_other_servers_change_the_catalogue(either: Shop) -> None:
    """New, renamed, dearer, no longer sold: the next search knows, cached or not."""

    async def first(query: str) -> dict[str, Any] | None:
        async with connected(either, tools) as client:
            found = await done(client, "search_products", query=query)
        return found["products"][0] if found["count"] else None

    assert await first("pomegranate") is None

    def new(call: Call) -> None:
        call.add(Product(id="P-NEW", name="Pomegranate", category="Fruit"))
        call.add(
            Variant(
                id="NEW", product_id="P-NEW", name="Pomegranate", price_minor=300, currency="EUR"
            )
        )

    await do(either, "inventory", new)
    found = await first("pomegranate")
    assert found is not None
    assert found["price_minor"] == 300

    def change(**values: Any) -> Any:
        def work(call: Call) -> None:
            variant = call.get(Variant, "NEW")
            for name, value in values.items():
                setattr(variant, name, value)

        return work

    await do(either, "inventory", change(price_minor=280))
    found = await first("pomegranate")
    assert found is not None
    assert found["price_minor"] == 280
    await do(either, "inventory", change(name="Granadilla"))
    assert await first("pomegranate") is None
    assert await first("granadilla") is not None
    await do(either, "inventory", change(sellable=False))
    assert await first("granadilla") is None


async def test_the_cache_answers_and_is_dropped(either: Shop) -> None:
    """Asked twice the names are not read again; after a change, or in time, they are."""
    asked: list[str] = []
    core = either.database._core()
    listener = lambda *a: asked.append(a[2]) if "variant.name" in a[2] else None  # noqa: E731
    event.listen(core, "before_cursor_execute", listener)

    def reads(call: Call) -> int:
        before = len(asked)
        catalogue.search(call, "avocado", Within())
        return len(asked) - before

    async def now_read() -> int:
        def work(session: Any) -> int:
            return reads(Call(actor(), session, either.guard.clock(), "", "storefront", "test"))

        return await either.database.run("storefront", work, write=False)

    assert await now_read() > 0
    assert await now_read() == 0

    def dearer(call: Call) -> None:
        call.get(Variant, "MILK-1").price_minor += 1

    await do(either, "inventory", dearer)
    assert await now_read() > 0
    assert await now_read() == 0
    either.guard.clock.forward(seconds=cache.LIFE.total_seconds())  # type: ignore[attr-defined]
    assert await now_read() > 0
    event.remove(core, "before_cursor_execute", listener)


async def test_a_change_undone_is_not_cached(either: Shop) -> None:
    """What a transaction saw of its own before it was rolled back reaches nobody."""

    def renamed(call: Call) -> None:
        call.get(Variant, "AVO-1").name = "Alligator pear"
        call.session.flush()
        assert catalogue.search(call, "alligator pear", Within())
        raise RuntimeError("undone")

    with pytest.raises(RuntimeError):
        await do(either, "inventory", renamed)
    async with connected(either, tools) as client:
        assert (await done(client, "search_products", query="alligator pear"))["count"] == 0
        assert (await done(client, "search_products", query="avocado"))["count"] == 1


async def test_filters_and_what_is_nearest(either: Shop) -> None:
    async with connected(either, tools) as client:
        dairy = await done(client, "search_products", query="milk", category="dairy")
        assert {p["sku"] for p in dairy["products"]} == {"MILK-1", "MILK-2"}
        cheap = await done(client, "search_products", query="milk", max_price_minor=140)
        assert {p["sku"] for p in cheap["products"]} == {"MILK-2"}
        dear = await done(client, "search_products", query="milk", min_price_minor=140)
        assert {p["sku"] for p in dear["products"]} == {"MILK-1"}
        out = await done(client, "search_products", query="saffron", in_stock=True)
        assert out["count"] == 0
        nothing = await done(client, "search_products", query="molk bottle glass")
        assert nothing["count"] == 0
        assert "milk" in nothing["message"]
        categories = await done(client, "get_categories")
        assert [c["category"] for c in categories["categories"]] == ["Dairy", "Fruit", "Spices"]
