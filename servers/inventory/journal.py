"""What happened to stock, and which documents are open."""

from datetime import datetime
from itertools import product
from typing import Final

from sqlalchemy import or_, select, text

from common.call import Call
from common.clock import stamp
from common.ledgers import ledger
from common.ledgers.accounts import totals
from common.paging import before, page, plain
from common.rules import meant, stock
from common.tables.inventory import OPEN_RESERVATION, Reservation, Variant, Warehouse
from common.tables.spine import Account, Transfer
from common.tables.stock_documents import CountLine, CycleCount, StockTransfer, StockTransferLine
from servers.inventory import catalogue, counts, transferring
from servers.inventory.results import Document, Documents, Movement, Movements

OPEN_TRANSFERS: Final = ("in_transit", "partially_received")

FEW_LOTS: Final = 50


def get_stock_ledger(
    call: Call, sku: str, warehouse: str, status: str, limit: int, cursor: str | None
) -> Movements:
    """Transfers of one status of an item in a warehouse, all lots, newest first. Raises
    NotFound."""
    catalogue.variant(call, sku)
    catalogue.warehouse(call, warehouse)
    code = stock.place(warehouse, status)
    name = stock.units(sku)
    mine = {
        id: found
        for id, found in call.session.execute(
            select(Account.id, Account.code).where(Account.ledger == name)
        )
        if found == code or found.startswith(f"{code}/")
    }
    keys = (Transfer.at, Transfer.id)
    near = _latest(call, list(mine), cursor, limit)
    query = select(Transfer).where(Transfer.id.in_(near))
    rows, following = page(call.session, query, keys, cursor, limit, descending=True)
    others = {id for row in rows for id in (row.debit_id, row.credit_id)}
    codes = dict(
        call.session.execute(select(Account.id, Account.code).where(Account.id.in_(others))).all()
    )
    balances = totals(call.session, name, prefix=code, now=call.now)
    return Movements(
        sku=sku,
        warehouse=warehouse,
        status=status,
        on_hand=sum(
            balance.posted
            for found, balance in balances.items()
            if found == code or found.startswith(f"{code}/")
        ),
        movements=[_movement(row, mine, codes) for row in rows],
        next_cursor=following,
    )


def _latest(call: Call, accounts: list[str], cursor: str | None, limit: int) -> list[str]:
    """The next transfers of each account and side: a short walk for each, where one query for all
    would sort everything they ever had."""
    keys = (Transfer.at, Transfer.id)
    each = [[account] for account in accounts] if len(accounts) <= FEW_LOTS else [accounts]
    found: set[tuple[datetime, str]] = set()
    for side, some in product((Transfer.debit_id, Transfer.credit_id), each):
        query = select(*keys).where(side.in_(some)).order_by(*(key.desc() for key in keys))
        if cursor:
            query = query.where(before(cursor, keys))
        found.update((at, id) for at, id in call.session.execute(query.limit(limit + 1)))
    return [id for _, id in sorted(found, reverse=True)[: limit + 1]]


def _movement(row: Transfer, mine: dict[str, str], codes: dict[str, str]) -> Movement:
    incoming = row.debit_id in mine
    own = codes[row.debit_id if incoming else row.credit_id]
    other = codes[row.credit_id if incoming else row.debit_id]
    moves = row.kind in ("posted", "post")
    signed = row.amount if incoming else -row.amount
    parts = own.split("/", 2)
    return Movement(
        at=stamp(row.at),
        code=row.code,
        units=signed if moves else 0,
        reserved=row.amount if row.kind == "pending" else None,
        other_side=other,
        reference=row.reference,
        lot=parts[2] if len(parts) > 2 else None,
        transfer_id=row.id,
    )


def list_stock_documents(
    call: Call, kind: str, state: str, sku: str | None, warehouse: str | None, limit: int,
    cursor: str | None,
) -> Documents:  # fmt: skip
    """Reservations, transfers or counts, newest first; only the open ones unless ``all``."""
    meant.filters(call, (Variant, sku), (Warehouse, warehouse))
    read = {"reservation": _reservations, "transfer": _transfers, "count": _counts}[kind]
    documents, following = read(call, state == "open", sku, warehouse, limit, cursor)
    return Documents(documents=documents, next_cursor=following)


def _reservations(
    call: Call, only_open: bool, sku: str | None, warehouse: str | None, limit: int,
    cursor: str | None,
) -> tuple[list[Document], str | None]:  # fmt: skip
    row = Reservation
    query = select(row)
    if only_open:
        live = or_(row.expires_at.is_(None), row.expires_at > call.now)
        query = query.where(text(OPEN_RESERVATION), live)
    for column, value in ((row.sku, sku), (row.warehouse_id, warehouse)):
        if value is not None:
            query = query.where((plain(column) if only_open else column) == value)
    keys = (row.created_at, row.id)
    rows, following = page(call.session, query, keys, cursor, limit, descending=True)
    states = ledger.states_of(call.session, [found.transfer_id for found in rows], call.now)
    return [
        Document(
            id=found.id, kind="reservation", warehouse=found.warehouse_id, sku=found.sku,
            state="expired" if states[found.transfer_id].state == "expired" else found.state,
            units=found.quantity, source=f"{found.source_type} {found.source_id}",
            at=stamp(found.created_at),
            due_at=stamp(found.expires_at) if found.expires_at else None,
        )
        for found in rows
    ], following  # fmt: skip


def _transfers(
    call: Call, only_open: bool, sku: str | None, warehouse: str | None, limit: int,
    cursor: str | None,
) -> tuple[list[Document], str | None]:  # fmt: skip
    row = StockTransfer
    query = select(row)
    if only_open:
        query = query.where(row.state.in_(OPEN_TRANSFERS))
    if sku is not None:
        line = StockTransferLine
        query = query.where(row.id.in_(select(line.stock_transfer_id).where(line.sku == sku)))
    if warehouse is not None:
        either = or_(row.from_warehouse_id == warehouse, row.to_warehouse_id == warehouse)
        query = query.where(either)
    keys = (row.created_at, row.id)
    rows, following = page(call.session, query, keys, cursor, limit, descending=True)
    documents = []
    for found in rows:
        lines = transferring.lines_of(call, found)
        left = [(line.sku, transferring.outstanding(line)) for line in lines]
        documents.append(
            Document(
                id=found.id, kind="transfer", state=found.state,
                warehouse=found.from_warehouse_id, to_warehouse=found.to_warehouse_id,
                units=sum(line.shipped for line in lines), at=stamp(found.created_at),
                due_at=stamp(found.expected_at) if found.expected_at else None,
                lines=[f"{name}: {units} on the way" for name, units in left if units] or None,
            )
        )  # fmt: skip
    return documents, following


def _counts(
    call: Call, only_open: bool, sku: str | None, warehouse: str | None, limit: int,
    cursor: str | None,
) -> tuple[list[Document], str | None]:  # fmt: skip
    row = CycleCount
    query = select(row)
    if only_open:
        query = query.where(row.state.in_(counts.OPEN))
    if sku is not None:
        query = query.where(
            row.id.in_(select(CountLine.cycle_count_id).where(CountLine.sku == sku))
        )
    if warehouse is not None:
        query = query.where(row.warehouse_id == warehouse)
    keys = (row.scheduled_at, row.id)
    rows, following = page(call.session, query, keys, cursor, limit, descending=True)
    documents = []
    for found in rows:
        sheet = counts.to_count(call, found)
        documents.append(
            Document(
                id=found.id, kind="count", state=found.state, warehouse=found.warehouse_id,
                at=stamp(found.scheduled_at), units=None,
                lines=[
                    f"{line.line}: {line.sku}" + (f", lot {line.lot}" if line.lot else "")
                    for line in sheet.lines
                ]
                or None,
            )
        )  # fmt: skip
    return documents, following
