"""Stripe through its official library: manual-capture PaymentIntents, refunds, disputes, payouts.

The library is the extra ``stripe``. A method token is a PaymentMethod, ``pm_…``, or one that is
saved with a customer, ``cus_…:pm_…``. A capture is final: Stripe releases the rest.

How ``ask`` asks. Sending the operation again under its idempotency key would not be asking: if the
first request was lost, that *is* the operation, and after 24 hours, when Stripe may forget the key,
it would be a second one. Search is up to a minute behind, an hour in an outage, so its "nothing"
proves nothing. Retrieving and listing are consistent at once (docs.stripe.com/search, "Data
freshness"), so every operation leaves its id in the metadata of what it makes or changes, and
``ask`` retrieves the payment or dispute it was sent for, or lists what was created since it was
sent. A void and an acceptance leave no metadata, but only one of each can ever happen: the state
of the object tells.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from common.errors import InvalidParameters
from common.gateways import stripe_words as words
from common.gateways.port import (
    PAGE,
    RESEND_WITHIN,
    EvidenceKind,
    GatewayMisconfigured,
    GatewayUnavailable,
    NoticeRefused,
    OperationMismatch,
    Outcome,
    Page,
    ProviderDispute,
    ProviderPayout,
    Sent,
    State,
    check_amount,
    check_evidence,
    check_operation,
    check_texts,
)
from common.gateways.stripe_client import NEXT_KEY, client_of, is_live

# In the metadata: the operation that made the object, and the one that captured the payment.
MADE_BY: Final = "shop_op_id"
CAPTURED_BY: Final = "shop_capture_op_id"
_METHOD = re.compile(r"(?:(cus_\w{1,100}):)?(pm_\w{1,100})")
_SKEW: Final = timedelta(minutes=5)
_MOST_PAGES: Final = 20
_PAYOUTS: Final = 20
_FACTS: Final = (
    "object", "status", "amount", "amount_captured", "amount_received", "amount_refunded",
    "currency", "reason", "created", "cancellation_reason", "failure_reason", "arrival_date",
)  # fmt: skip


@dataclass(frozen=True)
class Notice:
    """A verified event. ``ref``: the object it is about; ``payment_ref``: the payment behind it;
    ``op_id``: our operation that caused it, if one did; ``facts``: JSON without personal data."""

    event_id: str
    kind: str
    at: datetime
    ref: str
    payment_ref: str | None
    op_id: str | None
    facts: dict[str, Any]

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Notice":
        found = event["data"]["object"]
        request = event.get("request") or {}
        own = found["id"] if found.get("object") == "payment_intent" else None
        return cls(
            event_id=event["id"],
            kind=event["type"],
            at=words.moment(event["created"]),
            ref=found["id"],
            payment_ref=found.get("payment_intent") or own,
            op_id=request.get("idempotency_key") or (found.get("metadata") or {}).get(MADE_BY),
            facts={name: found[name] for name in _FACTS if name in found},
        )


class StripeGateway:
    """Implements PaymentGateway, and reads Stripe's webhooks. Threads may share it."""

    name: Final = "stripe"

    def __init__(
        self,
        secret_key: str,
        *,
        webhook_secret: str = "",
        allow_live: bool = False,
        api_base: str | None = None,
        timeout_s: int = 20,
    ) -> None:
        """Raises GatewayMisconfigured without the library, for a key that is no secret or
        restricted key, and for a live key unless ``allow_live``. ``api_base``: another server
        than Stripe's, https or loopback, never for a live key."""
        self._live = is_live(secret_key, allow_live)
        self._stripe, client = client_of(secret_key, self._live, api_base, timeout_s)
        self._v1: Any = client.v1
        self._construct_event: Any = client.construct_event
        self._webhook_secret = webhook_secret

    def __repr__(self) -> str:
        return f"StripeGateway({'live' if self._live else 'test'})"

    def authorize(
        self,
        op_id: str,
        amount_minor: int,
        currency: str,
        method_token: str,
        metadata: Mapping[str, str],
    ) -> Outcome:
        check_operation(op_id)
        check_amount(amount_minor, currency)
        check_texts(method_token=method_token, metadata=metadata)
        words.check_currency(amount_minor, currency)
        params = {
            "amount": amount_minor,
            "currency": currency.lower(),
            "capture_method": "manual",
            "confirm": True,
            # Nobody is there to answer a challenge of the bank: it counts as declined.
            "error_on_requires_action": True,
            "payment_method_types": ["card"],
            "metadata": {**metadata, MADE_BY: op_id},
            "expand": ["latest_charge"],
            **_method(method_token),
        }
        create = self._v1.payment_intents.create
        return self._send(op_id, None, lambda key: create(params, key), words.authorization)

    def capture(self, op_id: str, provider_ref: str, amount_minor: int) -> Outcome:
        check_operation(op_id, provider_ref)
        check_amount(amount_minor)
        params = {
            "amount_to_capture": amount_minor,
            "metadata": {CAPTURED_BY: op_id},
            "expand": ["latest_charge.balance_transaction"],
        }
        take = self._v1.payment_intents.capture
        return self._send(
            op_id, provider_ref, lambda key: take(provider_ref, params, key), words.capture
        )

    def void(self, op_id: str, provider_ref: str) -> Outcome:
        check_operation(op_id, provider_ref)
        cancel = self._v1.payment_intents.cancel
        return self._send(op_id, provider_ref, lambda key: cancel(provider_ref, {}, key), _done)

    def refund(self, op_id: str, provider_ref: str, amount_minor: int, reason: str) -> Outcome:
        check_operation(op_id, provider_ref)
        check_amount(amount_minor)
        check_texts(reason=reason)
        params = {
            "payment_intent": provider_ref,
            "amount": amount_minor,
            "reason": words.refund_reason(reason),
            "metadata": {MADE_BY: op_id, "shop_reason": reason[:500]},
        }
        create = self._v1.refunds.create
        return self._send(op_id, provider_ref, lambda key: create(params, key), words.refund)

    def ask(self, op_id: str, sent: Sent) -> Outcome:
        check_operation(op_id, *([sent.provider_ref] if sent.provider_ref else []))
        if (sent.provider_ref is None) != (sent.kind == "authorize"):
            raise InvalidParameters.field("sent", sent.kind, "with what it was sent for")
        try:
            return self._find(op_id, sent)
        except self._stripe.StripeError as error:
            return self._outcome(error, sent.provider_ref)

    def disputes(self, since: datetime, after: str | None = None) -> Page[ProviderDispute]:
        data, following = self._page(self._v1.disputes, _since(since), PAGE, after)
        return Page(tuple(words.dispute(item) for item in data), following)

    def submit_evidence(
        self, op_id: str, dispute_ref: str, evidence: Mapping[EvidenceKind, str]
    ) -> Outcome:
        check_operation(op_id, dispute_ref)
        check_evidence(evidence)
        params = {
            "evidence": words.evidence(evidence),
            "submit": True,
            "metadata": {MADE_BY: op_id},
        }
        update = self._v1.disputes.update
        return self._send(op_id, dispute_ref, lambda key: update(dispute_ref, params, key), _done)

    def accept_dispute(self, op_id: str, dispute_ref: str) -> Outcome:
        check_operation(op_id, dispute_ref)
        close = self._v1.disputes.close
        return self._send(op_id, dispute_ref, lambda key: close(dispute_ref, {}, key), _done)

    def payouts(self, since: datetime, after: str | None = None) -> Page[ProviderPayout]:
        """Those that Stripe made by itself: of a manual one it does not know the lines."""
        wanted = {**_since(since), "status": "paid"}
        data, following = self._page(self._v1.payouts, wanted, _PAYOUTS, after)
        found = [
            ProviderPayout(
                ref=item["id"],
                currency=item["currency"].upper(),
                amount_minor=item["amount"],
                arrived_on=words.moment(item["arrival_date"]).date(),
                lines=tuple(words.line(entry) for entry in self._entries(item["id"])),
            )
            for item in data
            if item["reconciliation_status"] == "completed"
        ]
        return Page(tuple(found), following)

    def notice(self, payload: bytes, signature: str) -> Notice:
        """The event a webhook brought. Raises NoticeRefused unless Stripe signed it within the last
        five minutes, for this mode."""
        try:
            event = self._construct_event(payload, signature, self._webhook_secret).to_dict()
        except (self._stripe.SignatureVerificationError, ValueError) as error:
            raise NoticeRefused(
                "The webhook is not signed by Stripe, or is too old.",
                next="If it is Stripe's, check SHOP_STRIPE_WEBHOOK_SECRET and the clock.",
            ) from error
        if bool(event.get("livemode")) != self._live:
            raise NoticeRefused("The webhook is of another mode.", next="Test and live are apart.")
        return Notice.of(event)

    def _send(
        self,
        op_id: str,
        ref: str | None,
        call: Callable[[dict[str, str]], Any],
        read: Callable[[Mapping[str, Any]], Outcome],
    ) -> Outcome:
        try:
            answer = call({"idempotency_key": op_id}).to_dict()
        except self._stripe.StripeError as error:
            return self._outcome(error, ref)
        return read(answer)

    def _outcome(self, error: Any, ref: str | None) -> Outcome:
        """What an error says about the operation. Whatever is not plainly a refusal is unknown."""
        stripe = self._stripe
        body = error.json_body if isinstance(error.json_body, dict) else {}
        error_object = body.get("error")
        told = error_object if isinstance(error_object, dict) else {}
        if isinstance(error, stripe.CardError):
            intent = told.get("payment_intent") or {}
            return Outcome(
                State.DECLINED,
                ref or intent.get("id"),
                words.decline_code(told),
                words.said(told.get("message")),
            )
        if isinstance(error, stripe.IdempotencyError):
            raise OperationMismatch(
                "This operation was sent before with other parameters.",
                next="Find out which of the two is meant; a new intent needs a new op_id.",
            ) from error
        if isinstance(error, stripe.RateLimitError):
            raise GatewayUnavailable("Too many calls.", next="Send it again later.") from error
        if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
            raise GatewayMisconfigured("Stripe refuses the key.", next=NEXT_KEY) from error
        if isinstance(error, stripe.InvalidRequestError):
            return words.refusal(told, ref)
        unanswered = isinstance(error, stripe.APIConnectionError)
        code = "timeout" if unanswered else str(told.get("code") or "provider_error")[:40]
        return Outcome(State.UNKNOWN, ref, code, "Stripe gave no usable answer.")

    def _find(self, op_id: str, sent: Sent) -> Outcome:
        if sent.provider_ref is None:
            window = {
                "gte": int((sent.sent_at - _SKEW).timestamp()),
                "lte": int((sent.sent_at + RESEND_WITHIN + _SKEW).timestamp()),
            }
            wanted = {"created": window, "expand": ["data.latest_charge"]}
            return self._search(self._v1.payment_intents, wanted, op_id, words.authorization)
        if sent.kind == "refund":
            wanted = {"payment_intent": sent.provider_ref}
            return self._search(self._v1.refunds, wanted, op_id, words.refund)
        if sent.kind in {"submit_evidence", "accept_dispute"}:
            dispute = self._v1.disputes.retrieve(sent.provider_ref).to_dict()
            made = dispute["metadata"].get(MADE_BY) == op_id
            happened = made if sent.kind == "submit_evidence" else dispute["status"] == "lost"
            return _done(dispute) if happened else Outcome(State.NOT_FOUND)
        expand = {"expand": ["latest_charge.balance_transaction"]}
        intent = self._v1.payment_intents.retrieve(sent.provider_ref, expand).to_dict()
        if sent.kind == "void":
            cancelled = intent["status"] == "canceled"
            return _done(intent) if cancelled else Outcome(State.NOT_FOUND)
        captured = intent["metadata"].get(CAPTURED_BY) == op_id
        return words.capture(intent) if captured else Outcome(State.NOT_FOUND)

    def _search(
        self,
        service: Any,
        wanted: Mapping[str, Any],
        op_id: str,
        read: Callable[[Mapping[str, Any]], Outcome],
    ) -> Outcome:
        """The object that the operation made. Not found only if everything was looked through."""
        after: str | None = None
        for _ in range(_MOST_PAGES):
            data, after = self._listed(service, wanted, PAGE, after)
            for item in data:
                if item["metadata"].get(MADE_BY) == op_id:
                    return read(item)
            if after is None:
                return Outcome(State.NOT_FOUND)
        return Outcome(State.UNKNOWN, code="too_many", message="Too many payments to look through.")

    def _entries(self, payout: str) -> Iterator[Mapping[str, Any]]:
        wanted = {"payout": payout, "expand": ["data.source"]}
        after: str | None = None
        for _ in range(_MOST_PAGES * 5):
            data, after = self._page(self._v1.balance_transactions, wanted, PAGE, after)
            # The payout itself is one of its own entries.
            yield from (entry for entry in data if entry["type"] != "payout")
            if after is None:
                return
        raise GatewayUnavailable(
            f"{payout} has more than 10,000 entries.", next="Import the payout's file instead."
        )

    def _page(
        self, service: Any, wanted: Mapping[str, Any], limit: int, after: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        try:
            return self._listed(service, wanted, limit, after)
        except self._stripe.StripeError as error:
            outcome = self._outcome(error, None)
            raise GatewayUnavailable(
                f"Stripe did not list it: {outcome.code}. {outcome.message}", next="Read it later."
            ) from error

    def _listed(
        self, service: Any, wanted: Mapping[str, Any], limit: int, after: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        cursor = {"starting_after": after} if after else {}
        found = service.list({**wanted, "limit": limit, **cursor}).to_dict()
        data: list[dict[str, Any]] = found["data"]
        return data, data[-1]["id"] if found["has_more"] and data else None


def _done(found: Mapping[str, Any]) -> Outcome:
    return Outcome(State.DONE, found["id"])


def _since(since: datetime) -> dict[str, Any]:
    return {"created": {"gte": int(since.timestamp())}}


def _method(token: str) -> dict[str, Any]:
    parts = _METHOD.fullmatch(token)
    if parts is None:
        raise InvalidParameters.field("method_token", None, "pm_… or cus_…:pm_…")
    customer, method = parts.groups()
    saved = {"customer": customer, "off_session": True} if customer else {}
    return {"payment_method": method, **saved}
