"""What the shop asks of a payment provider, in the shop's words.

Plain blocking methods: a worker calls them in a thread, outside any transaction. Amounts are
integer minor units of an ISO 4217 currency, a method is a provider's token, never a card number.

``op_id`` is the id of our operation and the provider's idempotency key: the same id with the same
parameters is answered as before without a second effect; with other parameters it is refused
(OperationMismatch). How a worker settles one operation::

    send ──▶ done · declined · failed      the end
         ──▶ pending                       ask again later
         ──▶ unknown ──ask──▶ not_found    send again, same op_id, within RESEND_WITHIN
                     ──ask──▶ unknown      ask again later
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Generic, Literal, Protocol, TypeVar, get_args

from common.clock import stamp
from common.errors import InvalidParameters
from common.money import LARGEST_MINOR, exponent
from common.refusals import refuse_card_numbers

Kind = Literal["authorize", "capture", "void", "refund", "submit_evidence", "accept_dispute"]
EvidenceKind = Literal[
    "proof_of_delivery", "tracking", "invoice", "customer_communication", "refund_policy",
    "return_record", "other",
]  # fmt: skip
LineKind = Literal["charge", "refund", "fee", "dispute", "adjustment"]

# A provider may forget an idempotency key after 24 hours: later, sending again is a second effect.
RESEND_WITHIN: Final = timedelta(hours=23)
PAGE: Final = 100
LONGEST_TEXT: Final = 20_000

# Codes of failed outcomes that both implementations share. Any other refusal is "refused".
FAILURES: Final = frozenset({
    "amount_too_large", "already_captured", "already_refunded", "already_voided", "expired",
    "disputed", "not_captured", "no_such_payment", "no_such_dispute", "no_such_method",
    "dispute_closed", "refund_failed", "refused",
})  # fmt: skip

_OPERATION = re.compile(r"[A-Za-z0-9_.:-]{8,128}")
_REFERENCE = re.compile(r"[A-Za-z0-9_:-]{1,200}")


class State(StrEnum):
    """What became of an operation. ``not_found`` is only ever an answer to ``ask``."""

    DONE = "done"
    DECLINED = "declined"  # The customer's bank said no.
    PENDING = "pending"  # The provider has it and will say later.
    UNKNOWN = "unknown"  # No answer: it may have happened.
    FAILED = "failed"  # The provider refused; nothing happened.
    NOT_FOUND = "not_found"  # The provider never executed it.


@dataclass(frozen=True)
class Outcome:
    """``provider_ref``: the payment (authorize, capture, void), refund or dispute at the provider.
    ``fee_minor``: kept by the provider, in the payment's currency, where already known.
    ``capture_before``: when an authorization lapses."""

    state: State
    provider_ref: str | None = None
    code: str = ""
    message: str = ""
    fee_minor: int | None = None
    capture_before: datetime | None = None

    def record(self) -> dict[str, Any]:
        """JSON for an outbox row; ``read`` is its inverse."""
        return {
            "state": str(self.state),
            "provider_ref": self.provider_ref,
            "code": self.code,
            "message": self.message,
            "fee_minor": self.fee_minor,
            "capture_before": stamp(self.capture_before) if self.capture_before else None,
        }

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "Outcome":
        until = record["capture_before"]
        return cls(
            State(record["state"]),
            record["provider_ref"],
            record["code"],
            record["message"],
            record["fee_minor"],
            datetime.fromisoformat(until) if until else None,
        )


@dataclass(frozen=True)
class Sent:
    """What we still know of an operation we ask about. ``provider_ref``: the payment or dispute it
    was sent for, None for an authorization. ``sent_at``: not later than the first sending."""

    kind: Kind
    provider_ref: str | None
    sent_at: datetime


@dataclass(frozen=True)
class ProviderDispute:
    """``status`` and ``reason`` in our words. One that we accepted is lost to the provider."""

    ref: str
    payment_ref: str | None
    status: str
    reason: str
    amount_minor: int
    currency: str
    opened_at: datetime
    respond_by: datetime | None


@dataclass(frozen=True)
class ProviderLine:
    """``amount_minor`` is signed and gross; the payout has amount − fee of it. ``provider_ref`` is
    what Outcome called it: the payment of a charge, the refund, the dispute."""

    kind: LineKind
    provider_ref: str
    amount_minor: int
    fee_minor: int


@dataclass(frozen=True)
class ProviderPayout:
    """Paid to the bank. Sum of amount − fee over the lines = ``amount_minor``, if the provider
    lists the lines of this payout at all."""

    ref: str
    currency: str
    amount_minor: int
    arrived_on: date
    lines: tuple[ProviderLine, ...]


T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """At most 100, newest first. ``next`` is the cursor of the page after, None at the end."""

    items: tuple[T, ...]
    next: str | None


class GatewayError(Exception):
    """Not an outcome: something a person has to mend, or a reading that has to wait."""

    def __init__(self, message: str, *, next: str) -> None:
        super().__init__(message)
        self.message = message
        self.next = next


class GatewayMisconfigured(GatewayError):
    """Missing library, refused key, missing permission. Nothing was sent, or nothing executed."""


class GatewayUnavailable(GatewayError):
    """Too many calls, or a list that could not be read. Nothing was executed: send it later."""


class OperationMismatch(GatewayError):
    """The op_id was used before with other parameters. The first effect stands."""


class NoticeRefused(GatewayError):
    """A webhook that is not the provider's, too old, or of the wrong mode."""


class PaymentGateway(Protocol):
    """Every method raises InvalidParameters for arguments no provider may see (amounts below 1,
    card numbers, over-long texts), OperationMismatch, GatewayMisconfigured, GatewayUnavailable."""

    @property
    def name(self) -> str:
        """What payments store as their provider: ``simulator``, ``stripe``."""

    def authorize(
        self,
        op_id: str,
        amount_minor: int,
        currency: str,
        method_token: str,
        metadata: Mapping[str, str],
    ) -> Outcome:
        """Hold the amount on the method."""

    def capture(self, op_id: str, provider_ref: str, amount_minor: int) -> Outcome:
        """Take all or a part of what was authorized, once: the rest is released."""

    def void(self, op_id: str, provider_ref: str) -> Outcome:
        """Release an authorization that was not captured."""

    def refund(self, op_id: str, provider_ref: str, amount_minor: int, reason: str) -> Outcome:
        """Give back all or a part of what was captured."""

    def ask(self, op_id: str, sent: Sent) -> Outcome:
        """What became of the operation: a reading, never a second sending."""

    def disputes(self, since: datetime, after: str | None = None) -> Page[ProviderDispute]:
        """Opened at ``since`` or later, as they stand now. To follow the open ones, ask since the
        oldest of them was opened."""

    def submit_evidence(
        self, op_id: str, dispute_ref: str, evidence: Mapping[EvidenceKind, str]
    ) -> Outcome:
        """Contest. Evidence is submitted once: nothing can be added later."""

    def accept_dispute(self, op_id: str, dispute_ref: str) -> Outcome:
        """Give up the disputed amount. Cannot be undone."""

    def payouts(self, since: datetime, after: str | None = None) -> Page[ProviderPayout]:
        """Made at ``since`` or later, with their lines."""


def check_operation(op_id: str, *refs: str) -> None:
    """Raise InvalidParameters for an id that cannot be an idempotency key, or odd references."""
    if not _OPERATION.fullmatch(op_id):
        raise InvalidParameters.field("op_id", op_id, "8 to 128 of A-Z a-z 0-9 _ . : -")
    for ref in refs:
        refuse_card_numbers(ref, "provider_ref")
        if not _REFERENCE.fullmatch(ref):
            raise InvalidParameters.field("provider_ref", ref, "a reference the provider gave")


def check_amount(amount_minor: int, currency: str | None = None) -> None:
    """Raise InvalidParameters unless 1 to 10^15 minor units (of a known currency)."""
    if isinstance(amount_minor, bool) or not isinstance(amount_minor, int):
        raise InvalidParameters.field("amount_minor", str(amount_minor), "an integer")
    if not 1 <= amount_minor <= LARGEST_MINOR:
        raise InvalidParameters.field("amount_minor", amount_minor, "1 to 10^15 minor units")
    if currency is not None:
        exponent(currency)


def check_texts(**texts: Mapping[Any, str] | str) -> None:
    """Raise InvalidParameters for card numbers, or more or longer texts than a provider takes."""
    for name, value in texts.items():
        given = dict(value) if isinstance(value, Mapping) else {"": value}
        refuse_card_numbers(given, name)
        longest = 500 if name == "metadata" else LONGEST_TEXT
        if len(given) > 20 or any(len(str(key)) > 40 for key in given):
            raise InvalidParameters.field(name, None, "at most 20 entries, keys of 40 characters")
        if any(len(text) > longest for text in given.values()):
            raise InvalidParameters.field(name, None, f"texts of at most {longest} characters")


def check_evidence(evidence: Mapping[EvidenceKind, str]) -> None:
    """Raise InvalidParameters for none, an unknown kind, an empty text or card numbers."""
    kinds = get_args(EvidenceKind)
    unknown = set(evidence) - set(kinds)
    if unknown or not evidence or not all(text.strip() for text in evidence.values()):
        raise InvalidParameters.field("evidence", None, f"texts by kind, of: {', '.join(kinds)}")
    check_texts(evidence=evidence)
