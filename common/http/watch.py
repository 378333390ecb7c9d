"""What the gate refuses is counted; what a known caller may not do is recorded."""

import logging
import time
from typing import Any

from sqlalchemy.orm import Session

from common import metrics
from common.audit import chain
from common.audit.records import FORM, Ration, who
from common.auth import Caller
from common.errors import RateLimited
from common.http.answers import Refused, plain
from common.http.required_scopes import Need
from common.shop import Shop
from common.storage.database import new_audit_id

log = logging.getLogger(__name__)


class Watching:
    """One a process."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._ration = Ration()

    def refused(self, domain: str, refusal: Refused) -> None:
        """Count it: a refusal of somebody unknown leaves no record that they could flood."""
        metrics.REFUSALS.labels(domain, str(refusal.status), refusal.reason).inc()

    async def denied(self, domain: str, caller: Caller, target: str, missing: list[str]) -> None:
        """Into the audit chain, at most so many a caller and minute."""
        if self.shop.settings.read_only:
            return
        left_out = self._ration.take(caller.actor.counted, time.monotonic())
        if left_out is None:
            return
        guard = self.shop.guard
        audit_id, now = new_audit_id(), guard.clock()
        record: dict[str, Any] = {
            "v": FORM, "server": domain, "version": guard.version, "tool": target,
            "outcome": "denied", "error": "insufficient_scope", "actor": who(caller.actor),
            "args": {}, "missing": missing,
        }  # fmt: skip
        if left_out:
            record["suppressed"] = left_out

        def work(session: Session) -> None:
            chain.append(session, audit_id=audit_id, now=now, record=record, payload=None)

        try:
            await self.shop.database.run("approvals", work, audit_id=audit_id)
        except Exception:
            log.exception("the record of a denied request could not be written")

    async def admit(self, domain: str, caller: Caller, need: Need) -> None:
        """One bucket a caller, over all workers. Raises Refused."""
        try:
            await self.shop.guard.limits.take(caller.actor, "requests")
            if caller.method == "guest" and need.target == "initialize":
                # A session is something made, and it may cost another guest theirs.
                await self.shop.guard.limits.take(caller.actor, "writes")
        except RateLimited as error:
            wait = str(error.details.get("retry_after_s", 1))
            raise plain(429, "rate_limited", error.message, retry_after=wait) from None
