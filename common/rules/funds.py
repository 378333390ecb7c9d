"""Money: where it is, what may be refunded. Words over the ledgers ``money/{CUR}``.

``payment:{id}`` is credited with what was captured and debited with what went back, so the ledger
itself keeps refunded ≤ captured. A source or destination is an account code: ``clearing("card")``,
``store_credit(customer_id)``, ``gift_card(id)``. Amounts are minor units.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session

from common.call import Call
from common.ledgers import accounts, ledger
from common.ledgers.accounts import Balance
from common.ledgers.books import MONEY, SIDES, class_of
from common.tables.spine import Account, Transfer

HELD: Final = "held"
GOODWILL: Final = "goodwill"


def money(currency: str) -> str:
    """The ledger of a currency."""
    return f"money/{currency}"


def payment(payment_id: str) -> str:
    """What was captured for a payment and has not gone back."""
    return f"payment:{payment_id}"


def clearing(provider: str) -> str:
    """What a payment provider (``card``, ``wallet``, …) owes the shop."""
    return f"clearing:{provider}"


def store_credit(customer_id: str) -> str:
    """What the shop owes a customer."""
    return f"store_credit:{customer_id}"


def gift_card(card_id: str) -> str:
    """What the shop owes the holder of a stored-value card."""
    return f"gift_card:{card_id}"


# -- payments --------------------------------------------------------------------------------------


def authorize(
    call: Call,
    payment_id: str,
    amount: int,
    currency: str,
    source: str,
    expires_at: datetime | None,
    *,
    reference: str | None = None,
    id: str | None = None,
) -> str:
    """Reserve money at the source. Returns the transfer id that ``capture`` and ``void`` take.
    Raises InsufficientFunds for stored value that does not suffice."""
    return ledger.pend(
        call, money(currency), source, payment(payment_id), amount, "authorize",
        reference or payment_id, expires_at=expires_at, id=id,
    )  # fmt: skip


def capture(call: Call, pending_id: str, amount: int | None = None) -> str:
    """Take authorized money, in full or in part; the rest is let go. Raises RuleViolation when
    the authorization is resolved or has expired, InvalidParameters beyond its amount."""
    return ledger.post(call, pending_id, amount)


def void(call: Call, pending_id: str) -> str:
    """Let an authorization go. Raises RuleViolation when it is resolved or has expired."""
    return ledger.void(call, pending_id)


def charge(
    call: Call,
    payment_id: str,
    amount: int,
    currency: str,
    source: str,
    *,
    reference: str | None = None,
    id: str | None = None,
) -> str:
    """Take money at once: stored value, or what a provider already captured. Raises
    InsufficientFunds for stored value that does not suffice."""
    code = "credit_spend" if _class(source) == "store_credit" else "charge"
    return ledger.transfer(
        call, money(currency), source, payment(payment_id), amount, code,
        reference or payment_id, id=id,
    )  # fmt: skip


def refund(
    call: Call,
    payment_id: str,
    amount: int,
    currency: str,
    destination: str,
    *,
    unlinked: bool = False,
    reference: str | None = None,
    id: str | None = None,
) -> str:
    """Give money back out of a payment. ``unlinked``: to a method that did not pay it. Raises
    InsufficientFunds beyond what is refundable: captured less refunded, held and disputed."""
    stored = _class(destination) == "store_credit"
    code = "refund_unlinked" if unlinked else "credit_refund" if stored else "refund"
    return ledger.transfer(
        call, money(currency), payment(payment_id), destination, amount, code,
        reference or payment_id, id=id,
    )  # fmt: skip


def refund_failed(
    call: Call,
    payment_id: str,
    amount: int,
    currency: str,
    destination: str,
    *,
    reference: str | None = None,
    id: str | None = None,
) -> str:
    """A provider refused a refund: the money is the payment's again."""
    return ledger.transfer(
        call, money(currency), destination, payment(payment_id), amount, "refund_failed",
        reference or payment_id, id=id,
    )  # fmt: skip


def capture_failed(call: Call, payment_id: str, amount: int, currency: str, source: str) -> str:
    """A provider refused a capture: what was booked goes back to where it was taken from. Raises
    InsufficientFunds beyond what is free."""
    return ledger.transfer(
        call, money(currency), payment(payment_id), source, amount, "capture_failed", payment_id
    )


def hold(
    call: Call,
    payment_id: str,
    amount: int,
    currency: str,
    expires_at: datetime | None,
    *,
    reference: str | None = None,
    id: str | None = None,
) -> str:
    """Keep captured money from being refunded. Returns the transfer id ``release`` takes. Raises
    InsufficientFunds beyond what is refundable."""
    return ledger.pend(
        call, money(currency), payment(payment_id), HELD, amount, "hold",
        reference or payment_id, expires_at=expires_at, id=id,
    )  # fmt: skip


def release(call: Call, hold_id: str) -> str:
    """End a hold. Raises RuleViolation when it is resolved or has expired."""
    return ledger.void(call, hold_id)


# -- stored value ----------------------------------------------------------------------------------


def issue_credit(
    call: Call,
    account: str,
    amount: int,
    currency: str,
    reference: str,
    *,
    id: str | None = None,
) -> str:
    """New credit out of goodwill, on ``store_credit(customer_id)`` or ``gift_card(id)``."""
    return ledger.transfer(
        call, money(currency), GOODWILL, account, amount, "credit_issue", reference, id=id
    )


def credit_balance(session: Session, now: datetime, account: str, currency: str) -> int:
    """What can be spent of stored value."""
    return _balance(session, now, account, currency).available


def open_balance(
    call: Call, account: str, amount: int, currency: str, reference: str, *, id: str | None = None
) -> str:
    """Stored value that an import brings along."""
    return ledger.transfer(
        call, money(currency), "opening", account, amount, "opening", reference, id=id
    )


# -- disputes, claims, the provider ----------------------------------------------------------------


def open_dispute(call: Call, dispute_id: str, payment_id: str, amount: int, currency: str) -> str:
    """Disputed money cannot be refunded as well. Raises InsufficientFunds beyond what is
    refundable."""
    return ledger.transfer(
        call, money(currency), payment(payment_id), f"disputed:{dispute_id}", amount,
        "dispute_open", payment_id,
    )  # fmt: skip


def close_dispute(
    call: Call,
    dispute_id: str,
    payment_id: str,
    amount: int,
    currency: str,
    *,
    lost_to: str | None,
) -> str:
    """Won: the money is the payment's again. Lost: it goes to ``lost_to``, the clearing account.
    Raises InsufficientFunds beyond what is disputed."""
    return ledger.transfer(
        call, money(currency), f"disputed:{dispute_id}", lost_to or payment(payment_id), amount,
        "dispute_lost" if lost_to else "dispute_won", payment_id,
    )  # fmt: skip


def claim(call: Call, claim_id: str, amount: int, currency: str) -> str:
    """What a carrier, insurer or supplier owes the shop."""
    return ledger.transfer(
        call, money(currency), f"receivable:{claim_id}", "claims", amount, "claim_receivable",
        claim_id,
    )  # fmt: skip


def recover(call: Call, claim_id: str, amount: int, currency: str) -> str:
    """Money that came in for a claim. Raises InsufficientFunds beyond what is still owed."""
    return ledger.transfer(
        call, money(currency), "bank", f"receivable:{claim_id}", amount, "claim_recovery", claim_id
    )


def write_off(call: Call, claim_id: str, amount: int, currency: str) -> str:
    """Give up what a claim still owes. Raises InsufficientFunds beyond that."""
    return ledger.transfer(
        call, money(currency), "write_off", f"receivable:{claim_id}", amount, "claim_write_off",
        claim_id,
    )  # fmt: skip


def fee(call: Call, provider: str, amount: int, currency: str, reference: str) -> str:
    """What a provider kept."""
    return ledger.transfer(
        call, money(currency), "fees", clearing(provider), amount, "fee", reference
    )


def payout(call: Call, provider: str, amount: int, currency: str, reference: str) -> str:
    """What a provider paid to the bank."""
    return ledger.transfer(
        call, money(currency), "bank", clearing(provider), amount, "payout", reference
    )


# -- reading ---------------------------------------------------------------------------------------


def refundable(session: Session, now: datetime, payment_id: str, currency: str) -> int:
    """Captured less refunded, held and disputed."""
    return _balance(session, now, payment(payment_id), currency).available


@dataclass(frozen=True, slots=True)
class Moved:
    """What came in for a payment and what went back: ``captured`` net of a capture that failed,
    ``refunded`` of failed refunds, ``disputed`` of disputes won."""

    captured: int = 0
    refunded: int = 0
    disputed: int = 0


_INWARD = {"refund_failed": "refunded", "dispute_won": "disputed"}
_OUTWARD = {"dispute_open": "disputed", "capture_failed": "captured"}


def moved(session: Session, payment_ids: Sequence[str], currency: str) -> dict[str, Moved]:
    """What was captured, refunded and disputed, by payment id: two queries for each 500."""
    codes = {payment(name): name for name in payment_ids}
    found = {name: Moved() for name in payment_ids}
    for start in range(0, len(codes), accounts.BATCH):
        batch = list(codes)[start : start + accounts.BATCH]
        for column, kinds in ((Transfer.credit_id, _INWARD), (Transfer.debit_id, _OUTWARD)):
            inward = kinds is _INWARD
            query = (
                select(Account.code, Transfer.code, func.sum(Transfer.amount))
                .join(Account, Account.id == column)
                .where(
                    Account.ledger == money(currency), Account.code.in_(batch),
                    Transfer.kind.in_(("posted", "post")),
                )
                .group_by(Account.code, Transfer.code)
            )  # fmt: skip
            for account, code, total in session.execute(query):
                what = kinds.get(code, "captured" if inward else "refunded")
                sign = 1 if inward == (what == "captured") else -1
                name = codes[account]
                sum_so_far = getattr(found[name], what) + sign * int(total)
                found[name] = replace(found[name], **{what: sum_so_far})
    return found


def captured(session: Session, payment_id: str, currency: str) -> int:
    """All that was ever captured or charged for a payment; nothing of a capture that failed."""
    return moved(session, [payment_id], currency)[payment_id].captured


def balance(session: Session, now: datetime, account: str, currency: str) -> Balance:
    """All four totals of an account, with what has expired left out."""
    return _balance(session, now, account, currency)


def balances(
    session: Session, now: datetime, payment_ids: Sequence[str], currency: str
) -> dict[str, Balance]:
    """Balances of many payments, by payment id."""
    codes = {payment(name): name for name in payment_ids}
    found = accounts.totals(session, money(currency), list(codes), now=now)
    return {name: found[code] for code, name in codes.items()}


@dataclass(frozen=True, slots=True)
class TrialLine:
    """All accounts of one class: ``net`` is debits − credits posted; all nets add up to 0."""

    name: str
    accounts: int
    debits: int
    credits: int

    @property
    def net(self) -> int:
        return self.debits - self.credits


_CLASS = case(
    *(
        (
            or_(
                Account.code == name,
                Account.code.startswith(f"{name}:", autoescape=True),
            ),
            name,
        )
        for name in SIDES[MONEY]
    ),
    else_="unknown",
)


def trial_balance(session: Session, currency: str) -> list[TrialLine]:
    """Posted debits and credits of a currency by account class, by name."""
    row = Account
    query = (
        select(
            _CLASS.label("name"), func.count(row.id), func.sum(row.debits_posted),
            func.sum(row.credits_posted),
        )
        .where(row.ledger == money(currency))
        .group_by(_CLASS)
    )  # fmt: skip
    lines = [TrialLine(r[0], int(r[1]), int(r[2]), int(r[3])) for r in session.execute(query)]
    return sorted(lines, key=lambda line: line.name)


def _balance(session: Session, now: datetime, account: str, currency: str) -> Balance:
    return accounts.totals(session, money(currency), [account], now=now)[account]


def _class(account: str) -> str:
    return class_of(money(""), account)
