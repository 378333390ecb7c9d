"""What has to be done with time: expiries, old keys, anchors. Bounded work, now and then."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from common import idempotency, limits
from common.approvals import requests
from common.audit import anchors, chain
from common.audit.records import FORM
from common.auth import revocation
from common.call import Actor, Call
from common.clock import Clock
from common.errors import Busy
from common.ledgers import ledger
from common.rules import checking_out, paid
from common.rules.paid_in import lapsed
from common.settings import Settings
from common.storage.database import Database, Rollback, new_audit_id
from common.tables.spine import ApprovalRequest, OpenPending

log = logging.getLogger(__name__)

EVERY_S: Final = 20
BATCH: Final = 200
HOUSEKEEPING: Final = "housekeeping"


class Housekeeping:
    """The leader's work (common.background.election); two may do it at once without harm."""

    def __init__(self, database: Database, settings: Settings, clock: Clock) -> None:
        self.database = database
        self.settings = settings
        self.clock = clock

    async def once(self) -> int:
        """Everything that is due now. Returns how many things were done."""
        now = self.clock()

        def due(session: Session) -> bool:
            held = select(OpenPending.transfer_id).where(OpenPending.expires_at <= now)
            asked = select(ApprovalRequest.id).where(
                ApprovalRequest.state.in_(("pending", "approved")),
                ApprovalRequest.expires_at <= now,
            )
            queries = (held, asked, lapsed(now), *checking_out.due_queries(now))
            return any(session.scalar(query.limit(1)) for query in queries)

        done = 0
        if await self.database.run("*", due, write=False):
            for domain, sweep in (("storefront", checking_out.sweep), (HOUSEKEEPING, _lapsing)):
                done += await self._swept(domain, sweep)

        def forget(session: Session) -> None:
            idempotency.sweep(session, now, BATCH)
            revocation.sweep(session, now, BATCH)
            limits.sweep(session, int(now.timestamp()) * 1_000_000, BATCH)

        await self.database.run("*", forget)
        await self.anchor()
        return done

    async def anchor(self, *, force: bool = False) -> bool:
        """Append an anchor if one is due."""
        return await anchors.anchor(
            self.database, self.settings.anchor_file, self.settings.key_dir,
            now=self.clock(), force=force,
        )  # fmt: skip

    async def _swept(self, domain: str, sweep: Callable[[Call, int], int]) -> int:
        """What time brings, on record, with the rights of the domain. The storefront's comes
        first, while what it holds can still be let go."""
        now, audit_id = self.clock(), new_audit_id()

        def work(session: Session) -> int:
            actor = Actor("shop", "housekeeping", "shop", frozenset(), machine=True)
            call = Call(actor, session, now, audit_id, domain, "expire")
            done = sweep(call, BATCH)
            if not done:
                raise Rollback(0)
            chain.append(
                session, audit_id=audit_id, now=now, payload=None,
                record={
                    "v": FORM, "server": domain, "tool": "expire", "outcome": "ok",
                    "actor": {"iss": "shop", "sub": "housekeeping", "client": "shop"},
                    "args": {}, "effects": call.effects,
                },
            )  # fmt: skip
            return done

        as_whom = "*" if domain == HOUSEKEEPING else domain
        return await self.database.run(as_whom, work, audit_id=audit_id)

    async def forever(self) -> None:
        """Now and then, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.once()
            except Exception as error:
                trace = not isinstance(error, Busy)
                log.error("housekeeping failed; it will be tried again", exc_info=trace)


def _lapsing(call: Call, limit: int) -> int:
    """Authorizations, holds and requests for approval whose time is over."""
    done = len(paid.expire_lapsed(call, limit)) + len(ledger.expire_due(call, limit))
    for moved in requests.expire_due(call.session, call.now, limit):
        call.effect("expire", "approval_request", moved.request_id)
        done += 1
    return done
