"""Transfers and pending transfers, one behaviour at a time, on both databases."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import (
    Conflict,
    InsufficientFunds,
    InsufficientStock,
    InvalidParameters,
    NotFound,
    RuleViolation,
)
from common.ledgers import accounts, books, ledger
from common.ledgers.books import ENTRIES, SIDES
from common.tables.spine import Account, OpenPending, Transfer
from tests.common.ledger_model import broken_promises
from tests.support.ledger import START, Desk, rows_of

UNITS, EUR = "units/SKU-1", "money/EUR"
SHELF, CUSTOMER, SUPPLIER = "WH-1/available", "customer", "supplier"
SOON = START + timedelta(minutes=15)


def receive(call: Call, amount: int, id: str | None = None) -> str:
    return ledger.transfer(call, UNITS, SHELF, SUPPLIER, amount, "receive", "po_1", id=id)


def reserve(
    call: Call, amount: int, expires_at: datetime | None = SOON, id: str | None = None
) -> str:
    return ledger.pend(
        call, UNITS, CUSTOMER, SHELF, amount, "reserve", "ord_1", expires_at=expires_at, id=id
    )


def shelf(desk: Desk) -> accounts.Balance:
    return desk.look(lambda s: accounts.totals(s, UNITS, [SHELF], now=desk.now)[SHELF])


def transfers(desk: Desk) -> list[dict[str, Any]]:
    found = desk.look(lambda s: rows_of(s, Transfer))
    assert desk.look(broken_promises) == []
    return found


def refused(desk: Desk, kind: type[Exception], work: Callable[[Call], Any]) -> Any:
    """The refusal; the transaction is kept, so that whatever it left behind is seen."""

    def caught(call: Call) -> Exception:
        with pytest.raises(kind) as error:
            work(call)
        return error.value

    before = transfers(desk)
    error = desk.do("inventory", caught)
    assert transfers(desk) == before
    return error


def test_a_transfer_is_stamped_and_reported(desk: Desk) -> None:
    def work(call: Call) -> tuple[str, str, list[dict[str, Any]]]:
        return receive(call, 5), call.audit_id, call.effects

    id, audit_id, effects = desk.do("inventory", work)
    [row] = transfers(desk)
    assert (row["id"], row["audit_id"], row["at"]) == (id, audit_id, START)
    assert (row["amount"], row["kind"], row["code"], row["reference"]) == (
        5, "posted", "receive", "po_1",
    )  # fmt: skip
    assert effects == [
        {
            "op": "transfer", "type": "receive", "id": id, "step": "posted", "ledger": UNITS,
            "amount": 5,
        }
    ]  # fmt: skip
    assert shelf(desk).posted == shelf(desk).available == 5


def test_a_shortage_says_what_is_there(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 5))
    desk.do("inventory", lambda call: reserve(call, 2))
    error = refused(desk, InsufficientStock, lambda call: reserve(call, 4))
    assert error.details == {"ledger": UNITS, "account": SHELF, "available": 3, "asked": 4}

    def refund(call: Call) -> str:
        call.session.info["domain"] = "payments"
        return ledger.transfer(call, EUR, "payment:1", "clearing:card", 1, "refund", "ref_1")

    assert refused(desk, InsufficientFunds, refund).details["available"] == 0


def test_a_refused_move_puts_the_first_account_back(desk: Desk) -> None:
    """Both accounts are limited; whichever order their ids give, the other is restored."""
    desk.do("inventory", lambda call: receive(call, 1))
    for code, debit in (
        ("quarantine", "WH-1/quarantine"), ("damage", "WH-1/damaged"),
        ("quarantine", "WH-1/quarantine/lot_a"), ("quarantine", "WH-1/quarantine/lot_b"),
    ):  # fmt: skip
        for ids in (("acc_0", None), ("acc_z", None)):
            desk.do("inventory", lambda call, debit=debit, id=ids[0]: _rename(call, debit, id))
            refused(
                desk, InsufficientStock,
                lambda call, c=code, d=debit: ledger.transfer(call, UNITS, d, SHELF, 2, c, "x"),
            )  # fmt: skip
            desk.do("inventory", lambda call, debit=debit: _forget(call, debit))


def _rename(call: Call, code: str, id: str) -> None:
    row = {"id": id, "ledger": UNITS, "code": code, "side": "debit"}
    totals = dict.fromkeys(
        ("debits_posted", "credits_posted", "debits_pending", "credits_pending"), 0
    )
    call.session.execute(insert(Account.__table__), row | totals)  # type: ignore[arg-type]


def _forget(call: Call, code: str) -> None:
    call.session.execute(delete(Account).where(Account.code == code))


@pytest.mark.parametrize("amount", [0, -5, 10**15 + 1, True, 2.0, "2", None])
def test_amounts_are_whole_and_bounded(desk: Desk, amount: Any) -> None:
    desk.do("inventory", lambda call: receive(call, 10**15))
    id = desk.do("inventory", lambda call: reserve(call, 3))
    for work in (
        lambda call: receive(call, amount),
        lambda call: reserve(call, amount),
        lambda call: ledger.post(call, id, 0 if amount is None else amount),
    ):
        error = refused(desk, InvalidParameters, work)
        assert error.details["problems"][0]["field"] == "amount"


def test_totals_are_bounded(desk: Desk) -> None:
    def fill(call: Call) -> None:
        receive(call, 1)
        full = accounts.LARGEST_TOTAL - 1
        call.session.execute(
            update(Account.__table__)  # type: ignore[arg-type]
            .where(Account.code == SUPPLIER)
            .values(credits_posted=full, debits_posted=full - 1)
        )

    desk.do("inventory", fill)
    desk.do("inventory", lambda call: receive(call, 1))
    with pytest.raises(InvalidParameters, match="too large for this account"):
        desk.do("inventory", lambda call: receive(call, 1))


@pytest.mark.parametrize("part", [None, 1, 4])
def test_posting_lets_the_rest_go(desk: Desk, part: int | None) -> None:
    desk.do("inventory", lambda call: receive(call, 5))
    id = desk.do("inventory", lambda call: reserve(call, 4))
    assert (shelf(desk).posted, shelf(desk).available) == (5, 1)
    desk.do("inventory", lambda call: ledger.post(call, id, part))
    moved = part or 4
    assert (shelf(desk).posted, shelf(desk).available) == (5 - moved, 5 - moved)
    state = desk.look(lambda s: ledger.state_of(s, id, desk.now))
    assert (state.state, state.posted_amount, state.open) == ("posted", moved, False)
    row = transfers(desk)[-1]
    assert (row["code"], row["kind"], row["pending_id"]) == ("ship", "post", id)
    assert row["id"] == state.resolved_id


def test_posting_more_than_is_pending_is_refused(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 5))
    id = desk.do("inventory", lambda call: reserve(call, 4))
    error = refused(desk, InvalidParameters, lambda call: ledger.post(call, id, 5))
    assert "from 1 to 4" in error.message


def test_a_pending_transfer_resolves_once(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 9))
    posted, voided, lapsed, swept = (
        desk.do("inventory", lambda call, n=n: reserve(call, n)) for n in (1, 2, 3, 3)
    )
    desk.do("inventory", lambda call: ledger.post(call, posted))
    desk.do("inventory", lambda call: ledger.void(call, voided))
    desk.wait(minutes=15)
    assert shelf(desk).available == 8
    for id, state in ((posted, "posted"), (voided, "voided"), (lapsed, "expired")):
        for work in (ledger.post, ledger.void):
            error = refused(desk, RuleViolation, lambda call, w=work, id=id: w(call, id))
            assert error.details["state"] == state
            assert state in error.message
        assert desk.do("inventory", lambda call, id=id: ledger.void_if_open(call, id)) is False
    # Nothing of that told the sweep from time itself.
    assert set(desk.do("*", ledger.expire_due)) == {lapsed, swept}
    assert desk.do("*", ledger.expire_due) == []
    error = refused(desk, RuleViolation, lambda call: ledger.post(call, swept))
    assert error.details["state"] == "expired"
    assert shelf(desk).available == 8


def test_expiry_comes_at_its_moment(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 2))
    id = desk.do("inventory", lambda call: reserve(call, 2))
    desk.now = SOON - timedelta(microseconds=1)
    assert shelf(desk).available == 0
    assert desk.do("*", ledger.expire_due) == []
    desk.now = SOON
    assert shelf(desk).available == 2
    assert desk.look(lambda s: ledger.state_of(s, id, desk.now)).state == "expired"
    refused(desk, RuleViolation, lambda call: ledger.post(call, id))
    assert desk.do("*", ledger.expire_due) == [id]


def test_no_expiry_never_expires(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 2))
    id = desk.do("inventory", lambda call: reserve(call, 2, None))
    desk.wait(days=4_000)
    assert desk.do("*", ledger.expire_due) == []
    assert shelf(desk).available == 0
    desk.do("inventory", lambda call: ledger.post(call, id))


@pytest.mark.parametrize("moment", [START, START - timedelta(days=1), SOON.replace(tzinfo=None)])
def test_an_expiry_lies_ahead(desk: Desk, moment: datetime) -> None:
    desk.do("inventory", lambda call: receive(call, 2))
    refused(desk, InvalidParameters, lambda call: reserve(call, 1, moment))


def test_expired_reservations_do_not_stop_a_sale(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 5))
    old = [desk.do("inventory", lambda call: reserve(call, 2)) for _ in range(2)]
    kept = desk.do("inventory", lambda call: reserve(call, 1, START + timedelta(days=1)))

    def elsewhere(call: Call) -> None:
        ledger.transfer(call, UNITS, "WH-2/available", SUPPLIER, 1, "receive", "po_1")
        ledger.pend(call, UNITS, CUSTOMER, "WH-2/available", 1, "reserve", "ord_1", expires_at=SOON)

    desk.do("inventory", elsewhere)
    desk.wait(minutes=15)

    def sell(call: Call) -> list[str]:
        reserve(call, 4, call.now + timedelta(minutes=1))
        return [e["id"] for e in call.effects if e["op"] == "expire"]

    assert sorted(desk.do("inventory", sell)) == sorted(old)
    assert desk.look(lambda s: ledger.state_of(s, kept, desk.now)).open
    assert shelf(desk).available == 0
    transfers(desk)


def test_the_sweep_is_bounded_and_starts_with_the_oldest(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 5))
    moments = [START + timedelta(minutes=n) for n in (3, 1, 2)]
    ids = [desk.do("inventory", lambda call, m=m: reserve(call, 1, m)) for m in moments]
    desk.wait(minutes=5)
    assert desk.do("*", lambda call: ledger.expire_due(call, 2)) == [ids[1], ids[2]]
    assert desk.do("*", lambda call: ledger.expire_due(call, 2)) == [ids[0]]
    rows = [row for row in transfers(desk) if row["kind"] == "expire"]
    assert [row["amount"] for row in rows] == [0, 0, 0]
    assert {row["at"] for row in rows} == {desk.now}


def test_the_same_id_again_changes_nothing(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 5, "tra_1"))
    desk.do("inventory", lambda call: reserve(call, 4, id="tra_2"))
    desk.do("inventory", lambda call: ledger.post(call, "tra_2", 3, id="tra_3"))
    desk.wait(days=1)  # the expiry is behind us, and the answer is the same
    before = transfers(desk)
    for work in (
        lambda call: receive(call, 5, "tra_1"),
        lambda call: reserve(call, 4, id="tra_2"),
        lambda call: ledger.post(call, "tra_2", 3, id="tra_3"),
    ):
        assert desk.do("inventory", work) in {"tra_1", "tra_2", "tra_3"}
    assert transfers(desk) == before
    for work in (
        lambda call: receive(call, 6, "tra_1"),
        lambda call: reserve(call, 4, None, id="tra_2"),
        lambda call: reserve(call, 4, id="tra_1"),
        lambda call: ledger.post(call, "tra_2", 2, id="tra_3"),
        lambda call: ledger.void(call, "tra_2", id="tra_3"),
    ):
        refused(desk, Conflict, work)


def test_unknown_transfers_are_not_found(desk: Desk) -> None:
    id = desk.do("inventory", lambda call: receive(call, 5))
    for work in (
        lambda call: ledger.post(call, "tra_none"),
        lambda call: ledger.void(call, "tra_none"),
        lambda call: ledger.post(call, id),
        lambda call: ledger.state_of(call.session, "tra_none", call.now),
    ):
        refused(desk, NotFound, work)


@pytest.mark.parametrize(
    ("domain", "code", "debit", "credit"),
    [
        ("orders", "receive", SHELF, SUPPLIER),
        ("payments", "reserve", CUSTOMER, SHELF),
        ("inventory", "receive", SHELF, CUSTOMER),
        ("inventory", "receive", CUSTOMER, SUPPLIER),
        ("inventory", "reserve", CUSTOMER, SHELF),
        ("inventory", "nonsense", SHELF, SUPPLIER),
        ("inventory", "damage", SHELF, SHELF),
        ("inventory", "receive", "WH-1/nowhere", SUPPLIER),
        ("", "receive", SHELF, SUPPLIER),
    ],
)
def test_the_books_are_kept(desk: Desk, domain: str, code: str, debit: str, credit: str) -> None:
    desk.do("inventory", lambda call: receive(call, 5))
    with pytest.raises(AssertionError):
        desk.do(domain, lambda call: ledger.transfer(call, UNITS, debit, credit, 1, code, "ref"))
    assert len(transfers(desk)) == 1


def test_resolving_is_the_business_of_a_domain_too(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 5))
    id = desk.do("storefront", lambda call: reserve(call, 2))
    with pytest.raises(AssertionError, match="payments may not post ship"):
        desk.do("payments", lambda call: ledger.post(call, id))
    with pytest.raises(AssertionError, match="payments may not post unreserve"):
        desk.do("payments", lambda call: ledger.void(call, id))
    desk.do("logistics", lambda call: ledger.post(call, id))


def test_the_database_is_a_wall_of_its_own(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 5))
    id = desk.do("inventory", lambda call: reserve(call, 2))
    desk.do("inventory", lambda call: ledger.void(call, id))
    shelf_row = Account.__table__.c.code == SHELF

    def again(call: Call) -> None:
        row = call.session.execute(select(Transfer.__table__).where(Transfer.kind == "void"))
        call.session.execute(
            insert(Transfer.__table__),  # type: ignore[arg-type]
            dict(row.one()._mapping) | {"id": "tra_second"},
        )

    for work in (
        lambda call: call.session.execute(
            update(Account.__table__).where(shelf_row).values(credits_posted=6)  # type: ignore[arg-type]
        ),
        lambda call: call.session.execute(
            update(Account.__table__).where(shelf_row).values(credits_pending=-1)  # type: ignore[arg-type]
        ),
        again,
    ):
        with pytest.raises(IntegrityError):
            desk.do("inventory", work)
    transfers(desk)


def test_history_pages_both_ways(desk: Desk) -> None:
    for day in range(4):
        desk.do("inventory", lambda call: (receive(call, 2), receive(call, 3)))
        id = desk.do("inventory", lambda call: reserve(call, 1, None))
        if day % 2:
            desk.do("inventory", lambda call, id=id: ledger.post(call, id))
        desk.wait(days=1)
    rows = [row for row in transfers(desk) if row["kind"]]
    expected = [row["id"] for row in sorted(rows, key=lambda row: (row["at"], row["id"]))]

    def walk(session: Session, *, newest_first: bool) -> list[str]:
        found: list[str] = []
        cursor = None
        for _ in range(20):
            page = ledger.history(
                session, UNITS, SHELF, cursor, 3, now=desk.now, newest_first=newest_first
            )
            found += [entry.id for entry in page.entries]
            assert len(page.entries) <= 3
            cursor = page.cursor
            if cursor is None:
                break
            assert cursor.isascii()
            assert " " not in cursor
        return found

    assert desk.look(lambda s: walk(s, newest_first=False)) == expected
    assert desk.look(lambda s: walk(s, newest_first=True)) == expected[::-1]
    states = desk.look(lambda s: ledger.of_reference(s, "ord_1", now=desk.now, ledger="units/"))
    assert [(e.kind, e.state) for e in states.entries] == [
        ("pending", "pending"), ("pending", "posted"), ("post", "posted"),
        ("pending", "pending"), ("pending", "posted"), ("post", "posted"),
    ]  # fmt: skip
    assert desk.look(
        lambda s: ledger.of_reference(s, "ord_1", now=desk.now, ledger="money/").entries
    ) == []  # fmt: skip
    assert desk.look(lambda s: ledger.history(s, UNITS, "scrap", now=desk.now).entries) == []


@pytest.mark.parametrize(
    ("cursor", "limit"),
    [("nonsense", 10), ("W10", 10), ("WyJ4IiwieSJd", 10), (None, 0), (None, 501), (None, True)],
)
def test_history_refuses_what_it_did_not_hand_out(
    desk: Desk, cursor: str | None, limit: int
) -> None:
    desk.do("inventory", lambda call: receive(call, 2))
    with pytest.raises(InvalidParameters):
        desk.look(lambda s: ledger.history(s, UNITS, SHELF, cursor, limit, now=desk.now))


def test_prefixes_mind_case_and_wildcards(desk: Desk) -> None:
    def work(call: Call) -> None:
        for code in ("WH_1/available", "wh_1/available", "WHX1/available", "WH_1/damaged"):
            ledger.transfer(call, UNITS, code, SUPPLIER, 1, "receive", "po_1")

    desk.do("inventory", work)
    found = desk.look(lambda s: accounts.totals(s, UNITS, prefix="WH_1/", now=desk.now))
    assert sorted(found) == ["WH_1/available", "WH_1/damaged"]


def test_no_open_rows_are_left_behind(desk: Desk) -> None:
    desk.do("inventory", lambda call: receive(call, 9))
    ids = [desk.do("inventory", lambda call: reserve(call, 1)) for _ in range(3)]
    desk.do("inventory", lambda call: ledger.post(call, ids[0]))
    desk.do("inventory", lambda call: ledger.void(call, ids[1]))
    desk.wait(days=1)
    desk.do("*", ledger.expire_due)
    assert desk.look(lambda s: rows_of(s, OpenPending)) == []


def test_every_code_is_between_accounts_that_exist() -> None:
    classes = {name for sides in SIDES.values() for name in sides}
    for code, entry in ENTRIES.items():
        assert (entry.debit | entry.credit) <= classes, code
        assert entry.domains, code
        assert entry.pending == bool(entry.posts_as or entry.voids_as)
        for resolution in (entry.posts_as, entry.voids_as):
            if resolution is not None:
                assert ENTRIES[resolution].resolves
    assert not books.allowed("inventory", "refund")
    assert books.allowed("payments", "refund")
    assert not books.allowed("payments", "nonsense")
