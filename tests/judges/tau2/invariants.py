"""What must hold after every task, whatever it was."""

from collections import Counter
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.tables.payments import Refund
from common.tables.spine import AuditRecord
from tests.judges.tau2.compare import Shop
from tests.judges.tau2.replay import Outcome
from tests.judges.tau2.stage import Stage


async def broken(stage: Stage, start: Shop, end: Shop, outcomes: list[Outcome]) -> list[str]:
    """Sentences, one for each thing that does not hold."""
    unlinked = await stage.read(
        lambda session: set(session.scalars(select(Refund.order_id).where(Refund.unlinked)))
    )
    found = [*_sums(end), *_methods(end, unlinked), *_stored_value(start, end)]
    accepted = [outcome for outcome in outcomes if outcome.ok]
    records = await stage.read(_writes)
    if records != len(accepted):
        found.append(f"{len(accepted)} writes were accepted and {records} are on record")
    found += await _replayed(stage, accepted, end)
    return found


def _sums(end: Shop) -> list[str]:
    """Lines = charges − refunds on every order that is not cancelled."""
    found = []
    for id, order in end["orders"].items():
        lines = sum(item["price"] for item in order["items"])
        net = sum(_signed(entry) for entry in order["payment_history"])
        if net != (0 if order["status"] == "cancelled" else lines):
            found.append(f"order {id}: lines {lines}, paid {net}")
    return found


def _methods(end: Shop, unlinked: set[str]) -> list[str]:
    """No method got back more than it paid, unless the refund is marked unlinked."""
    found = []
    for id, order in end["orders"].items():
        net: Counter[str] = Counter()
        for entry in order["payment_history"]:
            net[entry["payment_method_id"]] += _signed(entry)
        if min(net.values(), default=0) < 0 and id not in unlinked:
            found.append(f"order {id}: a method got back more than it paid")
    return found


def _stored_value(start: Shop, end: Shop) -> list[str]:
    """Every balance is not negative, and what it was less what was paid plus what came back."""
    moved: Counter[str] = Counter()
    for sign, shop in ((-1, end), (1, start)):
        for order in shop["orders"].values():
            for entry in order["payment_history"]:
                moved[entry["payment_method_id"]] += sign * _signed(entry)
    found = []
    for id, user in end["users"].items():
        for name, method in user["payment_methods"].items():
            if "balance" not in method:
                continue
            before = start["users"][id]["payment_methods"][name]["balance"]
            if method["balance"] < 0 or method["balance"] != before + moved[name]:
                found.append(f"{name}: {before} + {moved[name]} is not {method['balance']}")
    return found


async def _replayed(stage: Stage, accepted: list[Outcome], end: Shop) -> list[str]:
    """The same key with the same arguments answers the same again and changes nothing."""
    from tests.support.shop import call

    found = []
    for outcome in accepted:
        client, tool, arguments = outcome.sent
        again = await call(client, tool, **arguments)
        if not again.get("replayed"):
            found.append(f"{tool} with the same key was not replayed: {again.get('code', 'done')}")
    if accepted and await stage.export() != end:
        found.append("replaying a write changed the shop")
    return found


def _writes(session: Session) -> int:
    records: Any = AuditRecord.record
    query = select(func.count()).where(
        records["server"].as_string().in_(("orders", "returns")),
        records["outcome"].as_string() == "ok",
    )
    return int(session.scalar(query) or 0)


def _signed(entry: dict[str, Any]) -> int:
    amount: int = entry["amount"]
    return amount if entry["transaction_type"] == "payment" else -amount
