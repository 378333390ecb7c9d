"""Accounts: made when first named, read with what has lapsed left out, changed within limits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Final, cast

from sqlalchemy import (
    BigInteger,
    Select,
    String,
    Table,
    bindparam,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from common.changes import account_touched
from common.ids import new_id
from common.ledgers.books import Side, side_of
from common.storage import hot
from common.storage.dialects import dialect_of, upsert
from common.tables.spine import Account, OpenPending, Transfer

Key = tuple[str, str]

# Far from 2^63, so that no sum of two balances leaves a BIGINT, and no sum becomes a REAL.
LARGEST_TOTAL: Final = 10**18
BATCH: Final = 500

_ACCOUNT: Final = cast(Table, Account.__table__)


@dataclass(frozen=True, slots=True)
class Ref:
    """An account by id. ``order`` is the one order accounts are locked in: the limited ones
    first, so that a shortage shows before an account everybody shares is held."""

    id: str
    ledger: str
    code: str
    side: str

    @property
    def order(self) -> tuple[bool, str]:
        return (self.side == "none", self.id)


@dataclass(frozen=True, slots=True)
class Balance:
    """``posted`` counts on the account's own side (debits − credits for ``debit`` and ``none``),
    ``available`` is ``posted`` without what is pending against it."""

    side: Side
    debits_posted: int = 0
    credits_posted: int = 0
    debits_pending: int = 0
    credits_pending: int = 0

    @property
    def posted(self) -> int:
        net = self.debits_posted - self.credits_posted
        return -net if self.side == "credit" else net

    @property
    def available(self) -> int:
        if self.side == "none":
            return self.posted
        return self.posted - (self.credits_pending if self.side == "debit" else self.debits_pending)


def ensure(session: Session, keys: Iterable[Key]) -> dict[Key, Ref]:
    """The accounts of these (ledger, code), made where missing. Raises AssertionError for a code
    no book knows."""
    wanted = sorted(set(keys))
    found = find(session, wanted)
    missing = [key for key in wanted if key not in found]
    if not missing:
        return found
    rows = [
        {
            "id": new_id("account"), "ledger": ledger, "code": code,
            "side": side_of(ledger, code), "debits_posted": 0, "credits_posted": 0,
            "debits_pending": 0, "credits_pending": 0,
        }
        for ledger, code in missing
    ]  # fmt: skip
    session.execute(upsert(dialect_of(session), Account).on_conflict_do_nothing(), rows)
    return found | find(session, missing)


_FIND = select(_ACCOUNT.c.id, _ACCOUNT.c.ledger, _ACCOUNT.c.code, _ACCOUNT.c.side).where(
    _ACCOUNT.c.ledger.in_(bindparam("ledgers", expanding=True)),
    _ACCOUNT.c.code.in_(bindparam("codes", expanding=True)),
)


def find(session: Session, keys: Sequence[Key]) -> dict[Key, Ref]:
    """Those of the accounts that exist."""
    found: dict[Key, Ref] = {}
    for start in range(0, len(keys), BATCH):
        batch = set(keys[start : start + BATCH])
        names = {"ledgers": sorted({k[0] for k in batch}), "codes": sorted({k[1] for k in batch})}
        for row in hot.rows(session, _FIND, **names):
            if (row.ledger, row.code) in batch:
                found[row.ledger, row.code] = Ref(row.id, row.ledger, row.code, row.side)
    return found


def lock(session: Session, keys: Iterable[Key]) -> None:
    """Make and lock accounts in their one order, before a rule with many transfers touches them
    in its own: two such rules then wait for each other instead of deadlocking."""
    refs = sorted(ensure(session, keys).values(), key=lambda ref: ref.order)
    if dialect_of(session) != "postgresql":
        return
    for side_is_none in (False, True):
        ids = [ref.id for ref in refs if (ref.side == "none") == side_is_none]
        if ids:
            query = select(Account.id).where(Account.id.in_(ids)).order_by(Account.id)
            session.execute(query.with_for_update(key_share=True)).all()


@cache
def _totals_query(by_code: bool, by_prefix: bool) -> Select[Any]:
    a = _ACCOUNT.c
    query = select(
        a.ledger, a.code, a.side, a.debits_posted, a.credits_posted, a.debits_pending,
        a.credits_pending,
    ).where(a.ledger.in_(bindparam("ledgers", expanding=True)))  # fmt: skip
    if by_code:
        query = query.where(a.code.in_(bindparam("codes", expanding=True)))
    if by_prefix:
        start = bindparam("prefix", type_=String())
        query = query.where(func.substr(a.code, 1, func.length(start)) == start)
    return query


@cache
def _lapsed_query(on_debit: bool) -> Select[Any]:
    a, t, p = _ACCOUNT.c, Transfer.__table__.c, OpenPending.__table__.c
    return (
        select(a.ledger, a.code, func.sum(t.amount).label("lapsed"))
        .select_from(OpenPending.__table__)
        .join(Transfer.__table__, t.id == p.transfer_id)
        .join(_ACCOUNT, a.id == (t.debit_id if on_debit else t.credit_id))
        .where(
            p.expires_at <= bindparam("now"),
            t.ledger.in_(bindparam("ledgers", expanding=True)),
        )
        .group_by(a.ledger, a.code)
    )


def totals(
    session: Session,
    ledger: str,
    codes: Sequence[str] | None = None,
    *,
    prefix: str | None = None,
    now: datetime,
) -> dict[str, Balance]:
    """Balances by code at ``now``. Codes asked for and never used are there with zeros."""
    found = totals_of(session, [ledger], codes, prefix=prefix, now=now)
    balances = {code: balance for (_, code), balance in found.items()}
    for code in codes or ():
        balances.setdefault(code, Balance(side_of(ledger, code)))
    return balances


def totals_of(
    session: Session,
    ledgers: Sequence[str],
    codes: Sequence[str] | None = None,
    *,
    prefix: str | None = None,
    now: datetime,
) -> dict[Key, Balance]:
    """Balances of accounts that exist, over many ledgers: two queries for each 500 of them.

    Pending transfers that have expired by ``now`` are left out, whether or not they were swept.
    """
    found: dict[Key, Balance] = {}
    query = _totals_query(codes is not None, prefix is not None)
    values: dict[str, Any] = {}
    if codes is not None:
        values["codes"] = list(codes)
    if prefix is not None:
        values["prefix"] = prefix
    for start in range(0, len(ledgers), BATCH):
        batch = list(ledgers[start : start + BATCH])
        for row in hot.rows(session, query, ledgers=batch, **values):
            found[row[0], row[1]] = Balance(*row[2:])
        for on_debit in (True, False):
            if any((b.debits_pending if on_debit else b.credits_pending) for b in found.values()):
                _leave_out_lapsed(session, batch, found, now, on_debit)
    return found


def _leave_out_lapsed(
    session: Session, ledgers: list[str], found: dict[Key, Balance], now: datetime, on_debit: bool
) -> None:
    for row in hot.rows(session, _lapsed_query(on_debit), ledgers=ledgers, now=now):
        balance = found.get((row.ledger, row.code))
        if balance is None:
            continue
        lapsed = int(row.lapsed)
        found[row.ledger, row.code] = (
            replace(balance, debits_pending=balance.debits_pending - lapsed)
            if on_debit
            else replace(balance, credits_pending=balance.credits_pending - lapsed)
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to the four totals of one account."""

    account: Ref
    debits_posted: int = 0
    credits_posted: int = 0
    debits_pending: int = 0
    credits_pending: int = 0

    def undone(self) -> "Change":
        return Change(
            self.account, -self.debits_posted, -self.credits_posted,
            -self.debits_pending, -self.credits_pending,
        )  # fmt: skip


def _delta(name: str) -> Any:
    return bindparam(name, type_=BigInteger())


_AFTER = {
    "dp": _ACCOUNT.c.debits_posted + _delta("dp"), "cp": _ACCOUNT.c.credits_posted + _delta("cp"),
    "dn": _ACCOUNT.c.debits_pending + _delta("dn"), "cn": _ACCOUNT.c.credits_pending + _delta("cn"),
}  # fmt: skip
# The limit is decided by the statement that changes the row: nothing is read before.
_APPLY = (
    update(_ACCOUNT)
    .where(
        _ACCOUNT.c.id == bindparam("account_id"),
        or_(_ACCOUNT.c.side != "debit", _AFTER["dp"] - _AFTER["cp"] - _AFTER["cn"] >= 0),
        or_(_ACCOUNT.c.side != "credit", _AFTER["cp"] - _AFTER["dp"] - _AFTER["dn"] >= 0),
        _AFTER["dp"] + _AFTER["dn"] <= LARGEST_TOTAL,
        _AFTER["cp"] + _AFTER["cn"] <= LARGEST_TOTAL,
    )
    .values(
        debits_posted=_AFTER["dp"], credits_posted=_AFTER["cp"],
        debits_pending=_AFTER["dn"], credits_pending=_AFTER["cn"],
    )
)  # fmt: skip


def apply(session: Session, changes: Sequence[Change]) -> Ref | None:
    """Make all changes, in the one order, or none. Returns the account that could not, if any."""
    ordered = sorted(changes, key=lambda change: change.account.order)
    for index, change in enumerate(ordered):
        if not _apply(session, change):
            for done in ordered[:index]:
                if not _apply(session, done.undone()):
                    raise AssertionError(f"{done.account.code} could not be put back")
            return change.account
    return None


def _apply(session: Session, change: Change) -> bool:
    values = {
        "account_id": change.account.id,
        "dp": change.debits_posted, "cp": change.credits_posted,
        "dn": change.debits_pending, "cn": change.credits_pending,
    }  # fmt: skip
    account_touched(session, change.account.ledger, change.account.code)
    return hot.change(session, _APPLY, **values) == 1
