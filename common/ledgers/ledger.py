"""Double entry for units and money: transfers, pending transfers, and what became of them.

A transfer takes from its credit account and gives to its debit account. It is written once and
never changed. A pending transfer reserves, and is posted (in part: the rest is let go), voided,
or expires, once. Limits are kept by the statement that changes an account (``accounts``). Codes and
who may post them are data (``books``). Whether the sweep has run cannot be seen from outside: what
has expired is treated as expired by every function here.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NoReturn, cast

from sqlalchemy import (
    CursorResult,
    Select,
    Table,
    bindparam,
    delete,
    insert,
    or_,
    select,
)
from sqlalchemy.orm import Session, aliased

from common.call import Call
from common.clock import stamp
from common.errors import (
    Conflict,
    InsufficientFunds,
    InsufficientStock,
    InvalidParameters,
    NotFound,
    RuleViolation,
)
from common.ledgers import accounts, books
from common.ledgers.accounts import Change, Ref
from common.ledgers.journal import (
    Entry,
    Page,
    State,
    TransferState,
    history,
    known,
    of_reference,
    state_of,
    states_of,
    write,
)  # fmt: skip
from common.money import LARGEST_MINOR
from common.storage import hot
from common.tables.spine import Account, OpenPending, Transfer

HEAL_LIMIT: Final = 1_000
SWEEP_LIMIT: Final = 500

_TRANSFER: Final = cast(Table, Transfer.__table__)
_OPEN: Final = cast(Table, OpenPending.__table__)
_ADD_OPEN: Final = insert(_OPEN)


def transfer(
    call: Call,
    ledger: str,
    debit: str,
    credit: str,
    amount: int,
    code: str,
    reference: str,
    *,
    id: str | None = None,
) -> str:
    """Move ``amount`` from the credit account to the debit account at once. Returns the id.

    The same ``id`` with the same content changes nothing. Raises InvalidParameters (amount),
    InsufficientStock or InsufficientFunds with what is available, Conflict (id of another
    transfer), AssertionError when the code is not this domain's or not for these accounts.
    """
    return _enter(call, _Draft(ledger, debit, credit, amount, code, reference, id))


def pend(
    call: Call,
    ledger: str,
    debit: str,
    credit: str,
    amount: int,
    code: str,
    reference: str,
    *,
    expires_at: datetime | None,
    id: str | None = None,
) -> str:
    """Reserve ``amount`` for a transfer until it is posted, voided, or ``expires_at`` has come.

    Raises what ``transfer`` raises, and InvalidParameters for an expiry that is not ahead.
    """
    draft = _Draft(ledger, debit, credit, amount, code, reference, id, True, expires_at)
    return _enter(call, draft)


def post(call: Call, pending_id: str, amount: int | None = None, *, id: str | None = None) -> str:
    """Make a pending transfer happen, in full or in part: the rest is let go. Returns the id of
    the posting transfer.

    Raises NotFound, InvalidParameters (more than is pending), RuleViolation naming the state of
    one that is resolved or has expired, Conflict (id of another transfer).
    """
    return _resolve(call, pending_id, "post", amount, id)


def void(call: Call, pending_id: str, *, id: str | None = None) -> str:
    """Let all of a pending transfer go. Raises NotFound, RuleViolation as ``post`` does."""
    return _resolve(call, pending_id, "void", None, id)


def void_if_open(call: Call, pending_id: str) -> bool:
    """Void what is still pending; False, and nothing changed, when it is resolved or expired."""
    if not state_of(call.session, pending_id, call.now).open:
        return False
    void(call, pending_id)
    return True


def expire_due(call: Call, limit: int = SWEEP_LIMIT) -> list[str]:
    """Expire pending transfers whose time has come, the oldest first, at most ``limit``. Returns
    their ids. Those another transaction is resolving are left to it."""
    query = _due(call.now).order_by(OpenPending.expires_at, OpenPending.transfer_id)
    query = query.limit(min(limit, SWEEP_LIMIT))
    return _expire(call, query.with_for_update(of=OpenPending, skip_locked=True))


# -- entering --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Draft:
    ledger: str
    debit: str
    credit: str
    amount: int
    code: str
    reference: str
    id: str | None
    pending: bool = False
    expires_at: datetime | None = None


def _enter(call: Call, draft: _Draft) -> str:
    check_amount(draft.amount, LARGEST_MINOR)
    books.check_entry(
        _domain(call), draft.code, draft.ledger, draft.debit, draft.credit, pending=draft.pending
    )
    if draft.debit == draft.credit:
        raise AssertionError(f"{draft.code} from {draft.credit} to itself")
    keys = ((draft.ledger, draft.debit), (draft.ledger, draft.credit))
    refs = accounts.ensure(call.session, keys)
    debit, credit = (refs[key] for key in keys)
    content = {
        "ledger": draft.ledger, "debit_id": debit.id, "credit_id": credit.id,
        "amount": draft.amount, "kind": "pending" if draft.pending else "posted",
        "code": draft.code, "reference": draft.reference, "pending_id": None,
        "expires_at": draft.expires_at,
    }  # fmt: skip
    if draft.id is not None and known(call.session, draft.id, content):
        return draft.id
    _check_expiry(call, draft.expires_at)
    changes = _changes(debit, credit, draft)
    if (short := _move(call, changes)) is not None:
        # The same id may have won while we waited for the account it emptied.
        if draft.id is not None and known(call.session, draft.id, content):
            return draft.id
        _refuse(call, short, draft)
    transfer_id = draft.id or call.new_id("transfer")
    if not write(call, transfer_id, content, draft.id is not None):
        accounts.apply(call.session, [change.undone() for change in changes])
        if not known(call.session, transfer_id, content):
            raise AssertionError("a transfer that was there is gone")
        return transfer_id
    if draft.pending:
        opened = {"transfer_id": transfer_id, "expires_at": draft.expires_at}
        hot.change(call.session, _ADD_OPEN, **opened)
    return transfer_id


def _changes(debit: Ref, credit: Ref, draft: _Draft) -> list[Change]:
    if draft.pending:
        return [
            Change(debit, debits_pending=draft.amount),
            Change(credit, credits_pending=draft.amount),
        ]
    return [
        Change(debit, debits_posted=draft.amount),
        Change(credit, credits_posted=draft.amount),
    ]


def _move(call: Call, changes: list[Change]) -> Ref | None:
    """Apply; when an account is short, let go what has expired there and try once more."""
    short = accounts.apply(call.session, changes)
    if short is None or short.side == "none":
        return short
    against = Transfer.credit_id if short.side == "debit" else Transfer.debit_id
    due = _due(call.now).where(against == short.id).order_by(OpenPending.transfer_id)
    _expire(call, due.limit(HEAL_LIMIT).with_for_update(of=OpenPending))
    return accounts.apply(call.session, changes)


def _refuse(call: Call, short: Ref, draft: _Draft) -> NoReturn:
    balance = accounts.totals(call.session, short.ledger, [short.code], now=call.now)[short.code]
    if short.side == "none" or balance.available >= draft.amount:
        # The other wall: the totals of one account are bounded.
        raise InvalidParameters.field("amount", draft.amount, "too large for this account")
    units = short.ledger.startswith(f"{books.UNITS}/")
    details = {
        "ledger": short.ledger, "account": short.code,
        "available": balance.available, "asked": draft.amount,
    }  # fmt: skip
    if units:
        raise InsufficientStock(
            f"{short.code} has {balance.available} of {short.ledger.partition('/')[2]}"
            f" available, {draft.amount} were asked for.",
            details=details,
        )
    raise InsufficientFunds(
        f"{short.code} has {balance.available} minor units available,"
        f" {draft.amount} were asked for.",
        details=details,
    )


def check_amount(amount: object, most: int) -> None:
    """Raises InvalidParameters unless ``amount`` is an int (no bool) from 1 to ``most``."""
    if type(amount) is not int or not 1 <= amount <= most:
        raise InvalidParameters.field("amount", amount, f"a whole number from 1 to {most}")


def _check_expiry(call: Call, expires_at: datetime | None) -> None:
    if expires_at is None:
        return
    if expires_at.tzinfo is None or expires_at <= call.now:
        raise InvalidParameters.field("expires_at", expires_at.isoformat(), "a moment ahead")


def _domain(call: Call) -> str:
    return str(call.session.info["domain"])


# -- resolving -------------------------------------------------------------------------------------


def _resolve(
    call: Call,
    pending_id: str,
    kind: Literal["post", "void"],
    amount: int | None,
    id: str | None,
) -> str:
    pending = hot.first(call.session, _PENDING, id=pending_id)
    if pending is None:
        raise NotFound("No such pending transfer.", details={"id": pending_id[:80]})
    code = books.resolution(pending.code, kind)
    books.check_domain(_domain(call), code)
    moved = 0
    if kind == "post":
        moved = pending.amount if amount is None else amount
        check_amount(moved, pending.amount)
    content = _resolution(pending, kind, code, moved)
    if id is not None and known(call.session, id, content):
        return id
    if not _close(call, pending_id):
        # The same id may have won while we waited for the row it deleted.
        if id is not None and known(call.session, id, content):
            return id
        _refuse_resolved(call, pending_id)
    transfer_id = id or call.new_id("transfer")
    if not write(call, transfer_id, content, id is not None):
        opened = {"transfer_id": pending_id, "expires_at": pending.expires_at}
        hot.change(call.session, _ADD_OPEN, **opened)
        raise Conflict("This transfer id was used for something else.")
    debit, credit = _refs(pending)
    changes = [
        Change(debit, debits_posted=moved, debits_pending=-pending.amount),
        Change(credit, credits_posted=moved, credits_pending=-pending.amount),
    ]
    if (short := accounts.apply(call.session, changes)) is not None:
        raise AssertionError(f"{short.code} lost what was pending on it")
    return transfer_id


_DEBIT, _CREDIT = aliased(Account), aliased(Account)
_PENDINGS = (
    select(
        Transfer.id, Transfer.ledger, Transfer.debit_id, Transfer.credit_id, Transfer.amount,
        Transfer.code, Transfer.reference, Transfer.expires_at,
        _DEBIT.code.label("debit"), _DEBIT.side.label("debit_side"),
        _CREDIT.code.label("credit"), _CREDIT.side.label("credit_side"),
    )
    .join(_DEBIT, _DEBIT.id == Transfer.debit_id)
    .join(_CREDIT, _CREDIT.id == Transfer.credit_id)
    .where(Transfer.kind == "pending")
)  # fmt: skip
_PENDING = _PENDINGS.where(Transfer.id == bindparam("id"))
_CLOSE = delete(_OPEN).where(
    _OPEN.c.transfer_id == bindparam("id"),
    or_(_OPEN.c.expires_at.is_(None), _OPEN.c.expires_at > bindparam("now")),
)


def _close(call: Call, pending_id: str) -> bool:
    """Whether this call is the one that resolves it: who deletes the row does."""
    return hot.change(call.session, _CLOSE, id=pending_id, now=call.now) == 1


def _refuse_resolved(call: Call, pending_id: str) -> NoReturn:
    found = state_of(call.session, pending_id, call.now)
    if found.open:
        raise Conflict("Somebody resolved and reopened the transfer at the same moment.")
    moment = found.resolved_at or found.expires_at
    raise RuleViolation(
        f"This {found.code} is already {found.state}.",
        details={
            "id": found.id, "state": found.state, "amount": found.amount,
            "posted_amount": found.posted_amount, "at": stamp(moment) if moment else None,
        },
    )  # fmt: skip


def _resolution(pending: Any, kind: str, code: str, moved: int) -> dict[str, Any]:
    return {
        "ledger": pending.ledger, "debit_id": pending.debit_id, "credit_id": pending.credit_id,
        "amount": moved, "kind": kind, "code": code, "reference": pending.reference,
        "pending_id": pending.id, "expires_at": None,
    }  # fmt: skip


def _refs(pending: Any) -> tuple[Ref, Ref]:
    return (
        Ref(pending.debit_id, pending.ledger, pending.debit, pending.debit_side),
        Ref(pending.credit_id, pending.ledger, pending.credit, pending.credit_side),
    )


# -- expiring --------------------------------------------------------------------------------------


def _due(now: datetime) -> Select[*tuple[Any, ...]]:
    open_pending = _PENDINGS.join(OpenPending, OpenPending.transfer_id == Transfer.id)
    return open_pending.where(OpenPending.expires_at <= now)


def _expire(call: Call, due: Select[*tuple[Any, ...]]) -> list[str]:
    """Resolve what ``due`` selects and locks. On SQLite the write transaction is lock enough."""
    rows = call.session.execute(due).all()
    if not rows:
        return []
    ids = [row.id for row in rows]
    if _count(call.session, delete(_OPEN).where(_OPEN.c.transfer_id.in_(ids)), {}) != len(ids):
        raise AssertionError("a locked pending transfer was resolved by somebody else")
    freed: dict[str, Change] = {}
    written = []
    for row in rows:
        debit, credit = _refs(row)
        for ref, on_debit in ((debit, row.amount), (credit, 0)):
            on_credit = row.amount - on_debit
            before = freed.get(ref.id, Change(ref))
            freed[ref.id] = Change(
                ref,
                debits_pending=before.debits_pending - on_debit,
                credits_pending=before.credits_pending - on_credit,
            )
        written.append(
            _resolution(row, "expire", "expire", 0)
            | {"id": call.new_id("transfer"), "at": call.now, "audit_id": call.audit_id}
        )
        call.effect("expire", row.code, row.id, ledger=row.ledger, amount=row.amount)
    call.session.execute(insert(_TRANSFER), written)
    if (short := accounts.apply(call.session, list(freed.values()))) is not None:
        raise AssertionError(f"{short.code} lost what was pending on it")
    return ids


def _count(session: Session, statement: Any, values: dict[str, Any]) -> int:
    return cast("CursorResult[Any]", session.execute(statement, values)).rowcount


__all__ = [
    "Entry", "Page", "State", "TransferState", "expire_due", "history", "of_reference", "pend",
    "post", "state_of", "states_of", "transfer", "void", "void_if_open",
]  # fmt: skip
