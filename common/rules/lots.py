"""Lots: which may go out, and in what order. First expired, first out."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import InsufficientStock
from common.ledgers import accounts
from common.rules import stock
from common.storage import hot, mapped
from common.tables.inventory import Lot, Variant, Warehouse


def may_go_out(lot: Lot, today: date) -> bool:
    """Neither expired nor withdrawn. A lot may still be sold on the day it expires."""
    return lot.state == "active" and (lot.expires_on is None or lot.expires_on >= today)


def pick(
    call: Call, variant: Variant, warehouse: str, quantity: int
) -> list[tuple[str | None, int]]:
    """The lots to take ``quantity`` from, first expired first, and how much of each; ``None`` for
    units without a lot. Raises InsufficientStock with what may go out."""
    if not variant.lot_tracked:
        return [(None, quantity)]
    picked: list[tuple[str | None, int]] = []
    missing = quantity
    offered = in_order(call, variant.id, warehouse)
    for lot_id, free in offered:
        if missing:
            picked.append((lot_id, min(free, missing)))
            missing -= picked[-1][1]
    if missing:
        raise _short(variant.id, warehouse, quantity, quantity - missing)
    return picked


def one_for(call: Call, sku: str, warehouse: str, quantity: int) -> str | None:
    """The first lot to expire that has all of ``quantity``; None for an item without lots.
    Raises InsufficientStock when no single lot has it."""
    variant = mapped.load(call.session, Variant, sku)
    if variant is None or not variant.lot_tracked:
        return None
    offered = in_order(call, sku, warehouse)
    for lot_id, free in offered:
        if free >= quantity:
            return lot_id
    most = max((free for _, free in offered), default=0)
    if len(offered) < 2:
        raise _short(sku, warehouse, quantity, most)
    raise InsufficientStock(
        f"No one lot of {sku} in {warehouse} has {quantity}; the fullest that may go out has "
        f"{most}.",
        details={"sku": sku, "warehouse": warehouse, "available": most, "asked": quantity},
        next=f"Ask for at most {most}: these units are promised of one lot.",
    )


def in_order(call: Call, sku: str, warehouse: str) -> list[tuple[str | None, int]]:
    """Lots that may go out and the free units of each, first expired first; without a lot last."""
    free = {
        lot_id: level.available
        for lot_id, level in stock.by_lot(call.session, call.now, sku, warehouse).items()
        if level.available > 0
    }
    ids = [lot_id for lot_id in free if lot_id is not None]
    rows = list(call.session.scalars(select(Lot).where(Lot.id.in_(ids)))) if ids else []
    today = call.now.date()
    lots = sorted(
        (lot for lot in rows if may_go_out(lot, today)),
        key=lambda lot: (lot.expires_on or date.max, lot.received_at or call.now, lot.id),
    )
    offered: list[tuple[str | None, int]] = [(lot.id, free[lot.id]) for lot in lots]
    if None in free:
        offered.append((None, free[None]))
    return offered


_lot = Lot.__table__.c
_PAST = or_(_lot.expires_on < bindparam("today"), _lot.state != "active")
_WITHHELD = select(_lot.sku, _lot.id).where(_lot.sku.in_(bindparam("skus", expanding=True)), _PAST)
_SPOILT = select(_lot.id).where(_lot.id.in_(bindparam("ids", expanding=True)), _PAST)
_WORKING = select(Warehouse.__table__.c.id).where(Warehouse.__table__.c.active.is_(True)).limit(500)


def withheld(
    session: Session, now: datetime, skus: Sequence[str], warehouse: str | None = None
) -> dict[tuple[str, str], int]:
    """Free units by (sku, warehouse) that count as available in the ledger and may not go out:
    their lot has expired or was withdrawn."""
    bad: dict[str, set[str]] = {}
    for start in range(0, len(skus), accounts.BATCH):
        batch = list(skus[start : start + accounts.BATCH])
        for sku, lot_id in hot.rows(session, _WITHHELD, skus=batch, today=now.date()):
            bad.setdefault(sku, set()).add(lot_id)
    prefix = None if warehouse is None else f"{warehouse}/"
    found: dict[tuple[str, str], int] = {}
    ledgers = [stock.units(sku) for sku in bad]
    for (ledger, code), balance in accounts.totals_of(
        session, ledgers, prefix=prefix, now=now
    ).items():
        parts = code.split("/", 2)
        sku = ledger.partition("/")[2]
        if len(parts) == 3 and parts[1] == "available" and parts[2] in bad[sku]:
            key = (sku, parts[0])
            found[key] = found.get(key, 0) + balance.available
    return found


def at_once(session: Session, now: datetime, skus: Sequence[str]) -> dict[tuple[str, str], int]:
    """Units that one line of an order can have, by (sku, warehouse): a line is of one lot, so of
    an item with lots those of the fullest that may go out. Closed warehouses are left out."""
    working = {row.id for row in hot.rows(session, _WORKING)}
    free: list[tuple[str, str, str, int]] = []
    ledgers = [stock.units(sku) for sku in dict.fromkeys(skus)]
    for (ledger, code), balance in accounts.totals_of(session, ledgers, now=now).items():
        where, status, lot_id = (*code.split("/", 2), "", "")[:3]
        if status == "available" and where in working and balance.available > 0:
            free.append((ledger.partition("/")[2], where, lot_id, balance.available))
    bad = _spoilt(session, now, [lot_id for _, _, lot_id, _ in free if lot_id])
    found: dict[tuple[str, str], int] = {}
    for sku, where, lot_id, units in free:
        if lot_id not in bad:
            found[sku, where] = max(found.get((sku, where), 0), units)
    return found


def most_at_once(session: Session, now: datetime, skus: Sequence[str]) -> dict[str, int]:
    """Units of each SKU that one order can have, wherever there are most; none left out."""
    most = dict.fromkeys(skus, 0)
    for (sku, _), units in at_once(session, now, skus).items():
        most[sku] = max(most[sku], units)
    return most


def _spoilt(session: Session, now: datetime, ids: Sequence[str]) -> set[str]:
    """Those of the lots that may not go out."""
    found: set[str] = set()
    for start in range(0, len(ids), accounts.BATCH):
        batch = list(ids[start : start + accounts.BATCH])
        found.update(row.id for row in hot.rows(session, _SPOILT, ids=batch, today=now.date()))
    return found


def _short(sku: str, warehouse: str, asked: int, available: int) -> InsufficientStock:
    return InsufficientStock(
        f"{warehouse} has {available} of {sku} in lots that may go out, {asked} were asked for.",
        details={"sku": sku, "warehouse": warehouse, "available": available, "asked": asked},
    )
