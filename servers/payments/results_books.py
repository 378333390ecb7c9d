"""What the payments server answers with about its books and payouts."""

from common.clock import stamp
from common.ledgers.journal import TransferState
from common.money import Money
from common.rules.funds import TrialLine
from common.tables.payments import Payout, PayoutLine
from common.wire import Result
from servers.payments import payouts, statements


class ClassRow(Result):
    """``net_minor`` is debits less credits."""

    account_class: str
    accounts: int
    debits_minor: int
    credits_minor: int
    net_minor: int


class EntryRow(Result):
    """``signed_minor``: what it did to the balance of the account; 0 while pending or voided."""

    at: str
    code: str
    state: str
    amount_minor: int
    signed_minor: int
    other_account: str
    reference: str
    transfer_id: str


class LedgerView(Result):
    """Either the trial balance of a currency, or the statement of one account."""

    currency: str
    balanced: bool | None = None
    classes: list[ClassRow] | None = None
    account: str | None = None
    balance: str | None = None
    balance_minor: int | None = None
    available_minor: int | None = None
    entries: list[EntryRow] | None = None
    next_cursor: str | None = None

    @classmethod
    def trial(cls, currency: str, lines: list[TrialLine]) -> "LedgerView":
        return cls(
            currency=currency,
            balanced=sum(line.net for line in lines) == 0,
            classes=[
                ClassRow(
                    account_class=line.name, accounts=line.accounts, debits_minor=line.debits,
                    credits_minor=line.credits, net_minor=line.net,
                )
                for line in lines
            ],
        )  # fmt: skip

    @classmethod
    def statement(cls, currency: str, found: statements.Statement) -> "LedgerView":
        on_credit = found.balance.side == "credit"
        return cls(
            currency=currency,
            account=found.account,
            balance=str(Money(found.balance.posted, currency)),
            balance_minor=found.balance.posted,
            available_minor=found.balance.available,
            entries=[_entry(row, found.account, on_credit) for row in found.page.entries],
            next_cursor=found.page.cursor,
        )


def _entry(row: TransferState, account: str, on_credit: bool) -> EntryRow:
    # A pending transfer moves nothing itself: the one that posts it is an entry of its own.
    moved = row.amount if row.kind in ("posted", "post") else 0
    debited = row.debit == account
    return EntryRow(
        at=stamp(row.at),
        code=row.code,
        state=row.state if row.kind == "pending" else row.kind,
        amount_minor=row.amount,
        signed_minor=-moved if debited == on_credit else moved,
        other_account=row.credit if debited else row.debit,
        reference=row.reference,
        transfer_id=row.id,
    )


class PayoutLineRow(Result):
    line: int
    kind: str
    reference: str
    amount_minor: int
    fee_minor: int
    outcome: str
    note: str
    payment_id: str | None = None
    refund_id: str | None = None

    @classmethod
    def of(cls, row: PayoutLine) -> "PayoutLineRow":
        return cls(
            line=row.position + 1,
            kind=row.kind,
            reference=row.provider_reference,
            amount_minor=row.amount_minor,
            fee_minor=row.fee_minor,
            outcome=row.outcome,
            note=row.note,
            payment_id=row.payment_id,
            refund_id=row.refund_id,
        )


class PayoutView(Result):
    """``exceptions`` are lines a person has to look at, the first of ``exception_count``."""

    payout_id: str
    provider: str
    reference: str
    amount: str
    arrived_on: str
    state: str
    matched: int
    exception_count: int
    exceptions: list[PayoutLineRow]

    @classmethod
    def of(cls, found: payouts.Whole) -> "PayoutView":
        row: Payout = found.payout
        return cls(
            payout_id=row.id,
            provider=row.provider,
            reference=row.provider_reference,
            amount=str(Money(row.amount_minor, row.currency)),
            arrived_on=row.arrived_on.isoformat(),
            state=row.state,
            matched=found.matched,
            exception_count=found.other,
            exceptions=[PayoutLineRow.of(line) for line in found.exceptions],
        )


class PayoutList(Result):
    count: int
    payouts: list[PayoutView]
    next_cursor: str | None = None
