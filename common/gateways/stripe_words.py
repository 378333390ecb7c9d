"""Stripe's words in ours. Objects are plain dicts of Stripe's API, version 2026-10-28.endive."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from common.audit.redact import mask
from common.errors import InvalidParameters
from common.gateways.port import (
    EvidenceKind,
    LineKind,
    Outcome,
    ProviderDispute,
    ProviderLine,
    State,
)
from common.money import exponent

# Stripe counts these in other minor units than ISO 4217 does (docs.stripe.com/currencies).
OTHER_UNITS: Final = frozenset({"ISK", "MGA", "UGX"})

# By Stripe's error code, across capture, cancel and refund.
_CODES: Final = {
    "amount_too_large": "amount_too_large",
    "charge_already_captured": "already_captured",
    "charge_already_refunded": "already_refunded",
    "charge_disputed": "disputed",
    "charge_expired_for_capture": "expired",
    "capture_charge_authorization_expired": "expired",
    "payment_method_not_available": "no_such_method",
    "dispute_closed": "dispute_closed",
}
_DISPUTE_STATES: Final = {
    "warning_needs_response": "inquiry",
    "warning_under_review": "under_review",
    # An inquiry that never became a chargeback: no money moved.
    "warning_closed": "prevented",
    "appeal_needs_response": "appealed",
    "appeal_under_review": "appealed",
}
_LINES: Final[Mapping[str, LineKind]] = {
    "charge": "charge", "payment": "charge",
    "refund": "refund", "payment_refund": "refund",
    "stripe_fee": "fee", "stripe_fx_fee": "fee", "tax_fee": "fee",
}  # fmt: skip
_TRACKING_NUMBER = re.compile(r"[A-Za-z0-9 -]{6,64}")
_TITLES: Final[Mapping[EvidenceKind, str]] = {
    "proof_of_delivery": "Proof of delivery",
    "tracking": "Tracking",
    "invoice": "Invoice",
    "customer_communication": "Communication with the customer",
    "return_record": "Return record",
    "other": "Other",
}


def authorization(intent: Mapping[str, Any]) -> Outcome:
    """What became of the PaymentIntent's authorization, also when it was captured since."""
    ref, status = intent["id"], intent["status"]
    charge = intent.get("latest_charge")
    if status in {"processing", "requires_action", "requires_confirmation"}:
        return Outcome(State.PENDING, ref, code="" if status == "processing" else status)
    if status == "requires_payment_method":
        error = intent.get("last_payment_error") or {}
        return Outcome(State.DECLINED, ref, decline_code(error), said(error.get("message")))
    if status == "canceled" and not charge:
        return failed("already_voided", "Cancelled before it was authorized.", ref)
    until = _card(charge).get("capture_before")
    return Outcome(State.DONE, ref, capture_before=moment(until) if until else None)


def capture(intent: Mapping[str, Any]) -> Outcome:
    state = State.DONE if intent["status"] == "succeeded" else State.PENDING
    charge = intent.get("latest_charge")
    booked = charge.get("balance_transaction") if isinstance(charge, Mapping) else None
    fee = None
    # Stripe books some captures later, and in the settlement currency.
    if isinstance(booked, Mapping) and booked["currency"] == intent["currency"]:
        fee = booked["fee"]
    return Outcome(state, intent["id"], fee_minor=fee)


def refund(found: Mapping[str, Any]) -> Outcome:
    ref, status = found["id"], found["status"]
    if status == "succeeded":
        return Outcome(State.DONE, ref)
    if status in {"pending", "requires_action"}:
        return Outcome(State.PENDING, ref)
    return failed("refund_failed", said(found.get("failure_reason") or status), ref)


def dispute(found: Mapping[str, Any]) -> ProviderDispute:
    status = found["status"]
    until = (found.get("evidence_details") or {}).get("due_by")
    return ProviderDispute(
        ref=found["id"],
        payment_ref=found.get("payment_intent"),
        status=_DISPUTE_STATES.get(status, status),
        reason=found["reason"],
        amount_minor=found["amount"],
        currency=found["currency"].upper(),
        opened_at=moment(found["created"]),
        respond_by=moment(until) if until else None,
    )


def line(entry: Mapping[str, Any]) -> ProviderLine:
    """A balance transaction whose ``source`` is expanded."""
    source = entry.get("source") or {}
    kind = _LINES.get(entry["type"], "adjustment")
    if kind == "adjustment" and str(entry.get("reporting_category", "")).startswith("dispute"):
        kind = "dispute"
    ref = source.get("payment_intent") if kind == "charge" else source.get("id")
    return ProviderLine(kind, ref or source.get("id") or entry["id"], entry["amount"], entry["fee"])


def refusal(error: Mapping[str, Any], ref: str | None) -> Outcome:
    """A 400 or 404: what was wrong, from Stripe's code, the parameter and the payment's state."""
    code, param = str(error.get("code") or ""), str(error.get("param") or "")
    if code == "resource_missing":
        word = {"payment_method": "no_such_method", "dispute": "no_such_dispute"}.get(
            param, "no_such_payment"
        )
    elif code == "payment_intent_unexpected_state":
        word = _unexpected(error.get("payment_intent") or {})
    elif "does not have a successful charge" in str(error.get("message")):
        # Neither has this a code.
        word = "not_captured"
    elif param in {"amount", "amount_to_capture"} and ref is not None:
        # A refund above the rest comes without a code.
        word = "amount_too_large"
    else:
        word = _CODES.get(code, "refused")
    return failed(word, said(error.get("message")), ref)


def evidence(texts: Mapping[EvidenceKind, str]) -> dict[str, str]:
    """Stripe takes files for most kinds and text for few: what has no text field of its own goes,
    under its title, into ``uncategorized_text``."""
    fields: dict[str, str] = {}
    rest = []
    for kind in sorted(texts):
        text = texts[kind].strip()
        if kind == "refund_policy":
            fields["refund_policy_disclosure"] = text
        elif kind == "tracking" and _TRACKING_NUMBER.fullmatch(text):
            fields["shipping_tracking_number"] = text
        else:
            rest.append(f"{_TITLES[kind]}:\n{text}")
    if rest:
        fields["uncategorized_text"] = "\n\n".join(rest)
    return fields


def refund_reason(reason: str) -> str:
    return reason if reason in {"duplicate", "fraudulent"} else "requested_by_customer"


def check_currency(amount_minor: int, currency: str) -> None:
    """Raise InvalidParameters for amounts that Stripe would read otherwise than we mean them."""
    if currency in OTHER_UNITS:
        raise InvalidParameters.field(
            "currency", currency, "a currency whose units Stripe counts as ISO 4217 does"
        )
    if exponent(currency) == 3 and amount_minor % 10:
        raise InvalidParameters.field(
            "amount_minor", amount_minor, f"in {currency}, divisible by 10 for card payments"
        )


def decline_code(error: Mapping[str, Any]) -> str:
    """The bank's reason, cut to what the shop stores."""
    return str(error.get("decline_code") or error.get("code") or "declined")[:40]


def failed(code: str, message: str, ref: str | None = None) -> Outcome:
    return Outcome(State.FAILED, ref, code, message)


def said(message: object) -> str:
    return mask(str(message or ""))[:200]


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _unexpected(intent: Mapping[str, Any]) -> str:
    status = intent.get("status")
    if status == "canceled":
        lapsed = intent.get("cancellation_reason") in {"automatic", "expired"}
        return "expired" if lapsed else "already_voided"
    return {"succeeded": "already_captured"}.get(str(status), "refused")


def _card(charge: object) -> Mapping[str, Any]:
    if not isinstance(charge, Mapping):
        return {}
    details = charge.get("payment_method_details") or {}
    card: Mapping[str, Any] = details.get("card") or {}
    return card
