"""What the inventory server offers: levels, demand and what runs low. The rest is beside it."""

from typing import Annotated, Literal

from sqlalchemy import select

from common.call import Call
from common.scopes import Scope
from common.tables.inventory import Warehouse
from common.toolset import Computation, Effect
from common.wire import Cursor, Day, Days, Identifier, Limit, Line, Sku, Units, written
from servers.inventory import (
    analysis,
    availability,
    demand,
    finding,
    levels,
    lowstock,
    tools_buying,
    tools_stock,
)
from servers.inventory.offer import tools
from servers.inventory.results import (
    Analysis,
    Availability,
    DemandForecast,
    Found,
    LowStock,
    Stock,
    StockList,
)

__all__ = ["tools", "tools_buying", "tools_stock"]

READ = Scope.INVENTORY_READ
ScanText = Annotated[
    str, written(r"^[\x1d -~]+$", "the characters of a barcode", min_length=1, max_length=200)
]


@tools.resource("inventory://warehouse/{wid}/stock", scope=READ)
def warehouse_stock(call: Call, wid: Identifier) -> StockList:
    """Stock of one warehouse by SKU: on hand, reserved, available, and what is not for sale."""
    return levels.warehouse_stock(call, wid)


@tools.tool(scope=READ, effect=Effect.READS, widget="stock")
def get_stock(call: Call, sku: Sku, warehouse: Identifier | None = None) -> Stock:
    """Stock of one SKU by warehouse, and by lot with expiry if it has lots.

    `available` can be promised now: reserved, expired and set-aside units are off. For a promise by
    a date use check_availability.
    """
    return levels.get_stock(call, sku, warehouse)


@tools.tool(
    scope=READ,
    effect=Effect.READS,
    computation=Computation(lowstock.prepare, lowstock.compute),
    widget="stock",
)
def list_low_stock(
    call: Call,
    region: Line = "all",
    action: Literal["all", "reorder_now", "expedite", "transfer", "ignore"] = "all",
    limit: Limit = 10,
    cursor: Cursor | None = None,
    *,
    plan: lowstock.Reviewed,
) -> LowStock:
    """What runs low in a region, the first to run out first, each with what to do and the
    arithmetic: reorder_now (buy order_quantity), expedite (hurry `source`), transfer (from the
    surplus of warehouse `source`), ignore (ending, dead, or one order's spike).

    Joins stock, open purchase orders, transfers and the orders' demand. It changes nothing; show
    the arithmetic to the person before you propose a reorder.
    """
    return lowstock.answer(plan, action, limit, cursor)


@tools.tool(
    scope=READ,
    effect=Effect.READS,
    computation=Computation(demand.prepare_forecast, demand.compute_forecast),
)
def forecast_demand(
    call: Call,
    sku: Sku,
    warehouse: Identifier | None = None,
    days: Days = 28,
    *,
    plan: DemandForecast,
) -> DemandForecast:
    """Expected units of a SKU over the coming days, with an interval and why this method.

    From up to a year of orders, net of cancellations; without `warehouse`, all together. For what
    to buy use list_low_stock, which includes it.
    """
    return plan


@tools.tool(scope=READ, effect=Effect.READS)
def check_availability(
    call: Call,
    sku: Sku,
    quantity: Units,
    region: Line = "all",
    warehouse: Identifier | None = None,
    by: Day | None = None,
) -> Availability:
    """Whether a quantity can be promised by a day, and from where: free units plus dated incoming
    ones, less what customers wait for. `earliest_on` is the first day it can be. Reserves nothing.
    """
    return availability.check_availability(call, sku, quantity, region, warehouse, by)


@tools.tool(scope=READ, effect=Effect.READS)
def analyse_stock(
    call: Call,
    report: Literal["dead", "ageing", "valuation", "expiring", "classes", "accuracy"],
    warehouse: Identifier | None = None,
    days: Days = 90,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> Analysis:
    """A report over all items: dead (not ordered for `days`), ageing (days since arrival),
    valuation (moving average cost), expiring (lots, within `days`), classes (ABC by revenue, XYZ by
    variation), accuracy (counts of the last `days`). Totals cover everything, not the page."""
    return analysis.analyse_stock(call, report, warehouse, days, limit, cursor)


@tools.tool(scope=READ, effect=Effect.READS, aliases=("scan_barcode",))
def find_item(
    call: Call,
    query: Line | None = None,
    barcode: ScanText | None = None,
    warehouse: Identifier | None = None,
    limit: Limit = 10,
    cursor: Cursor | None = None,
) -> Found:
    """Find items by words of their name (`query`; typos and word order are forgiven), with SKU and
    stock, best first, at most 200. Use it whenever the person names a thing and no SKU. `score` 100
    is the very name, from 90 all words fit; below, ask whether it is meant. Never guess.

    Or read a scanned GTIN, SSCC, GS1-128 or DataMatrix text (`barcode`), check its digits, and find
    the SKU and lot: before receiving or counting scanned goods.
    """
    return finding.find_item(call, query, barcode, warehouse, limit, cursor)


@tools.prompt()
def low_stock_review(region: str = "all") -> str:
    """Review what runs low in a region and prepare proposals for a person to decide."""
    return f"""Review the low stock of region {region!r}. Propose; do not commit anything.

1. Call list_low_stock(region={region!r}) and follow next_cursor until it is absent. Say first how
   fresh the demand is (demand_as_of) and repeat every note.
2. Rank by stock_out_on, and keep four groups apart:
   - reorder now: check with list_purchase_orders(sku=…) that nothing is on its way already.
   - expedite: name the purchase order or transfer in `source`; ask to hurry it, do not buy twice.
   - transfer: name the warehouse in `source` and the units it can spare.
   - ignore: give the reason (ending, dead, one order's spike) and leave it.
3. For each item show the arithmetic as given: position, reorder point, target, quantity. Where an
   item is worth more than the others together, add forecast_demand.
4. Sum the cost of all reorders by currency.
5. Show one table and ask the person which lines to go on with. Stop there and wait.

Only for the lines the person agrees to: create_reorder(sku, quantity, warehouse) or transfer_stock.
An answer approval_required is expected: tell the person its approval_id and wait for the decision.
"""


@tools.completes("region")
def regions(call: Call, prefix: str) -> list[str]:
    """Regions that have a working warehouse, and all of them."""
    query = select(Warehouse.region).where(Warehouse.active.is_(True)).distinct()
    known = ["all", *call.session.scalars(query.order_by(Warehouse.region).limit(500))]
    return [name for name in known if name.casefold().startswith(prefix.casefold())][:100]
