"""What more orders cost: the same calls on 10⁴, 10⁵ and 10⁶ orders, as ratios to the smallest.

    python -m benchmarks.growth [--sizes 10000 100000 1000000] [--json]

The demo shop's finished orders are copied by SQL with their lines, shipments and payments, spread
over the past. Customers become more with them; the demo's own keep every tenth. Nobody tells the
database what its tables are like (ANALYZE), as nobody does in a shop. Then tools are called in
process, at each size in turn, and the medians of their times are compared.

A year of orders, which the demand of an item is read from, is only full at 10⁵.
"""

import argparse
import asyncio
import json
import secrets
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import stage
from common.approvals.tools import offered_by
from common.incoming import Done, Request
from common.paging import encoded
from common.settings import Settings
from common.shop import Shop, local_identity, opened
from common.toolset import ToolSpec

SIZES: Final = (10_000, 100_000, 1_000_000)
CALLS: Final = 41
SLOW_CALLS: Final = 7
SLOW: Final = ("list_low_stock", "get_demand_feed, 90 days")
DEEP: Final = 0.99
OF_A_CUSTOMER: Final = 50
NEWCOMER: Final = "bench-c-00000000"


@dataclass(frozen=True)
class Row:
    """One call at one size: milliseconds, and the ratio to the smallest size."""

    call: str
    orders: int
    ms: float
    ratio: float


def grow(file: Path, orders: int) -> None:
    """Copy finished orders until there are so many. Each copy is a little older than the last."""
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        have = connection.execute("SELECT count(*) FROM sales_order").fetchone()[0]
        first = connection.execute(
            "SELECT count(*) FROM sales_order WHERE id LIKE 'bench-%'"
        ).fetchone()[0]
        connection.execute("DROP TABLE IF EXISTS temp.model")
        connection.execute(
            "CREATE TEMP TABLE model AS SELECT row_number() OVER (ORDER BY id) - 1 AS k, id"
            " FROM sales_order WHERE status = 'completed' AND id NOT LIKE 'bench-%'"
        )
        models = connection.execute("SELECT count(*) FROM model").fetchone()[0]
        numbers = (
            f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n"
            f" WHERE i + 1 < {first + orders - have})"
        )
        _copy(connection, "sales_order", numbers, models, "id")
        for table in ("order_line", "shipment", "payment"):
            _copy(connection, table, numbers, models, "order_id")
        _more_customers(connection, first, first + orders - have)
    connection.close()


def _copy(
    connection: sqlite3.Connection, table: str, numbers: str, models: int, order: str
) -> None:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    part = " || '-' || t.position" if table == "order_line" else ""
    changed = {
        "id": "printf('bench-%09d', i)" + part,
        "order_id": "printf('bench-%09d', i)",
        "external_id": "NULL",
        "reservation_id": "NULL",
        "split_from_id": "NULL",
        "customer_id": "CASE i % 10 WHEN 0 THEN t.customer_id"
        f" ELSE printf('bench-c-%08d', i / {OF_A_CUSTOMER}) END",
        "provider_reference": "NULL",
        "transfer_id": "NULL",
    }
    for moment in ("placed_at", "created_at", "promised_at", "shipped_at", "delivered_at"):
        older = f"t.{moment}, '-' || (i * 5) || ' minutes'"
        changed[moment] = f"strftime('%Y-%m-%d %H:%M:%f000', {older})"
    chosen = ", ".join(changed.get(column, f"t.{column}") for column in columns)
    connection.execute(
        f"{numbers} INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM n"
        f" JOIN model m ON m.k = i % {models} JOIN {table} t ON t.{order} = m.id"
    )


def _more_customers(connection: sqlite3.Connection, first: int, end: int) -> None:
    columns = [row[1] for row in connection.execute("PRAGMA table_info(customer)")]
    changed = {"id": "printf('bench-c-%08d', i)", "subject": "NULL", "email": "NULL"}
    changed["email_key"] = "NULL"
    chosen = ", ".join(changed.get(column, column) for column in columns)
    connection.execute(
        f"WITH RECURSIVE n(i) AS (SELECT {first // OF_A_CUSTOMER} UNION ALL SELECT i + 1 FROM n"
        f" WHERE i < {end // OF_A_CUSTOMER}) INSERT OR IGNORE INTO customer ({', '.join(columns)})"
        f" SELECT {chosen} FROM n JOIN (SELECT * FROM customer ORDER BY id LIMIT 1)"
    )


@dataclass
class Grown:
    """A shop of one size, and how each call is made there."""

    orders: int
    shop: Shop
    calls: dict[str, tuple[ToolSpec, dict[str, Any]]]
    times: dict[str, list[float]]

    async def again(self, name: str) -> None:
        """Make a call and note the milliseconds it took."""
        spec, arguments = self.calls[name]
        start = time.perf_counter()
        await _asked(self.shop, spec, arguments)
        self.times.setdefault(name, []).append((time.perf_counter() - start) * 1000)


async def _asked(shop: Shop, spec: ToolSpec, arguments: dict[str, Any]) -> dict[str, Any]:
    if spec.changes:
        arguments = arguments | {"idempotency_key": secrets.token_hex(8)}
    done = await shop.guard.call(Request(spec, arguments, local_identity(shop.settings)))
    assert isinstance(done, Done)
    return done.structured


async def _grown(orders: int, shop: Shop, sku: str) -> Grown:
    tools = {
        name: spec
        for domain in ("orders", "inventory", "payments", "logistics")
        for name, spec in offered_by(import_module(f"servers.{domain}.tools").tools).tools.items()
    }
    page = await _asked(shop, tools["search_orders"], {"limit": 20})
    one = page["orders"][0]["order_id"]
    customer = (await _asked(shop, tools["get_order"], {"order_id": one}))["customer_id"]
    reserved = {
        "sku": sku, "quantity": 1, "warehouse": stage.WAREHOUSES[0], "source_id": "growth"
    }  # fmt: skip
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        "get_order": ("get_order", {"order_id": one}),
        "search_orders, first page": ("search_orders", {"limit": 20}),
        "search_orders, page at 99 %": ("search_orders", {"limit": 20, "cursor": _deep(shop)}),
        "search_orders, by status": ("search_orders", {"limit": 20, "status": "completed"}),
        "search_orders, of a customer": ("search_orders", {"limit": 20, "customer_id": customer}),
        **{
            f"search_orders, by {name}": ("search_orders", {"limit": 20, **wanted})
            for name, wanted in _searches(sku, customer).items()
        },
        "list_upcoming_orders": ("list_upcoming_orders", {}),
        "find_customer": ("find_customer", {"customer_id": customer}),
        "search_payments, by status": ("search_payments", {"status": "expired"}),
        "list_shipments, late_risk": ("list_shipments", {"queue": "late_risk"}),
        "list_shipments, by status": ("list_shipments", {"status": "in_transit"}),
        "check_availability": ("check_availability", {"sku": sku, "quantity": 1}),
        "forecast_demand": ("forecast_demand", {"sku": sku}),
        "list_low_stock": ("list_low_stock", {}),
        "get_demand_feed, 7 days": ("get_demand_feed", {"days": 7}),
        "get_demand_feed, 90 days": ("get_demand_feed", {"days": 90}),
        "reserve_stock, a write": ("reserve_stock", reserved),
    }
    return Grown(orders, shop, {name: (tools[t], said) for name, (t, said) in calls.items()}, {})


def _searches(sku: str, customer: str) -> dict[str, dict[str, Any]]:
    """Filters, alone and two at once. Those that find nothing have to know so at once."""
    rare = {"payment_status": "refunded"}
    return {
        "payment": rare, "payment and status": {"status": "completed", **rare},
        "payment and warehouse": {"warehouse": stage.WAREHOUSES[0], **rare},
        "fulfilment": {"fulfilment_status": "partially_shipped"},
        "fulfilment and status": {
            "fulfilment_status": "partially_shipped", "status": "completed"
        },
        "warehouse": {"warehouse": stage.WAREHOUSES[1]}, "late": {"late": True},
        "late and payment": {"late": True, **rare}, "item": {"sku": sku},
        "item and payment": {"sku": sku, **rare}, "item and customer": {
            "sku": sku, "customer_id": NEWCOMER
        },
        "customer and payment": {"customer_id": customer, **rare},
    }  # fmt: skip


def _deep(shop: Shop) -> str:
    """A cursor near the end."""
    with sqlite3.connect(shop.settings.home / "shop.db") as connection:
        count = connection.execute("SELECT count(*) FROM sales_order").fetchone()[0]
        query = "SELECT placed_at, id FROM sales_order ORDER BY placed_at DESC, id DESC"
        at, id = connection.execute(f"{query} LIMIT 1 OFFSET {int(count * DEEP)}").fetchone()
    connection.close()
    return str(encoded([datetime.fromisoformat(at).replace(tzinfo=UTC), id]))


async def run(sizes: Sequence[int]) -> list[Row]:
    """Every row, the smallest size first. The sizes take turns, so what the machine does meanwhile
    happens to all of them."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shop-growth-")))
        model = folder / "model"
        model.mkdir()
        sku, *_ = await stage.stocked(model, skus=5)
        grown = []
        for orders in sorted(sizes):
            grow(model / "shop.db", orders)
            home = shutil.copytree(model, folder / str(orders))
            settings = Settings.load({"SHOP_HOME": str(home), "SHOP_RATE_LIMITS": "off"})
            shop = await stack.enter_async_context(opened(settings, duties=False))
            grown.append(await _grown(orders, shop, sku))
        for name in grown[0].calls:
            for _ in range(SLOW_CALLS if name in SLOW else CALLS):
                for each in grown:
                    await each.again(name)
        took = [{name: median(times[1:]) for name, times in g.times.items()} for g in grown]
        return [
            Row(name, each.orders, round(ms, 2), round(ms / took[0][name], 2))
            for each, by_name in zip(grown, took, strict=True)
            for name, ms in by_name.items()
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = asyncio.run(run(options.sizes))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    print("| call | orders | ms | ratio |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.call} | {row.orders:,} | {row.ms:.2f} | {row.ratio:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
