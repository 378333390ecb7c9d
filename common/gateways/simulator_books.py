"""The simulator's own books: its tables, and what is written in them together."""

import json
import sqlite3
from datetime import datetime
from typing import Any, Final

from common.clock import stamp
from common.gateways.behaviours import behaviour_of
from common.gateways.port import PAGE, Outcome, ProviderLine, State

SCHEMA: Final = """
create table if not exists operation (
    op_id text primary key, kind text not null, digest text not null, outcome text not null);
create table if not exists dropped (op_id text primary key);
create table if not exists payment (
    ref text primary key, op_id text not null, method text not null, amount integer not null,
    currency text not null, captured integer not null default 0,
    refunded integer not null default 0, state text not null, capture_before text not null,
    check (refunded between 0 and captured and captured <= amount));
create table if not exists refund (
    ref text primary key, op_id text not null, payment text not null, amount integer not null,
    state text not null);
create table if not exists dispute (
    position integer primary key, ref text not null unique, payment text not null,
    status text not null, reason text not null, amount integer not null, currency text not null,
    opened_at text not null, respond_by text not null, evidence text);
create table if not exists payout (
    position integer primary key, ref text not null unique, currency text not null,
    amount integer not null, made_at text not null);
create table if not exists balance (
    position integer primary key, kind text not null, ref text not null, currency text not null,
    amount integer not null, fee integer not null, payout text);
"""


def failed(code: str, message: str) -> Outcome:
    return Outcome(State.FAILED, code=code, message=message)


def closed(payment: sqlite3.Row) -> Outcome:
    """Why a payment in a final state takes no further capture or void."""
    codes = {"captured": "already_captured", "voided": "already_voided", "expired": "expired"}
    code = codes.get(payment["state"], "refused")
    return failed(code, f"The payment is {payment['state']}.")


def capture_refusal(payment: sqlite3.Row | None, amount: int) -> Outcome | None:
    if payment is None:
        return failed("no_such_payment", "No such payment.")
    if payment["state"] != "authorized":
        return closed(payment)
    if amount > payment["amount"]:
        return failed("amount_too_large", f"Only {payment['amount']} was authorized.")
    return None


def refund_refusal(
    db: sqlite3.Connection, payment: sqlite3.Row | None, amount: int
) -> Outcome | None:
    if payment is None:
        return failed("no_such_payment", "No such payment.")
    if payment["state"] != "captured":
        return failed("not_captured", f"The payment is {payment['state']}.")
    disputed = db.execute(
        "select 1 from dispute where payment = ?"
        " and status in ('needs_response', 'under_review', 'lost')",
        (payment["ref"],),
    ).fetchone()
    if disputed:
        return failed("disputed", "The payment is disputed.")
    left = payment["captured"] - payment["refunded"]
    if not left:
        return failed("already_refunded", "The payment is refunded in full.")
    if amount > left:
        return failed("amount_too_large", f"Only {left} is left to refund.")
    return None


def authorization(db: sqlite3.Connection, ref: str) -> Outcome:
    """What authorize answers, from the payment's row."""
    payment = db.execute("select * from payment where ref = ?", (ref,)).fetchone()
    if payment["state"] == "declined":
        code = behaviour_of(payment["method"]).decline
        return Outcome(State.DECLINED, ref, code, "The bank declined the payment.")
    state = State.PENDING if payment["state"] == "pending" else State.DONE
    return Outcome(state, ref, capture_before=moment(payment["capture_before"]))


def book(
    db: sqlite3.Connection, kind: str, ref: str, currency: str, amount: int, fee: int = 0
) -> None:
    """One line of the balance that a later payout pays."""
    db.execute(
        "insert into balance (kind, ref, currency, amount, fee) values (?, ?, ?, ?, ?)",
        (kind, ref, currency, amount, fee),
    )


def amend(db: sqlite3.Connection, op_id: str, outcome: Outcome) -> None:
    """A pending operation has come to its end."""
    db.execute(
        "update operation set outcome = ? where op_id = ?", (json.dumps(outcome.record()), op_id)
    )


def settle_payment(db: sqlite3.Connection, payment: sqlite3.Row) -> None:
    state = "declined" if behaviour_of(payment["method"]).decline else "authorized"
    db.execute("update payment set state = ? where ref = ?", (state, payment["ref"]))
    amend(db, payment["op_id"], authorization(db, payment["ref"]))


def settle_refund(db: sqlite3.Connection, refund: sqlite3.Row) -> None:
    payment = db.execute("select * from payment where ref = ?", (refund["payment"],)).fetchone()
    if behaviour_of(payment["method"]).refund == "failed":
        db.execute(
            "update payment set refunded = refunded - ? where ref = ?",
            (refund["amount"], payment["ref"]),
        )
        book(db, "adjustment", refund["ref"], payment["currency"], refund["amount"])
        outcome = Outcome(
            State.FAILED, refund["ref"], "refund_failed", "The customer's bank sent it back."
        )
    else:
        outcome = Outcome(State.DONE, refund["ref"])
    state = str(outcome.state)
    db.execute("update refund set state = ? where ref = ?", (state, refund["ref"]))
    amend(db, refund["op_id"], outcome)


def decide(db: sqlite3.Connection, dispute: sqlite3.Row) -> None:
    """The bank's verdict on a dispute under review. An answered inquiry goes no further."""
    method = db.execute(
        "select method from payment where ref = ?", (dispute["payment"],)
    ).fetchone()["method"]
    behaviour = behaviour_of(method)
    status = "prevented" if behaviour.inquiry else behaviour.verdict
    if status == "won":
        book(db, "dispute", dispute["ref"], dispute["currency"], dispute["amount"])
    db.execute("update dispute set status = ? where ref = ?", (status, dispute["ref"]))


def lines(db: sqlite3.Connection, payout: str) -> tuple[ProviderLine, ...]:
    rows = db.execute("select * from balance where payout = ? order by position", (payout,))
    return tuple(ProviderLine(r["kind"], r["ref"], r["amount"], r["fee"]) for r in rows)


def newest(
    db: sqlite3.Connection, table: str, column: str, since: datetime, after: str | None
) -> list[sqlite3.Row]:
    """One row more than a page, so that the caller sees whether there is another."""
    return db.execute(
        f"select * from {table} where {column} >= ? and position < ?"
        " order by position desc limit ?",
        (stamp(since), int(after) if after else 2**62, PAGE + 1),
    ).fetchall()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def first_try(db: sqlite3.Connection, op_id: str) -> bool:
    """Whether a request that is to go missing has not gone missing yet."""
    done: Any = db.execute("insert or ignore into dropped values (?)", (op_id,))
    return bool(done.rowcount)
