"""Fill an empty shop with the demo shop."""

from datetime import datetime
from random import Random
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from clients.demo_shop import catalogue, desk, history
from common.audit import chain
from common.audit.records import FORM, who
from common.call import Actor, Call
from common.errors import RuleViolation
from common.shop import Shop, release
from common.storage.database import new_audit_id
from common.tables.inventory import Warehouse

SEED: Final = 20_261_121
SEEDER: Final = Actor("shop", "seed", "shop", frozenset(), machine=True)


async def seed_demo(shop: Shop, *, days: int = 90, seed: int = SEED) -> dict[str, int]:
    """Make the demo shop, its last day being today. Returns what was made.

    Raises RuleViolation for a shop that is not empty: nobody's data is mixed with made-up data.
    """
    now: datetime = shop.guard.clock()
    audit_id = new_audit_id()

    def work(session: Session) -> dict[str, int]:
        if session.scalar(select(func.count()).select_from(Warehouse)):
            raise RuleViolation(
                "This shop is not empty.", next="Seed into an empty SHOP_HOME of its own."
            )
        rng = Random(seed)
        call = Call(SEEDER, session, now, audit_id, "shop", "seed")
        variants = catalogue.lay_out(call, rng)
        customers = history.meet(call, rng)
        orders = history.happen(call, rng, customers, variants, days)
        made = {
            "warehouses": 3, "skus": len({v.id for v in variants}),
            "customers": len(customers), "orders": orders,
        } | desk.lie_open(call, customers)  # fmt: skip
        desk.give_tokens(call, customers)
        record = {
            "v": FORM, "server": "shop", "version": release(), "tool": "seed", "outcome": "ok",
            "actor": who(SEEDER), "args": {"days": days, "seed": seed}, "effects": [],
        }  # fmt: skip
        session.flush()
        chain.append(session, audit_id=audit_id, now=now, record=record, payload=None)
        return made

    return await shop.database.run("*", work, audit_id=audit_id)
