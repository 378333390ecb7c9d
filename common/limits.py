"""How much a caller may do a minute, by class of call, over all workers together.

A bucket is one row: the moment it is full again. A worker takes a slice of it and gives that out
by itself, so that a caller costs a transaction now and then; the slice grows while it is used up,
and what is left of it lapses after a minute. A limit is no permission: it bounds what a loop gone
wild can do, and keeps the shop for the others.
"""

import asyncio
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, cast

from sqlalchemy import BigInteger, Table, bindparam, case, delete, select
from sqlalchemy.orm import Session

from common.call import Actor
from common.call_rates import Kind, Rate
from common.errors import RateLimited
from common.storage.database import Database
from common.storage.dialects import dialect_of, upsert
from common.tables.spine import RateBucket
from common.toolset import ResourceSpec, ToolSpec

FIRST_SLICE, LARGEST_SLICE = 20, 10  # a twentieth and a tenth of the burst
LEASE_S: Final = 60.0  # who calls now and then pays for it once a minute, not each time
MOST_CALLERS: Final = 20_000
_RESTRICTED: Final = frozenset({"refund", "refund_unlinked", "capture", "credit", "release",
                                "settle"})  # fmt: skip
_MINUTE_US: Final = 60_000_000


def kind_of(spec: ToolSpec | ResourceSpec) -> Kind:
    """The class of a call, from its declaration."""
    if spec.name in ("approval_status", "approval_cancel"):
        return "approvals"
    if isinstance(spec, ResourceSpec) or not spec.changes:
        return "reads"
    restricted = str(spec.scope).partition(":")[2] in _RESTRICTED
    return "money" if restricted or spec.domain == "payments" else "writes"


@dataclass
class _Lease:
    """What this worker may still give out. ``dry_until``: nothing is left in the database."""

    left: int = 0
    until: float = 0.0
    size: int = 1
    dry_until: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Limits:
    """One a process. Without rates it lets everything through."""

    def __init__(
        self,
        database: Database,
        rates: Mapping[Kind, Rate],
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        # A database that may not be written counts nothing.
        self._rates = {} if database.read_only else dict(rates)
        self._database = database
        self._now_us = now_us
        self._leases: OrderedDict[tuple[str, Kind], _Lease] = OrderedDict()

    async def take(self, actor: Actor, kind: Kind) -> None:
        """Count one call. Raises RateLimited, whose ``retry_after_s`` says when there is room."""
        rate = self._rates.get(kind)
        if rate is None:
            return
        key = (f"{actor.counted}|{actor.client}", kind)
        lease = self._leases.setdefault(key, _Lease())
        self._leases.move_to_end(key)
        if len(self._leases) > MOST_CALLERS:
            self._leases.popitem(last=False)
        if self._given(lease):
            return
        async with lease.asking:
            if self._given(lease):  # somebody who waited before us has brought enough
                return
            await self._ask(key, lease, rate)

    def _given(self, lease: _Lease) -> bool:
        now = time.monotonic()
        if now < lease.dry_until:
            raise _refusal(lease.dry_until - now)
        if lease.left < 1 or now >= lease.until:
            return False
        lease.left -= 1
        return True

    async def _ask(self, key: tuple[str, Kind], lease: _Lease, rate: Rate) -> None:
        used_up = lease.left < 1 and time.monotonic() < lease.until
        first, largest = (max(1, rate.burst // part) for part in (FIRST_SLICE, LARGEST_SLICE))
        lease.size = min(largest, lease.size * 2) if used_up else first
        bucket = hashlib.sha256("|".join(key).encode()).hexdigest()
        now, wanted = self._now_us(), lease.size
        got, wait_us = await self._database.run(
            "*", lambda session: _taken(session, bucket, rate, wanted, now)
        )
        if got == 0:
            lease.dry_until = time.monotonic() + wait_us / 1_000_000
            raise _refusal(wait_us / 1_000_000)
        lease.left, lease.until = got - 1, time.monotonic() + LEASE_S


def sweep(session: Session, now_us: int, limit: int) -> None:
    """Forget buckets that are full again."""
    full = select(RateBucket.id).where(RateBucket.full_at_us < now_us - _MINUTE_US).limit(limit)
    session.execute(
        delete(RateBucket).where(RateBucket.id.in_(full)),
        execution_options={"synchronize_session": False},
    )


def _refusal(wait_s: float) -> RateLimited:
    seconds = max(1, math.ceil(wait_s))
    return RateLimited(
        f"Too many calls of this kind; there is room again in {seconds} s.",
        details={"reason": "rate", "retry_after_s": seconds},
    )


def _taken(session: Session, bucket: str, rate: Rate, wanted: int, now: int) -> tuple[int, int]:
    """How many calls were had, up to ``wanted``; if none, how many microseconds to wait."""
    each = _MINUTE_US // rate.minute
    for _ in range(3):
        values = {"b_id": bucket, "b_now": now, "b_cost": wanted * each,
                  "b_most": now + rate.burst * each}  # fmt: skip
        if session.execute(_charge(dialect_of(session)), values).first() is not None:
            return wanted, 0
        full_at = session.scalar(_FULL_AT, {"b_id": bucket}) or now
        free = (now + rate.burst * each - max(full_at, now)) // each
        if free < 1:
            return 0, max(full_at, now) + each - now - rate.burst * each
        wanted = min(wanted, free)
    return 0, each  # three others were quicker


_BUCKET: Final = cast(Table, RateBucket.__table__)


def _number(name: str) -> Any:
    return bindparam(name, type_=BigInteger())


@cache
def _charge(dialect: str) -> Any:
    column = _BUCKET.c.full_at_us
    # Fuller than any call could make it: the clock was put back since. It counts as full again.
    ahead = column > _number("b_most") + _MINUTE_US
    left = case((ahead, _number("b_now")), (column > _number("b_now"), column),
                else_=_number("b_now"))  # fmt: skip
    after = left + _number("b_cost")
    return (
        upsert(dialect, RateBucket)
        .values(id=bindparam("b_id"), full_at_us=_number("b_now") + _number("b_cost"))
        .on_conflict_do_update(
            index_elements=["id"], set_={"full_at_us": after}, where=after <= _number("b_most")
        )
        .returning(column)
    )


_FULL_AT: Final = select(RateBucket.full_at_us).where(RateBucket.id == bindparam("b_id"))


def network_of(address: str) -> str:
    """Where somebody unknown calls from: one subscriber, as far as addresses tell. Never empty."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))
