"""Whether the process lives, whether it can do its work, and how much it does."""

import asyncio
import logging
import math
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from common import metrics
from common.audit import anchors
from common.keys import KeyUnusable, request_state_key
from common.settings import metrics_folder
from common.shop import Shop
from common.storage import schema
from common.tables.payments import OUTBOX_PORTS, OUTBOX_STATES, Outbox
from common.tables.spine import ApprovalRequest, AuditRecord

log = logging.getLogger(__name__)

PATIENCE_S: Final = 3
NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
LEAST_FREE: Final = 1024 * 1024  # of the disk of a SQLite file: some transactions at once
NEVER_KEPT: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def routes(shop: Shop, domains: Sequence[str] = ()) -> list[BaseRoute]:
    """``/healthz`` answers while the process answers; ``/readyz`` asks database (with the login of
    each of ``domains`` until it answered once), schema, keys and, for a file, its disk;
    ``/metrics`` is for the addresses that are named."""
    unproved = set(domains) if shop.database.roles else set()

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=NEVER_KEPT)

    async def readyz(request: Request) -> Response:
        checks = {"database": False, "schema": False, "keys": _keys(shop)}
        checks |= await _database(shop, unproved)
        if (free := free_bytes(shop)) is not None and not shop.settings.read_only:
            checks["room"] = free >= LEAST_FREE
        ready = all(checks.values())
        body = {"status": "ready" if ready else "not ready", "checks": checks}
        return JSONResponse(body, 200 if ready else 503, headers=NEVER_KEPT)

    async def figures(request: Request) -> Response:
        host = request.client.host if request.client else ""
        # A proxy on this machine comes from loopback too, and speaks for the whole world.
        if not within(host) or any(name in request.headers for name in _FORWARDED):
            return PlainTextResponse("Not for this address.", 403, headers=NEVER_KEPT)
        await _state(shop)
        text = await asyncio.to_thread(metrics.rendered, metrics_folder())
        return Response(text, headers={"content-type": metrics.TEXT, **NEVER_KEPT})

    networks = [ip_network(each) for each in shop.settings.http.metrics_from]

    def within(host: str) -> bool:
        try:
            return any(ip_address(host) in network for network in networks)
        except ValueError:
            return False

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", figures)]


async def _database(shop: Shop, unproved: set[str]) -> dict[str, bool]:
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
            for domain in tuple(unproved):  # a wrong password shows before anybody is sent here
                await shop.database.run(domain, lambda s: s.scalar(select(1)), write=False)
                unproved.discard(domain)  # two may ask at once
            return await shop.database.run("*", ask, write=False)
    except Exception as error:
        why: BaseException = error
        while why.__cause__ is not None:
            why = why.__cause__  # such as a password that is not the role's any more
        log.warning("the database did not answer: %s: %s", type(why).__name__, why)
        return {}


def free_bytes(shop: Shop) -> int | None:
    """What is left on the disk of a database that is a file."""
    if not shop.database.sqlite:
        return None
    try:
        return shutil.disk_usage(Path(shop.database.url.partition("///")[2]).parent).free
    except OSError:
        return 0


async def _state(shop: Shop) -> None:
    """Gauges of what waits in the database and beside it."""
    now = shop.guard.clock()
    free = free_bytes(shop)
    metrics.FREE.set(math.nan if free is None else free)  # a full disk has 0
    since = _anchored(shop, now)

    def count(session: Session) -> None:
        _waiting(session, now)
        oldest = select(func.min(AuditRecord.at)).where(AuditRecord.at > since)
        metrics.ANCHOR_AGE.set((now - (session.scalar(oldest) or now)).total_seconds())

    try:
        async with asyncio.timeout(PATIENCE_S):
            await shop.database.run("*", count, write=False)
    except Exception as error:
        log.warning("what waits could not be counted: %s", type(error).__name__)


def _anchored(shop: Shop, now: datetime) -> datetime:
    """When the records were last anchored: never, where this process ought to and has no file."""
    try:
        found = anchors.last(shop.settings.anchor_file)
    except (OSError, anchors.AnchorsBroken):
        found = None
    if found is None:
        ours = shop.settings.duties and not shop.settings.read_only
        return NEVER if ours else now
    return found.at


def _waiting(session: Session, now: datetime) -> None:
    asked = select(func.count(), func.min(ApprovalRequest.created_at)).where(
        ApprovalRequest.state == "pending", ApprovalRequest.expires_at > now
    )
    count, oldest = session.execute(asked).one()
    metrics.PENDING.set(count)
    metrics.OLDEST_APPROVAL.set((now - oldest).total_seconds() if count else 0)
    queued = (
        select(Outbox.port, Outbox.state, func.count(), func.min(Outbox.created_at))
        .where(Outbox.finished_at.is_(None))
        .group_by(Outbox.port, Outbox.state)
    )
    counts = {(port, state): 0 for port in OUTBOX_PORTS for state in OUTBOX_STATES}
    since = now
    for port, state, waiting, first in session.execute(queued):
        counts[port, state] = waiting
        since = min(since, first)
    for labels, waiting in counts.items():  # 0 too: what a worker wrote stays until it writes anew
        metrics.OUTBOX.labels(*labels).set(waiting)
    metrics.OLDEST_OUTBOX.set((now - since).total_seconds())


def _keys(shop: Shop) -> bool:
    try:
        return bool(request_state_key(shop.settings.key_dir))
    except KeyUnusable:
        return False
