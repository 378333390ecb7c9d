"""The ledger as plain dicts, and what must be true of its rows."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from common.ledgers.books import side_of
from common.tables.spine import Account, OpenPending, Transfer
from tests.support.ledger import rows_of

Key = tuple[str, str]


@dataclass
class Pending:
    ledger: str
    debit: str
    credit: str
    amount: int
    expires_at: datetime | None
    resolved: str | None = None
    moved: int = 0

    def state(self, now: datetime) -> str:
        if self.resolved:
            return self.resolved
        lapsed = self.expires_at is not None and self.expires_at <= now
        return "expired" if lapsed else "pending"


@dataclass
class Model:
    """What the ledger must look like from outside, swept or not."""

    posted: Counter[Key] = field(default_factory=Counter)
    pendings: dict[str, Pending] = field(default_factory=dict)
    transfers: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def balance(self, key: Key) -> int:
        """On the account's own side; ``posted`` counts debits."""
        return -self.posted[key] if side_of(*key) == "credit" else self.posted[key]

    def reserved(self, key: Key, now: datetime) -> int:
        ledger, code = key
        against = "debit" if side_of(*key) == "credit" else "credit"
        return sum(
            p.amount
            for p in self.pendings.values()
            if p.ledger == ledger and getattr(p, against) == code and p.state(now) == "pending"
        )

    def available(self, key: Key, now: datetime) -> int:
        if side_of(*key) == "none":
            return self.balance(key)
        return self.balance(key) - self.reserved(key, now)

    def short(self, ledger: str, debit: str, credit: str, amount: int, now: datetime) -> str | None:
        """The account that cannot give the amount."""
        if side_of(ledger, credit) == "debit" and self.available((ledger, credit), now) < amount:
            return credit
        if side_of(ledger, debit) == "credit" and self.available((ledger, debit), now) < amount:
            return debit
        return None

    def move(self, ledger: str, debit: str, credit: str, amount: int) -> None:
        self.posted[ledger, debit] += amount
        self.posted[ledger, credit] -= amount


def broken_promises(session: Any) -> list[str]:
    """What is wrong with the rows, whatever was asked of the ledger."""
    accounts = {row["id"]: row for row in rows_of(session, Account)}
    transfers = {row["id"]: row for row in rows_of(session, Transfer)}
    opened = {row["transfer_id"]: row["expires_at"] for row in rows_of(session, OpenPending)}
    return _resolutions(transfers, opened) + _balances(accounts, transfers, opened)


def _resolutions(transfers: dict[str, Any], opened: dict[str, Any]) -> list[str]:
    wrong: list[str] = []
    resolved = Counter(row["pending_id"] for row in transfers.values())
    for id, row in transfers.items():
        if row["kind"] == "pending" and resolved[id] + (id in opened) != 1:
            wrong.append(f"{id} resolved {resolved[id]} times, open: {id in opened}")
        if id in opened and opened[id] != row["expires_at"]:
            wrong.append(f"{id} expires at two times")
        if row["kind"] in ("post", "void", "expire"):
            wrong += _unlike(row, transfers[row["pending_id"]])
    return wrong


def _balances(
    accounts: dict[str, Any], transfers: dict[str, Any], opened: dict[str, Any]
) -> list[str]:
    wrong: list[str] = []
    sums: dict[str, Counter[str]] = {id: Counter() for id in accounts}
    for id, row in transfers.items():
        step = "pending" if id in opened else "posted"
        if step == "pending" or row["kind"] in ("posted", "post"):
            sums[row["debit_id"]][f"debits_{step}"] += row["amount"]
            sums[row["credit_id"]][f"credits_{step}"] += row["amount"]
    ledgers: dict[str, Counter[str]] = {}
    for id, row in accounts.items():
        cached = {name: row[name] for name in _TOTALS}
        if cached != {name: sums[id][name] for name in _TOTALS}:
            wrong.append(f"{row['code']} says {cached}, its transfers {dict(sums[id])}")
        if _available(row) < 0:
            wrong.append(f"{row['code']} has less than nothing available")
        ledgers.setdefault(row["ledger"], Counter()).update(cached)
    for name, total in ledgers.items():
        wrong += [
            f"what is {step} in {name} does not add up to zero: {dict(total)}"
            for step in ("posted", "pending")
            if total[f"debits_{step}"] != total[f"credits_{step}"]
        ]
    return wrong


_TOTALS = ("debits_posted", "credits_posted", "debits_pending", "credits_pending")


def _available(row: dict[str, Any]) -> int:
    net = int(row["debits_posted"] - row["credits_posted"])
    if row["side"] == "debit":
        return net - int(row["credits_pending"])
    if row["side"] == "credit":
        return -net - int(row["debits_pending"])
    return 0


def _unlike(row: dict[str, Any], pending: dict[str, Any]) -> list[str]:
    wrong = [
        f"{row['id']} resolves a transfer with another {name}"
        for name in ("ledger", "debit_id", "credit_id", "reference")
        if row[name] != pending[name]
    ]
    if pending["kind"] != "pending":
        wrong.append(f"{row['id']} resolves what was never pending")
    if row["amount"] > pending["amount"]:
        wrong.append(f"{row['id']} posts more than was pending")
    if row["kind"] != "post" and row["amount"]:
        wrong.append(f"{row['id']} moves something, and only lets go")
    return wrong
