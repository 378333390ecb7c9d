"""The money ledger, read: the trial balance, and the statement of an account."""

from dataclasses import dataclass

from common.call import Call
from common.errors import InvalidParameters
from common.ledgers import books, ledger
from common.ledgers.accounts import Balance
from common.ledgers.journal import Page
from common.money import exponent
from common.rules import funds
from common.rules.funds import TrialLine


@dataclass(frozen=True)
class Statement:
    account: str
    balance: Balance
    page: Page


def trial(call: Call, currency: str) -> list[TrialLine]:
    """Debits and credits of every account class; their nets add up to nothing."""
    exponent(currency)
    return funds.trial_balance(call.session, currency)


def statement(call: Call, currency: str, account: str, cursor: str | None, limit: int) -> Statement:
    """What went through an account, the latest first. Raises InvalidParameters for an account that
    no book knows."""
    exponent(currency)
    if books.class_of(funds.money(currency), account) not in books.SIDES[books.MONEY]:
        known = ", ".join(sorted(books.SIDES[books.MONEY]))
        raise InvalidParameters.field("account", account, f"begins with one of {known}")
    found = ledger.history(
        call.session, funds.money(currency), account, cursor, limit, now=call.now
    )
    return Statement(account, funds.balance(call.session, call.now, account, currency), found)
