"""Transfers as rows: written once, read as states, and as pages of an account or a reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal, cast

from sqlalchemy import Executable, Select, Table, and_, bindparam, insert, or_, select, union
from sqlalchemy.orm import Session, aliased

from common.call import Call
from common.errors import Conflict, InvalidParameters, NotFound
from common.paging import decoded, encoded, moment
from common.storage import hot
from common.storage.dialects import dialect_of, upsert
from common.tables.spine import Account, Transfer

State = Literal["pending", "posted", "voided", "expired"]

BATCH: Final = 500
LARGEST_PAGE: Final = 500

_TRANSFER: Final = cast(Table, Transfer.__table__)


@dataclass(frozen=True, slots=True)
class TransferState:
    """A transfer and what became of it. ``posted_amount`` is what moved (0 unless ``posted``),
    ``resolved_id`` and ``resolved_at`` name the transfer that posted, voided or expired it."""

    id: str
    ledger: str
    debit: str
    credit: str
    amount: int
    kind: str
    code: str
    reference: str
    pending_id: str | None
    expires_at: datetime | None
    at: datetime
    audit_id: str
    state: State
    posted_amount: int
    resolved_id: str | None = None
    resolved_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it can still be posted or voided."""
        return self.state == "pending"


# One line of a history is a transfer in its state.
Entry = TransferState


@dataclass(frozen=True, slots=True)
class Page:
    """``cursor`` asks for what follows; None at the end."""

    entries: list[TransferState]
    cursor: str | None


def state_of(session: Session, transfer_id: str, now: datetime) -> TransferState:
    """What became of a transfer, as of ``now``. Raises NotFound."""
    found = states_of(session, [transfer_id], now).get(transfer_id)
    if found is None:
        raise NotFound("No such transfer.", details={"id": transfer_id[:80]})
    return found


def states_of(session: Session, ids: Sequence[str], now: datetime) -> dict[str, TransferState]:
    """``state_of`` for many, by id; unknown ids are left out. One query for each 500."""
    found: dict[str, TransferState] = {}
    for start in range(0, len(ids), BATCH):
        batch = list(ids[start : start + BATCH])
        for row in hot.rows(session, _BY_ID, ids=batch):
            found[row.id] = _state(row, now)
    return found


def history(
    session: Session,
    ledger: str,
    code: str,
    cursor: str | None = None,
    limit: int = 100,
    *,
    now: datetime,
    newest_first: bool = True,
) -> Page:
    """The transfers of an account in order of posting, by keyset. An account never used has none.

    Raises InvalidParameters for a cursor or limit that is none.
    """
    account = select(Account.id).where(Account.ledger == ledger, Account.code == code)
    account_id = session.scalars(account).one_or_none()
    if account_id is None:
        return Page([], None)
    # Two index walks, one for each column, instead of a sort of all the account ever had.
    sides = [
        _keyset(select(Transfer.id).where(column == account_id), cursor, limit, newest_first)
        for column in (Transfer.debit_id, Transfer.credit_id)
    ]
    near = union(*(select(side.subquery()) for side in sides)).subquery()
    query = STATES.where(Transfer.id.in_(select(near.c.id)))
    return _page(session, query, cursor, limit, now, newest_first)


def of_reference(
    session: Session,
    reference: str,
    cursor: str | None = None,
    limit: int = 100,
    *,
    now: datetime,
    ledger: str | None = None,
    newest_first: bool = False,
) -> Page:
    """The transfers that name a reference (an order, a payment, …), oldest first unless said.
    ``ledger`` keeps one ledger, or with a closing ``/`` all of a book: ``money/``."""
    query = STATES.where(Transfer.reference == reference)
    if ledger is not None:
        whole = ledger.endswith("/")
        query = query.where(
            Transfer.ledger.startswith(ledger, autoescape=True)
            if whole
            else Transfer.ledger == ledger
        )
    return _page(session, query, cursor, limit, now, newest_first)


_DEBIT, _CREDIT, _RESOLVER = aliased(Account), aliased(Account), aliased(Transfer)
STATES: Final = (
    select(
        Transfer.id, Transfer.ledger, _DEBIT.code.label("debit"), _CREDIT.code.label("credit"),
        Transfer.amount, Transfer.kind, Transfer.code, Transfer.reference, Transfer.pending_id,
        Transfer.expires_at, Transfer.at, Transfer.audit_id,
        _RESOLVER.id.label("resolved_id"), _RESOLVER.kind.label("resolved_kind"),
        _RESOLVER.amount.label("resolved_amount"), _RESOLVER.at.label("resolved_at"),
    )
    .join(_DEBIT, _DEBIT.id == Transfer.debit_id)
    .join(_CREDIT, _CREDIT.id == Transfer.credit_id)
    .outerjoin(_RESOLVER, _RESOLVER.pending_id == Transfer.id)
)  # fmt: skip
_PLAIN: Final = (
    "id", "ledger", "debit", "credit", "amount", "kind", "code", "reference", "pending_id",
    "expires_at", "at", "audit_id",
)  # fmt: skip
_BY_ID = STATES.where(Transfer.id.in_(bindparam("ids", expanding=True)))


def _state(row: Any, now: datetime) -> TransferState:
    final: State = "posted"
    moved = row.amount
    if row.kind == "pending":
        final, moved = _pending_state(row, now)
    elif row.kind in ("void", "expire"):
        final = "voided" if row.kind == "void" else "expired"
    return TransferState(
        **{name: getattr(row, name) for name in _PLAIN}, state=final, posted_amount=moved,
        resolved_id=row.resolved_id, resolved_at=row.resolved_at,
    )  # fmt: skip


def _pending_state(row: Any, now: datetime) -> tuple[State, int]:
    if row.resolved_kind == "post":
        return "posted", row.resolved_amount
    if row.resolved_kind == "void":
        return "voided", 0
    lapsed = row.expires_at is not None and row.expires_at <= now
    return ("expired" if row.resolved_kind == "expire" or lapsed else "pending"), 0


def _page(
    session: Session,
    query: Select[*tuple[Any, ...]],
    cursor: str | None,
    limit: int,
    now: datetime,
    newest_first: bool,
) -> Page:
    rows = session.execute(_keyset(query, cursor, limit, newest_first)).all()
    more = len(rows) > limit
    entries = [_state(row, now) for row in rows[:limit]]
    last = entries[-1] if more else None
    return Page(entries, None if last is None else encoded([last.at, last.id]))


def _keyset(
    query: Select[*tuple[Any, ...]], cursor: str | None, limit: int, newest_first: bool
) -> Select[*tuple[Any, ...]]:
    """One row more than the page, to know whether another follows."""
    if type(limit) is not int or not 1 <= limit <= LARGEST_PAGE:
        raise InvalidParameters.field("limit", limit, f"from 1 to {LARGEST_PAGE}")
    at, id = Transfer.at, Transfer.id
    if cursor is not None:
        when, name = _read_cursor(cursor)
        before = or_(at < when, and_(at == when, id < name))
        after = or_(at > when, and_(at == when, id > name))
        query = query.where(before if newest_first else after)
    order = (at.desc(), id.desc()) if newest_first else (at, id)
    return query.order_by(*order).limit(limit + 1)


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    text, name = decoded(cursor, 2)
    when = moment(text)
    if when is None or not isinstance(name, str):
        raise InvalidParameters.field("cursor", cursor, "a cursor from an earlier page")
    return when, name


def write(call: Call, id: str, content: dict[str, Any], chosen: bool) -> bool:
    """Insert the transfer; False when a chosen id is taken."""
    row = content | {"id": id, "at": call.now, "audit_id": call.audit_id}
    if chosen:
        if not hot.change(call.session, _once(dialect_of(call.session)), **row):
            return False
    else:
        hot.change(call.session, _ADD, **row)
    call.effect(
        "transfer", content["code"], id, step=content["kind"], ledger=content["ledger"],
        amount=content["amount"],
    )  # fmt: skip
    return True


_ADD: Final = insert(_TRANSFER)


@cache
def _once(dialect: str) -> Executable:
    return upsert(dialect, Transfer).on_conflict_do_nothing()


def known(session: Session, id: str, content: dict[str, Any]) -> bool:
    """Whether this very transfer was made before. Raises Conflict if the id has other content."""
    columns = [_TRANSFER.c[name] for name in content]
    row = session.execute(select(*columns).where(_TRANSFER.c.id == id)).one_or_none()
    if row is None:
        return False
    if dict(zip(content, row, strict=True)) != content:
        raise Conflict(
            "This transfer id was used for something else.",
            next="Use a new id for a new transfer.",
            details={"id": id[:80]},
        )
    return True
