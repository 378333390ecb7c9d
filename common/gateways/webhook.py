"""What a payment provider sends by itself: verified, kept once, and then asked about.

A notice moves no money. It says where to look: the operation is asked about sooner, the disputes
are read anew. A forged or repeated one can therefore do no more than that, and a lost one costs
time only.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import or_, select, update
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from common.audit import chain
from common.audit.records import FORM, Ration
from common.background import duty
from common.background.outbox import OPEN
from common.call import Call
from common.gateways.port import NoticeRefused
from common.gateways.stripe_gateway import Notice, StripeGateway
from common.rules.disputed_at_provider import DISPUTE_NOTICE
from common.shop import Shop
from common.storage.database import new_audit_id
from common.storage.locks import one_at_a_time
from common.tables.payments import Outbox, Payment, ProviderEvent

log = logging.getLogger(__name__)

PATH: Final = "/webhooks/stripe"
MOST_BYTES: Final = 256 * 1024
LONGEST_SIGNATURE: Final = 2_000
_RATION: Final = Ration()


@dataclass
class Refusal(Exception):
    """``status`` is HTTP's."""

    status: int
    code: str
    message: str


def routes(shop: Shop) -> list[BaseRoute]:
    """``POST /webhooks/stripe``, where a gateway signs its notices; nothing otherwise."""
    if not (shop.settings.gateway.name == "stripe" and shop.settings.gateway.webhook_secret):
        return []

    async def post(request: Request) -> Response:
        try:
            body = await _body(request)
            signature = request.headers.get("stripe-signature", "")
            new = await receive(shop, body, signature)
        except Refusal as refused:
            said = {"code": refused.code, "message": refused.message}
            return JSONResponse(said, status_code=refused.status)
        except ClientDisconnect:
            return Response(status_code=400)
        return JSONResponse({"received": True, "new": new})

    return [Route(PATH, post, methods=["POST"])]


async def receive(shop: Shop, payload: bytes, signature: str) -> bool:
    """Verify a notice and keep it; whether it was new. Raises Refusal (and records that) unless the
    provider signed exactly this, lately, for this mode."""
    gateway = shop.gateways.get("stripe")
    try:
        if not isinstance(gateway, StripeGateway) or not signature:
            raise NoticeRefused("This is no signed notice of a provider.", next="")
        if len(payload) > MOST_BYTES or len(signature) > LONGEST_SIGNATURE:
            raise NoticeRefused("The notice is too large.", next="")
        notice = gateway.notice(payload, signature)
    except (NoticeRefused, KeyError, TypeError, ValueError) as error:
        await _refused(shop)
        message = error.message if isinstance(error, NoticeRefused) else "This is no event."
        raise Refusal(400, "notice_refused", message) from None
    found = select(ProviderEvent.id).where(
        ProviderEvent.provider == gateway.name, ProviderEvent.provider_event_id == notice.event_id
    )
    if await shop.database.run("payments", lambda s: s.scalar(found), write=False):
        return False
    new = await duty.recorded(
        shop.database, shop.guard.clock(), "webhook", "provider_notice",
        {"event": notice.event_id, "kind": notice.kind},
        lambda call: keep(call, gateway.name, notice),
    )  # fmt: skip
    shop.outbox.nudge()
    return new


def keep(call: Call, provider: str, notice: Notice) -> bool:
    """Write the notice down once, and bring forward what it is about. Whether it was new."""
    one_at_a_time(call.session, f"notice/{provider}/{notice.event_id}")
    known = select(ProviderEvent.id).where(
        ProviderEvent.provider == provider, ProviderEvent.provider_event_id == notice.event_id
    )
    if call.session.scalar(known) is not None:
        return False
    disputed = notice.kind.startswith(DISPUTE_NOTICE)
    call.add(
        ProviderEvent(
            id=call.new_id("event"), provider=provider, provider_event_id=notice.event_id,
            kind=notice.kind, payload={"ref": notice.ref, **notice.facts}, received_at=call.now,
            handled_at=None if disputed else call.now,
        )
    )  # fmt: skip
    paid_with = select(Payment.id).where(
        Payment.provider == provider, Payment.provider_reference == notice.payment_ref
    )
    # When it is asked about is no effect: it is written past the audited rows, as a lease is.
    call.session.execute(
        update(Outbox)
        .where(
            Outbox.port == "gateway", Outbox.state.in_(OPEN), Outbox.next_at > call.now,
            or_(
                Outbox.operation_id == (notice.op_id or ""),
                Outbox.target_id.in_(paid_with.scalar_subquery()),
            ),
        )
        .values(next_at=call.now)
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    return True


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Refusal(413, "too_large", f"At most {MOST_BYTES} bytes.")
    return bytes(body)


async def _refused(shop: Shop) -> None:
    """On record, but a flood of forgeries fills no log."""
    left_out = _RATION.take("webhook", time.monotonic())
    if left_out is None or shop.settings.read_only:
        return
    record: dict[str, Any] = {
        "v": FORM, "server": "payments", "tool": "provider_notice", "outcome": "refused",
        "error": "notice_refused", "actor": {"iss": "", "sub": "", "client": "webhook"}, "args": {},
    }  # fmt: skip
    record |= {"suppressed": left_out} if left_out else {}
    audit_id, now = new_audit_id(), shop.guard.clock()
    try:
        await shop.database.run(
            "payments", lambda s: chain.append(s, audit_id=audit_id, now=now, record=record),
            audit_id=audit_id,
        )  # fmt: skip
    except Exception:
        log.exception("the record of a refused notice could not be written")
