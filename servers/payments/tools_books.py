"""Tools about the books: the ledger, and what providers paid out."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from common.call import Call
from common.errors import InvalidParameters
from common.scopes import Scope
from common.toolset import Effect
from common.wire import (
    ASCII,
    ID_PATTERN,
    MAX_MINOR,
    Args,
    Currency,
    Cursor,
    Day,
    Identifier,
    Limit,
    Minor,
    Note,
    written,
)
from servers.payments import payouts, statements
from servers.payments.offer import tools
from servers.payments.results_books import LedgerView, PayoutList, PayoutView

AccountCode = Annotated[str, written(ID_PATTERN, ASCII, min_length=1, max_length=120)]
Provider = Annotated[
    str, written(r"^[a-z][a-z0-9_]{1,31}$", "a provider in small letters, such as stripe")
]
PayoutState = Literal["imported", "matched", "exceptions", "reconciled"]


class PayoutRow(Args):
    """``amount_minor`` is gross: refunds and disputes are negative. ``reference``: the payment,
    refund or dispute, by the provider's reference or by our id."""

    kind: Literal["charge", "refund", "fee", "dispute", "adjustment"]
    reference: Identifier
    amount_minor: Annotated[int, Field(ge=-MAX_MINOR, le=MAX_MINOR)]
    fee_minor: Annotated[int, Field(ge=0, le=MAX_MINOR)] = 0


@tools.tool(scope=Scope.PAYMENTS_READ, effect=Effect.READS)
def get_ledger(
    call: Call,
    currency: Currency,
    account: AccountCode | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> LedgerView:
    """Read the double-entry books of a currency: the trial balance, or with `account` (such as
    payment:ID, store_credit:CUSTOMER_ID, clearing:card) its statement, the latest first."""
    if account is None:
        if cursor is not None:
            raise InvalidParameters.field("cursor", cursor, "only with an account's statement")
        return LedgerView.trial(currency, statements.trial(call, currency))
    return LedgerView.statement(
        currency, statements.statement(call, currency, account, cursor, limit)
    )


@tools.tool(scope=Scope.PAYMENTS_WRITE, effect=Effect.CREATES)
def reconcile_payout(
    call: Call,
    provider: Provider,
    reference: Identifier,
    currency: Currency,
    amount_minor: Minor,
    arrived_on: Day,
    lines: Annotated[list[PayoutRow], Field(min_length=1, max_length=payouts.MOST_LINES)],
    paid_by: Literal["card", "wallet"] = "card",
) -> PayoutView:
    """Book a provider's payout to the bank and match each line of its file. Lines that are missing,
    differ or were paid before come back as exceptions for a person. A CSV file of many lines is
    for your person: `shop reconcile FILE` in a terminal."""
    header = payouts.Header(
        provider, reference, currency, amount_minor, date.fromisoformat(arrived_on), paid_by
    )
    rows = [payouts.Line(r.kind, r.reference, r.amount_minor, r.fee_minor) for r in lines]
    return PayoutView.of(payouts.reconcile(call, header, rows))


@tools.tool(scope=Scope.PAYMENTS_READ, effect=Effect.READS)
def list_payouts(
    call: Call,
    state: PayoutState | None = None,
    payout_id: Identifier | None = None,
    limit: Limit = 10,
    cursor: Cursor | None = None,
) -> PayoutList:
    """List payouts with the lines that need a person, the latest booked first; with `payout_id`
    that one, its lines page by page."""
    if payout_id is not None:
        one, following = payouts.exceptions_of(call, payout_id, cursor, limit)
        return PayoutList(count=1, payouts=[PayoutView.of(one)], next_cursor=following)
    rows, following = payouts.search(call, state, cursor, limit)
    return PayoutList(
        count=len(rows), payouts=[PayoutView.of(row) for row in rows], next_cursor=following
    )


@tools.tool(scope=Scope.PAYMENTS_WRITE, effect=Effect.CHANGES)
def accept_payout_exceptions(call: Call, payout_id: Identifier, note: Note) -> PayoutView:
    """Close a payout's exceptions after a person looked at them; `note` says what they found."""
    return PayoutView.of(payouts.accept(call, payout_id, note))
