"""Whether the process lives, whether it can do its work, and how much it does."""

import asyncio
import logging
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from common import metrics, schema
from common.keys import KeyUnusable, request_state_key
from common.settings import metrics_folder
from common.shop import Shop
from common.tables.spine import ApprovalRequest

log = logging.getLogger(__name__)

PATIENCE_S: Final = 3
NEVER_KEPT: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def routes(shop: Shop) -> list[BaseRoute]:
    """``/healthz`` answers while the process answers; ``/readyz`` asks database, schema and keys;
    ``/metrics`` is for the addresses that are named."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=NEVER_KEPT)

    async def readyz(request: Request) -> Response:
        checks = {"database": False, "schema": False, "keys": _keys(shop)}
        checks |= await _database(shop)
        ready = all(checks.values())
        body = {"status": "ready" if ready else "not ready", "checks": checks}
        return JSONResponse(body, 200 if ready else 503, headers=NEVER_KEPT)

    async def figures(request: Request) -> Response:
        allowed = shop.settings.http.metrics_from
        host = request.client.host if request.client else ""
        # A proxy on this machine comes from loopback too, and speaks for the whole world.
        if host not in allowed or any(name in request.headers for name in _FORWARDED):
            return PlainTextResponse("Not for this address.", 403, headers=NEVER_KEPT)
        await _pending(shop)
        text = await asyncio.to_thread(metrics.rendered, metrics_folder())
        return Response(text, headers={"content-type": metrics.TEXT, **NEVER_KEPT})

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", figures)]


async def _database(shop: Shop) -> dict[str, bool]:
    def ask(session: Session) -> dict[str, bool]:
        connection = session.connection()
        found = schema.current(connection)
        try:
            schema.check(found, schema.oldest(connection, found) if found else None)
        except schema.SchemaError:
            return {"database": True, "schema": False}
        return {"database": True, "schema": found is not None}

    try:
        async with asyncio.timeout(PATIENCE_S):
            return await shop.database.run("*", ask, write=False)
    except Exception as error:
        log.warning("the database did not answer: %s", type(error).__name__)
        return {}


async def _pending(shop: Shop) -> None:
    now = shop.guard.clock()
    waiting = select(func.count()).where(
        ApprovalRequest.state == "pending", ApprovalRequest.expires_at > now
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            count = await shop.database.run("*", lambda s: s.scalar(waiting), write=False)
            metrics.PENDING.set(count or 0)
    except Exception as error:
        log.warning("approvals could not be counted: %s", type(error).__name__)


def _keys(shop: Shop) -> bool:
    try:
        return bool(request_state_key(shop.settings.key_dir))
    except KeyUnusable:
        return False
