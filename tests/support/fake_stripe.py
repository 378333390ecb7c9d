"""A Stripe of our own on loopback, strict where Stripe is strict.

It keeps idempotency keys (same answer; an error for other parameters), knows which parameters an
endpoint takes, refuses what Stripe refuses with Stripe's codes, lets authorizations lapse, signs
webhooks, and counts what really happened. ``lose`` makes it fail before or after the effect.

Methods: ``pm_card_visa``, ``…_chargeDeclined``, ``…_chargeDeclinedInsufficientFunds``,
``…_authenticationRequired``, ``…_createDispute``, ``…_createDisputeInquiry``,
``…_pendingRefund``, ``…_refundFail`` as in Stripe's test mode, and ``…_processing``.
"""

import asyncio
import hashlib
import hmac
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

VERSION = "2026-10-28.endive"
DAY = 86_400
START = 1_795_000_000
HOLD_DAYS = 7
FEE_BASIS_POINTS = 190
DECLINES = {
    "pm_card_chargeDeclined": "generic_decline",
    "pm_card_chargeDeclinedInsufficientFunds": "insufficient_funds",
}
# What each call takes: another parameter is refused, as Stripe does.
TAKES: dict[str, set[str]] = {
    "create_intent": {
        "amount", "currency", "capture_method", "confirm", "error_on_requires_action",
        "payment_method_types", "payment_method", "customer", "off_session", "metadata",
    },
    "confirm": {"payment_method", "off_session", "error_on_requires_action"},
    "capture": {"amount_to_capture", "metadata", "final_capture"},
    "cancel": {"cancellation_reason"},
    "create_refund": {"payment_intent", "charge", "amount", "reason", "metadata"},
    "update_dispute": {"evidence", "submit", "metadata"},
    "close_dispute": set(),
    "retrieve": set(),
    "list": {"created", "limit", "starting_after", "payment_intent", "payout", "status", "type"},
}  # fmt: skip
EVIDENCE = {
    "access_activity_log", "product_description", "refund_policy_disclosure",
    "refund_refusal_explanation", "shipping_carrier", "shipping_date", "shipping_tracking_number",
    "uncategorized_text",
}  # fmt: skip

Json = dict[str, Any]


class Refusal(Exception):
    """``saved``: whether the answer is kept under the idempotency key."""

    def __init__(
        self, status: int, code: str | None, message: str, *, saved: bool = True, **more: Any
    ) -> None:
        super().__init__(message)
        kind = {402: "card_error", 401: "invalid_request_error"}.get(status)
        self.status = status
        self.saved = saved
        self.body = {
            "error": {
                "type": more.pop("type", kind or "invalid_request_error"),
                "code": code,
                "message": message,
                **more,
            }
        }


@dataclass
class Fault:
    """``when``: before or after the effect. ``how``: the connection breaks, the answer never comes,
    or an error with that status. ``calls``: to paths that match."""

    when: Literal["before", "after"]
    how: Literal["break", "hang"] | int
    times: int
    calls: str


@dataclass
class FakeStripe:
    """Used as a context manager: ``with FakeStripe() as stripe: … stripe.url``."""

    url: str = ""
    now: int = START
    webhook_secret: str = "whsec_of_the_fake"
    effects: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    headers: list[dict[str, str]] = field(default_factory=list)
    objects: dict[str, Json] = field(default_factory=dict)
    keys: dict[str, tuple[str, int, Json]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def __enter__(self) -> "FakeStripe":
        # Named as TCP, so that answers are not held back to be joined.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._app(), log_config=None, log_level=100, lifespan="off", ws="none",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._lock = threading.RLock()
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(self, *unused: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)

    # What a test tells it.

    def reset(self) -> "FakeStripe":
        """As if newly started, at the same address."""
        with self._lock:
            self.now = START
            for held in (
                self.effects, self.requests, self.headers, self.objects, self.keys, self.faults,
            ):  # fmt: skip
                held.clear()
        return self

    def lose(
        self,
        when: Literal["before", "after"],
        *,
        how: Literal["break", "hang"] | int = "break",
        times: int = 1,
        calls: str = ".*",
    ) -> None:
        """Make the next ``times`` POSTs to paths that match ``calls`` fail."""
        with self._lock:
            self.faults.append(Fault(when, how, times, calls))

    def pass_time(self, seconds: int) -> None:
        with self._lock:
            self.now += seconds

    def advance(self) -> None:
        """Settle what is processing or pending, and decide disputes under review."""
        with self._lock:
            for found in list(self.objects.values()):
                kind, status = found["object"], found.get("status")
                if kind == "payment_intent" and status == "processing":
                    self._authorized(found)
                elif kind == "refund" and status == "pending":
                    self._settle_refund(found)
                elif kind == "dispute" and status == "under_review":
                    self._to(found, "won", "charge.dispute.closed")
                    self._book("adjustment", found, found["amount"], 0, "dispute_reversal")
                elif kind == "dispute" and status == "warning_under_review":
                    self._to(found, "warning_closed", "charge.dispute.closed")

    def pay_out(self) -> str:
        """An automatic payout of everything booked and not yet paid."""
        with self._lock:
            open_entries = [
                entry for entry in self._all("balance_transaction") if entry["payout"] is None
            ]
            payout = self._make(
                "po", "payout", amount=sum(entry["net"] for entry in open_entries),
                currency=open_entries[0]["currency"], status="paid", arrival_date=self.now,
                automatic=True, reconciliation_status="completed",
            )  # fmt: skip
            self._book("payout", payout, -payout["amount"], 0, "payout")
            for entry in [*open_entries, *self._all("balance_transaction")[-1:]]:
                entry["payout"] = payout["id"]
            return str(payout["id"])

    def signed(self, event: Json, *, age: int = 0, secret: str = "") -> tuple[bytes, str]:
        """Body and ``Stripe-Signature`` of a webhook, sent ``age`` seconds ago."""
        body = json.dumps(event).encode()
        at = int(time.time()) - age
        mac = hmac.new((secret or self.webhook_secret).encode(), b"%d." % at + body, hashlib.sha256)
        return body, f"t={at},v1={mac.hexdigest()}"

    def events(self, kind: str) -> list[Json]:
        with self._lock:
            return [event for event in self._all("event") if event["type"] == kind]

    # The wire.

    def _app(self) -> Starlette:
        intent, dispute = "/v1/payment_intents", "/v1/disputes"
        posts: dict[str, tuple[str, Callable[[str, Json], Json]]] = {
            intent: ("create_intent", self._create_intent),
            f"{intent}/{{id}}/confirm": ("confirm", self._confirm),
            f"{intent}/{{id}}/capture": ("capture", self._capture),
            f"{intent}/{{id}}/cancel": ("cancel", self._cancel),
            "/v1/refunds": ("create_refund", self._create_refund),
            f"{dispute}/{{id}}": ("update_dispute", self._update_dispute),
            f"{dispute}/{{id}}/close": ("close_dispute", self._close_dispute),
        }
        routes = [
            Route(path, self._post(name, act), methods=["POST"])
            for path, (name, act) in posts.items()
        ]
        for plural, kind in (
            ("payment_intents", "payment_intent"), ("refunds", "refund"), ("disputes", "dispute"),
            ("charges", "charge"), ("payouts", "payout"), ("events", "event"),
            ("balance_transactions", "balance_transaction"),
        ):  # fmt: skip
            routes.append(Route(f"/v1/{plural}", self._list(kind)))
            routes.append(Route(f"/v1/{plural}/{{id}}", self._retrieve(kind)))
        return Starlette(routes=routes)

    def _post(self, name: str, act: Callable[[str, Json], Json]) -> Callable[..., Any]:
        async def endpoint(request: Request) -> Response:
            raw = parse_qsl((await request.body()).decode(), keep_blank_values=True)
            params = nested(raw)
            key = request.headers.get("idempotency-key", "")
            fingerprint = json.dumps([request.url.path, sorted(raw)])
            with self._lock:
                self.requests[name] += 1
                self.headers.append(dict(request.headers))
                fault = self._fault(request.url.path)
                if fault is None or fault.when == "after":
                    status, body = self._answer(key, fingerprint, name, act, request, params)
            if fault is not None:
                return await lost(fault.how, request)
            return JSONResponse(body, status)

        return endpoint

    def _answer(
        self, key: str, fingerprint: str, name: str, act: Callable[[str, Json], Json],
        request: Request, params: Json,
    ) -> tuple[int, Json]:  # fmt: skip
        if key in self.keys:
            known, status, body = self.keys[key]
            if known != fingerprint:
                refusal = Refusal(
                    400, None, "Keys for idempotent requests can only be used with the same "
                    "parameters they were first used with.", type="idempotency_error",
                )  # fmt: skip
                return 400, refusal.body
            return status, body
        self._lapse()
        try:
            self._check(request, name, params)
            expand = params.pop("expand", [])
            self._key = key
            body = self._expanded(act(request.path_params.get("id", ""), params), expand)
            status, saved = 200, True
        except Refusal as refusal:
            status, saved = refusal.status, refusal.saved
            body = json.loads(json.dumps(refusal.body))
        finally:
            self._key = None
        if saved:
            self.keys[key] = (fingerprint, status, body)
        return status, body

    def _retrieve(self, kind: str) -> Callable[..., Any]:
        async def endpoint(request: Request) -> Response:
            params = nested(request.query_params.multi_items())
            with self._lock:
                self._lapse()
                try:
                    self._check(request, "retrieve", params)
                    found = self._get(request.path_params["id"], kind)
                    return JSONResponse(self._expanded(found, params.get("expand", [])))
                except Refusal as refusal:
                    return JSONResponse(refusal.body, refusal.status)

        return endpoint

    def _list(self, kind: str) -> Callable[..., Any]:
        async def endpoint(request: Request) -> Response:
            params = nested(request.query_params.multi_items())
            with self._lock:
                self._lapse()
                try:
                    self._check(request, "list", params)
                except Refusal as refusal:
                    return JSONResponse(refusal.body, refusal.status)
                found = [item for item in reversed(self._all(kind)) if matches(item, params)]
                ids = [item["id"] for item in found]
                start = ids.index(params["starting_after"]) + 1 if "starting_after" in params else 0
                limit = int(params.get("limit", 10))
                page = {
                    "object": "list",
                    "url": request.url.path,
                    "has_more": len(found) > start + limit,
                    "data": found[start : start + limit],
                }
                return JSONResponse(self._expanded(page, params.get("expand", [])))

        return endpoint

    def _fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and re.search(fault.calls, path):
                fault.times -= 1
                return fault
        return None

    def _check(self, request: Request, name: str, params: Json) -> None:
        if not re.match(r"Bearer (sk|rk)_test_good", request.headers.get("authorization", "")):
            raise Refusal(401, None, "Invalid API Key provided", saved=False)
        if request.headers.get("stripe-version") != VERSION:
            raise Refusal(400, None, "Another API version than the pinned one", saved=False)
        for param in set(params) - TAKES[name] - {"expand"}:
            raise Refusal(
                400, "parameter_unknown", f"Received unknown parameter: {param}",
                param=param, saved=False,
            )  # fmt: skip
        if name == "update_dispute" and set(params.get("evidence", {})) - EVIDENCE:
            raise Refusal(400, "parameter_unknown", "No such evidence", saved=False)

    # What it keeps.

    def _make(self, prefix: str, kind: str, **fields: Any) -> Json:
        number = len(self.objects) + 1
        made = {
            "id": f"{prefix}_fake{number:06d}", "object": kind, "created": self.now,
            "livemode": False, "metadata": {}, **fields,
        }  # fmt: skip
        self.objects[made["id"]] = made
        return made

    def _get(self, ref: str, kind: str, param: str = "") -> Json:
        found = self.objects.get(ref)
        if found is None or found["object"] != kind:
            name = param or ("intent" if kind == "payment_intent" else kind)
            raise Refusal(404, "resource_missing", f"No such {kind}: '{ref}'", param=name)
        return found

    def _all(self, kind: str) -> list[Json]:
        return [item for item in self.objects.values() if item["object"] == kind]

    def _to(self, found: Json, status: str, event: str) -> None:
        found["status"] = status
        self._make(
            "evt", "event", type=event, data={"object": json.loads(json.dumps(found))},
            request={"id": None, "idempotency_key": getattr(self, "_key", None)},
        )  # fmt: skip

    def _book(self, kind: str, source: Json, amount: int, fee: int, category: str = "") -> Json:
        return self._make(
            "txn", "balance_transaction", type=kind, amount=amount, fee=fee, net=amount - fee,
            currency=source["currency"], source=source["id"], payout=None,
            reporting_category=category or kind,
        )  # fmt: skip

    def _expanded(self, found: Json, paths: list[str]) -> Json:
        copy: Json = json.loads(json.dumps(found))
        for path in paths:
            for holder in copy["data"] if path.startswith("data.") else [copy]:
                self._expand(holder, path.removeprefix("data.").split("."))
        return copy

    def _expand(self, holder: Json, names: list[str]) -> None:
        value = holder.get(names[0])
        if isinstance(value, str):
            holder[names[0]] = value = json.loads(json.dumps(self.objects[value]))
        if isinstance(value, dict) and names[1:]:
            self._expand(value, names[1:])

    def _lapse(self) -> None:
        for intent in self._all("payment_intent"):
            if intent["status"] == "requires_capture" and self.now >= intent["_until"]:
                intent.update(cancellation_reason="automatic", amount_capturable=0)
                self._to(intent, "canceled", "payment_intent.canceled")

    # What it does.

    def _create_intent(self, _: str, params: Json) -> Json:
        if int(params["amount"]) < 1 or not re.fullmatch("[a-z]{3}", params["currency"]):
            raise Refusal(400, "parameter_invalid_integer", "amount", param="amount", saved=False)
        if not params["payment_method"].startswith("pm_card_"):
            message = f"No such PaymentMethod: '{params['payment_method']}'"
            raise Refusal(400, "resource_missing", message, param="payment_method")
        intent = self._make(
            "pi", "payment_intent", amount=int(params["amount"]), currency=params["currency"],
            capture_method=params.get("capture_method", "automatic"), amount_capturable=0,
            amount_received=0, status="requires_confirmation", metadata=params.get("metadata", {}),
            payment_method=params["payment_method"], customer=params.get("customer"),
            latest_charge=None, last_payment_error=None, cancellation_reason=None,
        )  # fmt: skip
        return self._confirm(intent["id"], params) if params.get("confirm") == "true" else intent

    def _confirm(self, ref: str, params: Json) -> Json:
        intent = self._get(ref, "payment_intent")
        method = params.get("payment_method", intent["payment_method"])
        if intent["status"] not in {"requires_confirmation", "requires_payment_method"}:
            raise self._unexpected(intent, "confirm")
        challenge = method == "pm_card_authenticationRequired"
        if challenge and params.get("error_on_requires_action") != "true":
            self._to(intent, "requires_action", "payment_intent.requires_action")
        elif challenge:
            raise self._declined(intent, "authentication_required", "authentication_required")
        elif method in DECLINES:
            raise self._declined(intent, "card_declined", DECLINES[method])
        elif method == "pm_card_processing":
            self._to(intent, "processing", "payment_intent.processing")
        else:
            self._authorized(intent)
        return intent

    def _declined(self, intent: Json, code: str, reason: str) -> Refusal:
        error = {"code": code, "decline_code": reason, "message": "Your card was declined."}
        intent["last_payment_error"] = error
        self._to(intent, "requires_payment_method", "payment_intent.payment_failed")
        return Refusal(402, code, error["message"], decline_code=reason, payment_intent=intent)

    def _authorized(self, intent: Json) -> None:
        until = self.now + HOLD_DAYS * DAY
        card = {"brand": "visa", "last4": "4242", "capture_before": until}
        charge = self._make(
            "ch", "charge", amount=intent["amount"], amount_captured=0, amount_refunded=0,
            captured=False, refunded=False, disputed=False, currency=intent["currency"],
            payment_intent=intent["id"], balance_transaction=None,
            payment_method_details={"type": "card", "card": card},
        )  # fmt: skip
        intent.update(latest_charge=charge["id"], amount_capturable=intent["amount"], _until=until)
        self.effects["authorize"] += 1
        self._to(intent, "requires_capture", "payment_intent.amount_capturable_updated")

    def _unexpected(self, intent: Json, verb: str) -> Refusal:
        return Refusal(
            400, "payment_intent_unexpected_state",
            f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
            payment_intent=intent,
        )  # fmt: skip

    def _capture(self, ref: str, params: Json) -> Json:
        intent = self._get(ref, "payment_intent")
        amount = int(params.get("amount_to_capture", intent["amount"]))
        if intent["status"] != "requires_capture":
            raise self._unexpected(intent, "capture")
        if amount > intent["amount_capturable"]:
            raise Refusal(
                400, "amount_too_large", "The amount is greater than the amount to capture.",
                param="amount_to_capture",
            )  # fmt: skip
        charge = self.objects[intent["latest_charge"]]
        fee = (amount * FEE_BASIS_POINTS + 5_000) // 10_000
        booked = self._book("charge", charge, amount, fee)
        charge.update(captured=True, amount_captured=amount, balance_transaction=booked["id"])
        intent["metadata"].update(params.get("metadata", {}))
        intent.update(amount_capturable=0, amount_received=amount)
        self.effects["capture"] += 1
        self._to(intent, "succeeded", "payment_intent.succeeded")
        if intent["payment_method"].startswith("pm_card_createDispute"):
            self._open_dispute(intent, charge)
        return intent

    def _cancel(self, ref: str, params: Json) -> Json:
        intent = self._get(ref, "payment_intent")
        if intent["status"] in {"canceled", "succeeded"}:
            raise self._unexpected(intent, "cancel")
        intent.update(amount_capturable=0, cancellation_reason=params.get("cancellation_reason"))
        self.effects["void"] += 1
        self._to(intent, "canceled", "payment_intent.canceled")
        return intent

    def _create_refund(self, _: str, params: Json) -> Json:
        intent = self._get(params["payment_intent"], "payment_intent", "payment_intent")
        charge = self.objects.get(intent["latest_charge"] or "")
        if params.get("reason") not in {None, "duplicate", "fraudulent", "requested_by_customer"}:
            raise Refusal(400, None, "Invalid reason", param="reason", saved=False)
        if charge is None or not charge["captured"]:
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge"
            raise Refusal(400, None, f"{message} to refund.")
        left = charge["amount_captured"] - charge["amount_refunded"]
        amount = int(params.get("amount", left))
        if charge["disputed"]:
            raise Refusal(400, "charge_disputed", "The charge has been charged back.")
        if not left:
            raise Refusal(
                400, "charge_already_refunded", f"Charge {charge['id']} has already been refunded."
            )
        if amount > left:
            raise Refusal(
                400, None, f"Refund amount ({amount}) is greater than unrefunded amount on charge "
                f"({left})", param="amount",
            )  # fmt: skip
        charge["amount_refunded"] += amount
        charge["refunded"] = amount == left
        waits = intent["payment_method"] in {"pm_card_pendingRefund", "pm_card_refundFail"}
        refund = self._make(
            "re", "refund", amount=amount, currency=charge["currency"], charge=charge["id"],
            payment_intent=intent["id"], reason=params.get("reason"), failure_reason=None,
            metadata=params.get("metadata", {}), status="",
        )  # fmt: skip
        refund["balance_transaction"] = self._book("refund", refund, -amount, 0)["id"]
        self.effects["refund"] += 1
        self._to(refund, "pending" if waits else "succeeded", "refund.created")
        return refund

    def _settle_refund(self, refund: Json) -> None:
        charge = self.objects[refund["charge"]]
        intent = self.objects[refund["payment_intent"]]
        if intent["payment_method"] != "pm_card_refundFail":
            self._to(refund, "succeeded", "refund.updated")
            return
        charge["amount_refunded"] -= refund["amount"]
        charge["refunded"] = False
        refund["failure_reason"] = "expired_or_canceled_card"
        self._book("refund_failure", refund, refund["amount"], 0)
        self._to(refund, "failed", "refund.failed")

    def _open_dispute(self, intent: Json, charge: Json) -> None:
        inquiry = intent["payment_method"].endswith("Inquiry")
        dispute = self._make(
            "dp", "dispute", amount=charge["amount_captured"], currency=charge["currency"],
            charge=charge["id"], payment_intent=intent["id"], reason="fraudulent", evidence={},
            evidence_details={"due_by": self.now + 7 * DAY, "submission_count": 0}, status="",
        )  # fmt: skip
        charge["disputed"] = not inquiry
        if not inquiry:
            self._book("adjustment", dispute, -dispute["amount"], 0, "dispute")
        status = "warning_needs_response" if inquiry else "needs_response"
        self._to(dispute, status, "charge.dispute.created")

    def _answerable(self, ref: str) -> Json:
        dispute = self._get(ref, "dispute")
        if not dispute["status"].endswith("needs_response"):
            raise Refusal(400, "dispute_closed", "This dispute is already closed.")
        return dispute

    def _update_dispute(self, ref: str, params: Json) -> Json:
        dispute = self._answerable(ref)
        dispute["evidence"].update(params.get("evidence", {}))
        dispute["metadata"].update(params.get("metadata", {}))
        if params.get("submit") == "true":
            dispute["evidence_details"]["submission_count"] += 1
            self.effects["submit_evidence"] += 1
            status = dispute["status"].replace("needs_response", "under_review")
            self._to(dispute, status, "charge.dispute.updated")
        return dispute

    def _close_dispute(self, ref: str, _: Json) -> Json:
        dispute = self._answerable(ref)
        self.effects["accept_dispute"] += 1
        self._to(dispute, "lost", "charge.dispute.closed")
        return dispute


def nested(pairs: list[tuple[str, str]]) -> Json:
    """``metadata[a]=1&expand[0]=b`` as ``{"metadata": {"a": "1"}, "expand": ["b"]}``."""
    found: Json = {}
    for name, value in pairs:
        top, *rest = re.findall(r"[^\[\]]+", name)
        if not rest:
            found[top] = value
        elif rest[0].isdigit():
            found.setdefault(top, []).append(value)
        else:
            found.setdefault(top, {})[rest[0]] = value
    return found


def matches(item: Json, params: Json) -> bool:
    created = params.get("created", {})
    if not int(created.get("gte", 0)) <= item["created"] <= int(created.get("lte", 2**62)):
        return False
    names = ("payment_intent", "payout", "status", "type")
    return all(item.get(name) == params[name] for name in names if name in params)


async def lost(how: Literal["break", "hang"] | int, request: Request) -> Response:
    """The connection breaks in the middle of an answer, hangs until the client gives up, or the
    answer is an error."""
    if isinstance(how, int):
        kind = "api_error" if how >= 500 else "invalid_request_error"
        code = {409: "lock_timeout", 429: "rate_limit"}.get(how)
        return JSONResponse({"error": {"type": kind, "code": code, "message": "Not now."}}, how)
    if how == "hang":
        for _ in range(1_000):
            if await request.is_disconnected():
                break
            await asyncio.sleep(0.02)
        return Response(status_code=500)

    async def part() -> AsyncIterator[bytes]:
        yield b'{"id":'

    return StreamingResponse(part(), headers={"Content-Length": "4096"})
