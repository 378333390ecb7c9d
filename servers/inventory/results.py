"""What the inventory tools answer. Fields that say nothing are left out on the wire."""

from typing import Literal

from common.wire import Result


class Shelf(Result):
    # Units in one warehouse. ``available`` can be promised now; ``incoming`` is bought.
    warehouse: str
    on_hand: int
    reserved: int
    available: int
    expired: int | None = None
    quarantine: int | None = None
    damaged: int | None = None
    inspection: int | None = None
    refurbish: int | None = None
    in_transit: int | None = None
    incoming: int | None = None


class LotLevel(Result):
    lot_id: str
    lot: str
    warehouse: str
    units: int
    expires_on: str | None = None
    produced_on: str | None = None
    state: str


class Stock(Result):
    sku: str
    name: str
    on_hand: int
    available: int
    shelves: list[Shelf]
    lots: list[LotLevel] | None = None
    as_of: str


class StockRow(Shelf):
    sku: str


class StockList(Result):
    """A warehouse's first 100 items by SKU; ``more`` when there are others."""

    warehouse: str
    name: str
    region: str
    items: list[StockRow]
    more: bool
    as_of: str


class Incoming(Result):
    # ``source`` is a purchase order or stock transfer; no date: not known.
    source: str
    units: int
    on: str | None = None


class Promise(Result):
    # ``by_date`` is what can be promised for the day asked about, incoming units included.
    warehouse: str
    available: int
    by_date: int
    backordered: int | None = None
    from_kits: int | None = None
    incoming: list[Incoming]
    earliest_on: str | None = None


class Availability(Result):
    sku: str
    quantity: int
    possible: bool
    warehouses: list[Promise]
    as_of: str


class LowItem(Result):
    # ``quantity`` is what the action moves; ``order_quantity`` what to buy in any case.
    sku: str
    name: str
    warehouse: str
    action: str
    reason: str
    quantity: int
    order_quantity: int
    source: str | None = None
    stock_out_on: str | None = None
    cover_days: int | None = None
    available: int
    incoming: int
    demand_7d: int
    reorder_point: int
    supplier: str | None = None
    cost_minor: int | None = None
    currency: str | None = None
    arithmetic: list[str]


class LowStock(Result):
    region: str
    counts: dict[str, int]
    items: list[LowItem]
    notes: list[str]
    demand_as_of: str | None = None
    next_cursor: str | None = None


class DemandForecast(Result):
    """``daily_milliunits`` are ordinary days in thousandths of a unit, at most 28 of them."""

    sku: str
    warehouse: str | None = None
    days: int
    expected_units: int
    low_units: int
    high_units: int
    coverage_percent: int
    demand_class: str
    method: str
    explanation: str
    sold_7d: int
    daily_milliunits: list[int]


class Reorder(Result):
    purchase_order_id: str
    state: str
    sku: str
    warehouse: str
    supplier: str
    quantity: int
    arithmetic: list[str]
    unit_cost_minor: int
    total_minor: int
    currency: str
    expected_on: str
    open_orders: list[str] | None = None


class OrderedLine(Result):
    # ``supplier_sku`` is the supplier's own article number.
    sku: str
    supplier_sku: str | None = None
    ordered: int
    received: int
    outstanding: int
    damaged: int | None = None
    over: int | None = None
    short: int | None = None
    unit_cost_minor: int


class PurchaseOrderView(Result):
    purchase_order_id: str
    state: str
    supplier: str
    warehouse: str
    total_minor: int
    currency: str
    created_at: str
    expected_on: str | None = None
    lines: list[OrderedLine]
    receipts: list[str] | None = None


class PurchaseOrders(Result):
    orders: list[PurchaseOrderView]
    next_cursor: str | None = None


class Discrepancy(Result):
    sku: str
    kind: str
    units: int


class Received(Result):
    """``waiting_orders``: customers' orders that wait for what came."""

    receipt_id: str
    document: str
    state: str
    good: int
    damaged: int
    outstanding: int
    discrepancies: list[Discrepancy]
    waiting_orders: list[str] | None = None


class Reserved(Result):
    reservation_id: str
    sku: str
    warehouse: str
    quantity: int
    state: str
    source: str
    lot: str | None = None
    expires_at: str | None = None


class Reservations(Result):
    reservations: list[Reserved]
    available_left: int


class Moved(Result):
    """Levels after the change. ``document`` names what was written."""

    document: str
    sku: str
    warehouse: str
    units: int
    on_hand: int
    available: int
    value_minor: int
    currency: str


class Sent(Result):
    transfer_id: str
    state: str
    from_warehouse: str
    to_warehouse: str
    units: int
    expected_on: str


class ToCount(Result):
    line: int
    sku: str
    lot: str | None = None


class CountSheet(Result):
    """``lines`` are still to be counted. What the books say is not shown."""

    count_id: str
    state: str
    warehouse: str
    lines: list[ToCount]
    posted: list[Discrepancy] | None = None


class Recall(Result):
    lot_id: str
    state: str
    quarantined: int
    still_reserved: list[str]
    shipped_orders: list[str]
    receipts: list[str]


class Movement(Result):
    """``units`` is signed; a reservation has 0 until it ships."""

    at: str
    code: str
    units: int
    reserved: int | None = None
    other_side: str
    reference: str
    lot: str | None = None
    transfer_id: str


class Movements(Result):
    sku: str
    warehouse: str
    status: str
    on_hand: int
    movements: list[Movement]
    next_cursor: str | None = None


class Finding(Result):
    # One item of a report; which fields are there depends on the report.
    sku: str
    name: str | None = None
    units: int | None = None
    value_minor: int | None = None
    currency: str | None = None
    last_sold_on: str | None = None
    ages: dict[str, int] | None = None
    lot: str | None = None
    expires_on: str | None = None
    abc: str | None = None
    xyz: str | None = None
    revenue_minor: int | None = None
    counted: int | None = None


class Analysis(Result):
    report: str
    warehouse: str | None = None
    totals: dict[str, int]
    items: list[Finding]
    notes: list[str] | None = None
    next_cursor: str | None = None


class FoundItem(Result):
    # Units of the warehouse asked about, or of all. ``score``: 100 for an exact code or name.
    sku: str
    name: str
    score: int
    on_hand: int
    available: int


class Found(Result):
    """The items that fit the words; or what a barcode says, and which item and lot it names."""

    items: list[FoundItem] | None = None
    next_cursor: str | None = None
    gtin: str | None = None
    sku: str | None = None
    name: str | None = None
    lot: str | None = None
    lot_id: str | None = None
    expires_on: str | None = None
    produced_on: str | None = None
    expired: bool | None = None
    quantity: int | None = None
    serial: str | None = None
    sscc: str | None = None


class Document(Result):
    id: str
    kind: Literal["transfer", "count", "reservation"]
    state: str
    warehouse: str
    to_warehouse: str | None = None
    sku: str | None = None
    units: int | None = None
    source: str | None = None
    at: str
    due_at: str | None = None
    lines: list[str] | None = None


class Documents(Result):
    documents: list[Document]
    next_cursor: str | None = None
