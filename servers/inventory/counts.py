"""Cycle counts: blind, counted twice where they differ, posted against the snapshot."""

from datetime import timedelta
from typing import Final, Literal, cast

from sqlalchemy import func, select

from common.call import Call
from common.errors import InsufficientStock, InvalidParameters, RuleViolation
from common.money import Money
from common.rules import reserving, stock
from common.storage.database import lock
from common.storage.locks import one_at_a_time
from common.tables.inventory import Lot, Reservation, Variant
from common.tables.stock_documents import CountLine, CycleCount
from common.wire import Args, Count, Limit
from servers.inventory import catalogue, corrections, costs
from servers.inventory.results import CountSheet, Discrepancy, ToCount

OPEN: Final = ("counting", "recount")
# Days between two counts of an item, by class.
CADENCE: Final = {"A": 30, "B": 90, "C": 365}
MOST_LINES: Final = 500
SEARCHED: Final = 5_000


class Counted(Args):
    """``line`` is the number on the count sheet."""

    line: Limit
    counted: Count


def start_cycle_count(
    call: Call, warehouse: str, skus: list[str] | None, most: int, status: stock.Status
) -> CountSheet:
    """Open a count and take the snapshot. Without SKUs: those due by their class (A monthly, B
    quarterly, C yearly), longest uncounted first, of one currency. Raises RuleViolation when one is
    being counted already or nothing is due, InvalidParameters for items of several currencies."""
    catalogue.warehouse(call, warehouse)
    one_at_a_time(call.session, f"count:{warehouse}")
    chosen = list(dict.fromkeys(skus)) if skus else _due(call, warehouse, most)
    items = [catalogue.variant(call, sku) for sku in chosen]
    kept = {item.id: costs.unit_cost(call, item, warehouse)[1] for item in items}
    if len(set(kept.values())) > 1:  # what differs is posted at once, by its worth in all
        if skus:
            valued = ", ".join(sorted(set(kept.values())))
            raise InvalidParameters.field("skus", valued, "items valued in one currency")
        items = [item for item in items if kept[item.id] == kept[items[0].id]]
        chosen = [item.id for item in items]
    _refuse_counting(call, warehouse, chosen)
    rows = [found for item in items for found in _places(call, item, warehouse, status)]
    if not rows:
        raise RuleViolation(
            "Nothing is due for counting in this warehouse.",
            next="Name the SKUs to count anyway.",
        )
    if len(rows) > 100:
        raise InvalidParameters.field("skus", len(rows), "a sheet of at most 100 lines")
    count = call.add(
        CycleCount(
            id=call.new_id("count"), warehouse_id=warehouse, state="counting",
            scheduled_at=call.now, snapshot_at=call.now,
        )
    )  # fmt: skip
    for position, (item, lot_id, snapshot) in enumerate(rows, 1):
        call.add(
            CountLine(
                id=call.new_id("item"), cycle_count_id=count.id, position=position,
                sku=item.id, lot_id=lot_id, status=status, snapshot=snapshot,
            )
        )  # fmt: skip
    call.stake()
    return _sheet(call, count, lines_of(call, count))


def submit_cycle_count(
    call: Call, count_id: str, counts: list[Counted], action: Literal["submit", "cancel"]
) -> CountSheet:
    """First every line; then, counted again, the lines that differed. What still differs is posted
    against the snapshot, whatever moved since; what is as the books have it now does not differ.

    Raises RuleViolation when the count is over or reserved units are missing, InvalidParameters
    for lines that are missing, unknown or there twice.
    """
    lock(call.session, CycleCount, [count_id])
    count = call.get(CycleCount, count_id)
    if count.state not in ("counting", "recount"):
        raise RuleViolation(f"Count {count.id} is {count.state}.", details={"state": count.state})
    if action == "cancel":
        count.state = "cancelled"
        call.stake()
        call.effect("cancel", "cycle_count", count.id)
        return _sheet(call, count, [])
    lines = lines_of(call, count)
    asked = lines if count.state == "counting" else [line for line in lines if _differs(line)]
    given = _matched(asked, counts)
    if count.state == "counting":
        return _first(call, count, lines, given)
    for line in asked:
        line.recounted = given[line.position]
        _explain(call, count, line, line.recounted)
    count.recounted_by = call.actor.id
    return _post(call, count, lines)


def lines_of(call: Call, count: CycleCount) -> list[CountLine]:
    """Its lines in order."""
    rows = call.all(CountLine, CountLine.cycle_count_id == count.id, limit=MOST_LINES)
    return sorted(rows, key=lambda line: line.position)


def _first(
    call: Call, count: CycleCount, lines: list[CountLine], given: dict[int, int]
) -> CountSheet:
    for line in lines:
        line.counted = given[line.position]
        _explain(call, count, line, line.counted)
    count.counted_by, count.submitted_at = call.actor.id, call.now
    again = [line for line in lines if _differs(line)]
    if not again:
        return _post(call, count, lines)
    count.state = "recount"
    call.stake()
    call.effect("count", "cycle_count", count.id)
    call.session.flush()
    return _sheet(call, count, again)


def _explain(call: Call, count: CycleCount, line: CountLine, found: int) -> None:
    """Whoever counted after something moved finds what the books have now: that is exact."""
    if found == line.snapshot:
        return
    item = catalogue.variant(call, line.sku)
    status = cast(stock.Status, line.status)
    now = dict.fromkeys([line.lot_id], 0) | {
        lot_id: units for _, lot_id, units in _places(call, item, count.warehouse_id, status)
    }
    if found == now[line.lot_id]:
        line.snapshot = found


def _post(call: Call, count: CycleCount, lines: list[CountLine]) -> CountSheet:
    found: list[Discrepancy] = []
    call.stake()
    for line in lines:
        variance = _final(line) - line.snapshot
        if not variance:
            continue
        item = catalogue.variant(call, line.sku)
        worth, currency = costs.value(call, item, count.warehouse_id, variance)
        call.stake(amount_minor=worth, currency=currency, units=abs(variance))
        call.show(
            f"Post cycle count {count.id} of {count.warehouse_id}",
            f"{line.sku}: {line.snapshot} in the books, {_final(line)} counted, "
            f"{variance:+d}, worth {Money(worth, currency)}",
        )
        _book(call, count, line, item, variance)
        kind = "over" if variance > 0 else "short"
        found.append(Discrepancy(sku=line.sku, kind=kind, units=abs(variance)))
    count.state, count.posted_at = "posted", call.now
    call.effect("post", "cycle_count", count.id)
    call.session.flush()
    return _sheet(call, count, [], found)


def _book(call: Call, count: CycleCount, line: CountLine, item: Variant, variance: int) -> None:
    try:
        corrections.record(
            call, item, count.warehouse_id, variance, "count",
            status=cast(stock.Status, line.status), lot_id=line.lot_id, count_line_id=line.id,
        )  # fmt: skip
    except InsufficientStock as short:
        query = select(Reservation.id).where(
            Reservation.sku == item.id,
            Reservation.warehouse_id == count.warehouse_id,
            Reservation.state.in_(reserving.OPEN),
        )
        held = list(call.session.scalars(query.order_by(Reservation.created_at.desc()).limit(10)))
        raise RuleViolation(
            f"{-variance} of {item.id} are missing, but only {short.details['available']} are "
            "not reserved or gone since.",
            details={"sku": item.id, "missing": -variance, "reservations": held},
            next="Ask the person which reserved units to give up, release them, submit again.",
        ) from None


def _differs(line: CountLine) -> bool:
    return line.counted is not None and line.counted != line.snapshot


def _final(line: CountLine) -> int:
    if line.recounted is not None:
        return line.recounted
    return line.snapshot if line.counted is None else line.counted


def _matched(asked: list[CountLine], counts: list[Counted]) -> dict[int, int]:
    given = {count.line: count.counted for count in counts}
    wanted = {line.position for line in asked}
    if len(given) < len(counts):
        raise InvalidParameters.field("counts", len(counts), "each line once")
    if set(given) != wanted:
        missing, unknown = sorted(wanted - set(given)), sorted(set(given) - wanted)
        raise InvalidParameters.field(
            "counts", len(counts), f"lines {sorted(wanted)[:50]}; missing {missing[:50]}, "
            f"not asked for {unknown[:50]}",
        )  # fmt: skip
    return given


def _sheet(
    call: Call, count: CycleCount, lines: list[CountLine], posted: list[Discrepancy] | None = None
) -> CountSheet:
    ids = [line.lot_id for line in lines if line.lot_id]
    query = select(Lot.id, Lot.code).where(Lot.id.in_(ids))
    codes = dict(call.session.execute(query).all()) if ids else {}
    return CountSheet(
        count_id=count.id,
        state=count.state,
        warehouse=count.warehouse_id,
        lines=[
            ToCount(line=line.position, sku=line.sku, lot=codes.get(line.lot_id or ""))
            for line in lines
        ],
        posted=posted,
    )


def _places(
    call: Call, item: Variant, warehouse: str, status: stock.Status
) -> list[tuple[Variant, str | None, int]]:
    """Where the item is, and how many the books have there: one place, or one for each lot."""
    if not item.lot_tracked:
        level = stock.level(call.session, call.now, item.id, warehouse)
        return [(item, None, _held(level, status))]
    found = stock.by_lot(call.session, call.now, item.id, warehouse)
    return [
        (item, lot_id, _held(level, status))
        for lot_id, level in sorted(found.items(), key=lambda pair: pair[0] or "")
        if _held(level, status)
    ]


def _held(level: stock.Levels, status: stock.Status) -> int:
    if status == "available":
        return level.available + level.reserved
    return int(getattr(level, status))


def _refuse_counting(call: Call, warehouse: str, skus: list[str]) -> None:
    query = (
        select(CountLine.sku, CycleCount.id)
        .join(CycleCount, CycleCount.id == CountLine.cycle_count_id)
        .where(
            CycleCount.warehouse_id == warehouse,
            CycleCount.state.in_(OPEN),
            CountLine.sku.in_(skus),
        )
    )
    found = call.session.execute(query.limit(1)).first()
    if found is not None:
        raise RuleViolation(
            f"{found[0]} is being counted in {found[1]}.",
            details={"count_id": found[1], "sku": found[0]},
            next="Submit or cancel that count first.",
        )


def _due(call: Call, warehouse: str, most: int) -> list[str]:
    """SKUs not counted for as long as their class allows. Items without a class count as C."""
    skus = catalogue.stocked(call.session, [warehouse], SEARCHED)
    items = catalogue.named(call.session, skus)
    query = (
        select(CountLine.sku, func.max(CycleCount.posted_at))
        .join(CycleCount, CycleCount.id == CountLine.cycle_count_id)
        .where(CycleCount.warehouse_id == warehouse, CycleCount.state == "posted")
        .group_by(CountLine.sku)
    )
    last = dict(call.session.execute(query).all())
    due = []
    for sku in skus:
        cadence = CADENCE[(items[sku].abc_class if sku in items else None) or "C"]
        at = last.get(sku)
        if at is None or call.now - at >= timedelta(days=cadence):
            due.append((at is not None, cadence, at or call.now, sku))
    return [sku for *_, sku in sorted(due)][:most]


def to_count(call: Call, count: CycleCount) -> CountSheet:
    """The lines a count still asks for."""
    lines = lines_of(call, count) if count.state in ("counting", "recount") else []
    if count.state == "recount":
        lines = [line for line in lines if _differs(line)]
    return _sheet(call, count, lines)
