"""Calls well formed and wrong: somebody else's rows, rights of a sibling, sums too large, one key
for two intents, a clock put back. Refused in the one shape, nothing changed, on record; and where a
call is allowed, no more than was allowed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select

from common.call import Call
from common.rules import funds
from common.tables.inventory import Variant
from common.tables.spine import AuditRecord
from servers.payments.tools import tools as payments
from tests.hostile.stand import Unrationed, digest
from tests.payments.seed import Desk, a_desk, authorized, charged, world
from tests.sagas.town import HOUSE, LAMP, Town, a_town
from tests.support.shop import actor, call, connected, do, look

LEAST = {
    "orders": "orders:read", "returns": "returns:read", "claims": "claims:read",
    "payments": "payments:read",
}  # fmt: skip


class Row(NamedTuple):
    """A call that must be refused. ``scopes``: of the caller, everything unless said."""

    id: str
    server: str
    tool: str
    code: str
    arguments: dict[str, Any]
    scopes: tuple[str, ...] = ()


PRICE = 9 * 10**14
ORDER = {
    "customer_id": "cus-1", "payment_method_id": "card-1", "warehouse": HOUSE,
    "lines": [{"sku": LAMP, "quantity": 1}],
}  # fmt: skip
CANCEL = {"order_id": "$order", "reason": "no_longer_needed"}
REFUND = {"payment_id": "$payment", "amount_minor": 100, "currency": "EUR", "reason": "return"}
RETURN = {"order_id": "$order"}
ROWS = [
    # 98: another currency than the payment's
    Row("98", "payments", "refund_payment", "invalid_parameters", REFUND | {"currency": "USD"}),
    # 111: ids that are real in another shop
    *(
        Row(f"111-{tool}", server, tool, "not_found", {argument: f"$other_{what}"} | more)
        for server, tool, argument, what, more in (
            ("orders", "get_order", "order_id", "order", {}),
            ("orders", "cancel_order", "order_id", "order", {"reason": "no_longer_needed"}),
            ("orders", "release_to_fulfilment", "order_id", "order", {}),
            ("payments", "get_payment", "payment_id", "payment", {}),
            ("payments", "void_payment", "payment_id", "payment", {}),
            ("payments", "refund_payment", "payment_id", "payment",
             {key: REFUND[key] for key in ("amount_minor", "currency", "reason")}),
            ("payments", "authorize_payment", "order_id", "order", {}),
            ("returns", "request_return", "order_id", "order", {}),
            ("returns", "check_return_eligibility", "order_id", "order", {}),
            ("logistics", "create_shipment", "order_id", "order",
             {"carrier": "post", "service": "standard"}),
        )
    ),
    # 112: who may only read
    *(
        Row(f"112-{tool}", server, tool, "insufficient_scope", arguments, (LEAST[server],))
        for server, tool, arguments in (
            ("orders", "cancel_order", CANCEL),
            ("orders", "place_order", ORDER),
            ("payments", "refund_payment", REFUND),
            ("payments", "void_payment", {"payment_id": "$payment"}),
            ("returns", "request_return", RETURN),
            ("claims", "open_claim", {"type": "damage", "order_id": "$order"}),
        )
    ),
    # 113: who may write at every other server, and in this one do something else
    *(
        Row(f"113-{tool}", server, tool, "insufficient_scope", arguments, (LEAST[server], *scopes))
        for server, tool, arguments, scopes in (
            ("orders", "cancel_order", CANCEL, ("payments:write", "payments:refund")),
            ("payments", "refund_payment", REFUND, ("orders:write", "payments:write",
                                                    "payments:capture", "returns:settle")),
            ("payments", "capture_payment", {"payment_id": "$payment"}, ("payments:write",)),
            ("returns", "request_return", RETURN, ("orders:write", "claims:write")),
            ("claims", "open_claim", {"type": "damage"}, ("returns:write", "orders:write")),
        )
    ),
    # 116: what has not left the house cannot come back
    Row("116", "returns", "request_return", "rule_violation", RETURN),
    Row("116-named", "returns", "request_return", "rule_violation",
        RETURN | {"lines": [{"line_id": "$line", "quantity": 1, "reason": "defective"}]}),
]  # fmt: skip


@asynccontextmanager
async def grounds(folder: Path, url: str) -> AsyncIterator[tuple[Town, dict[str, str]]]:
    """A shop with an order that is paid for and has not left; and ids of another shop."""
    async with a_town(folder / "other") as other:
        placed = await other.order()
        ids = {"other_order": placed["order_id"], "other_payment": placed["payment_ids"][0]}
    async with a_town(folder / "own", database_url=url) as town:
        town.shop.guard._ration = Unrationed()  # type: ignore[assignment]
        placed = await town.order(2)
        await town.provider_answers()
        line = (await town.do("orders", "get_order", order_id=placed["order_id"]))["lines"][0]
        ids |= {
            "order": placed["order_id"], "payment": placed["payment_ids"][0],
            "line": line["line_id"],
        }  # fmt: skip
        yield town, ids


def filled(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(each, ids) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, ids) for each in value]
    if isinstance(value, str) and value.startswith("$"):
        return ids[value[1:]]
    return value


async def newest(shop: Any) -> tuple[int, dict[str, Any]]:
    query = select(AuditRecord.record).order_by(AuditRecord.id)
    records = await look(shop, lambda s: list(s.scalars(query)))
    return len(records), records[-1]


async def test_refused_without_a_trace_but_the_record(tmp_path: Path, empty: str) -> None:
    async with grounds(tmp_path, empty) as (town, ids):
        for row in ROWS:
            await refused_as_it_should(town, ids, row)


async def refused_as_it_should(town: Town, ids: dict[str, str], row: Row) -> None:
    tools = import_module(f"servers.{row.server}.tools").tools
    who = actor("ana@example.com", *row.scopes)
    before, (records, _) = await look(town.shop, digest), await newest(town.shop)
    async with connected(town.shop, tools, who=who) as client:
        answer = await call(client, row.tool, **filled(row.arguments, ids))
    assert answer.get("code") == row.code, (row.id, answer)
    assert set(answer) == {"code", "message", "details", "next"}, row.id
    assert await look(town.shop, digest) == before, row.id
    after, said = await newest(town.shop)
    assert after == records + 1, row.id
    assert (said["tool"], said.get("error")) == (row.tool, row.code), row.id
    assert said["outcome"] in ("refused", "denied"), row.id


async def test_a_sum_that_no_money_has(tmp_path: Path, empty: str) -> None:
    """97: price × quantity over the bound of every amount, and over 64 bits."""
    async with a_town(tmp_path, database_url=empty) as town:
        for price, quantity in ((PRICE, 2), (PRICE, 100), (10**13 + 1, 100)):

            def dear(call: Call, price: int = price) -> None:
                call.get(Variant, LAMP).price_minor = price

            await do(town.shop, "*", dear)
            before, (records, _) = await town.look(digest), await newest(town.shop)
            lines = [{"sku": LAMP, "quantity": quantity}]
            answer = await town.ask("orders", "place_order", **(ORDER | {"lines": lines}))
            assert answer.get("code") in ("invalid_parameters", "rule_violation"), answer
            assert await town.look(digest) == before
            after, said = await newest(town.shop)
            assert (after, said["outcome"]) == (records + 1, "refused")


@pytest.mark.parametrize(("answer", "most"), [("no", 20_000), ("yes", 50_000)])
async def test_one_refund_split_into_twenty(
    tmp_path: Path, empty: str, answer: str, most: int
) -> None:
    """117: each under the limit. A day's sum needs the person's yes, and then a second person's."""
    async with a_desk(tmp_path, answer=answer, database_url=empty) as desk:
        await desk.seed(world)
        await desk.seed(charged(amount=100_000))
        answers = [
            await call(
                desk.client, "refund_payment", **desk.key(), payment_id="pay-1", amount_minor=5_000,
                currency="EUR", reason="return",
            )
            for _ in range(20)
        ]  # fmt: skip
        done = [one for one in answers if "refund_id" in one]
        rest = [one for one in answers if "refund_id" not in one]
        assert len(done) * 5_000 == most
        if answer == "yes":
            assert {one.get("status") or one["code"] for one in rest} <= {
                "approval_required", "rate_limited",
            }  # fmt: skip
            assert all(one.get("level", 2) >= 2 for one in rest)
        assert (await desk.payment("pay-1"))["refunded_minor"] == most


async def test_one_key_for_two_intents(tmp_path: Path, empty: str) -> None:
    """118: the same key with any other argument is refused, and moves nothing."""
    wanted = {"payment_id": "pay-1", "amount_minor": 1_000, "currency": "EUR", "reason": "return"}
    async with a_desk(tmp_path, database_url=empty) as desk:
        await desk.seed(world)
        await desk.seed(charged(amount=5_000))
        await desk.seed(charged("ord-2", amount=5_000, payment_id="pay-2"))
        first = await call(desk.client, "refund_payment", **wanted, idempotency_key="one-key-1")
        before = await desk.look(digest)
        for other in (
            {"amount_minor": 1_001}, {"payment_id": "pay-2"}, {"reason": "goodwill"},
            {"note": "and a note"}, {"currency": "USD"},
        ):  # fmt: skip
            records, _ = await newest(desk.shop)
            answer = await call(
                desk.client, "refund_payment", **(wanted | other), idempotency_key="one-key-1"
            )
            assert answer.get("code") == "idempotency_conflict", (other, answer)
            after, said = await newest(desk.shop)
            assert (after, said["error"]) == (records + 1, "idempotency_conflict")
        assert await desk.look(digest) == before
        again = await call(desk.client, "refund_payment", **wanted, idempotency_key="one-key-1")
        assert (again["refund_id"], again["replayed"]) == (first["refund_id"], True)


@pytest.mark.parametrize("other", [{"subject": "eve@example.com"}, {"client": "another program"}])
async def test_somebody_elses_key(tmp_path: Path, empty: str, other: dict[str, str]) -> None:
    """119: the same key of another person or program is another intent: it reads no stored answer,
    and what it does is measured by what is left."""
    wanted = {"payment_id": "pay-1", "currency": "EUR", "reason": "return"}
    async with a_desk(tmp_path, database_url=empty) as desk:
        await desk.seed(world)
        await desk.seed(charged(amount=1_500))
        mine = await call(
            desk.client, "refund_payment", **wanted, amount_minor=1_000, idempotency_key="shared-k1"
        )
        before = await desk.look(digest)
        async with connected(desk.shop, payments, who=actor(**other)) as client:
            answer = await call(
                client, "refund_payment", **wanted, amount_minor=1_000, idempotency_key="shared-k1"
            )
            assert answer.get("code") in ("insufficient_funds", "rule_violation"), answer
            assert mine["refund_id"] not in str(answer)
            assert await desk.look(digest) == before
            theirs = await call(
                client, "refund_payment", **wanted, amount_minor=500, idempotency_key="shared-k1"
            )
        assert theirs["refund_id"] != mine["refund_id"]
        assert not theirs.get("replayed")
        again = await call(
            desk.client, "refund_payment", **wanted, amount_minor=1_000, idempotency_key="shared-k1"
        )
        assert again["refund_id"] == mine["refund_id"]
        assert (await desk.payment("pay-1"))["refunded_minor"] == 1_500


async def expired(desk: Desk) -> str:
    made = await desk.seed(authorized("ord-1"))
    desk.clock.forward(days=8)
    await desk.shop.housekeeping.once()
    assert (await desk.payment(made.id))["status"] == "expired"
    return made.id


async def test_a_clock_put_back(tmp_path: Path, empty: str) -> None:
    """121: what has ended stays ended, what was done is not done again, and the chain is whole."""
    async with a_desk(tmp_path, database_url=empty) as desk:
        await desk.seed(world)
        id = await expired(desk)
        await desk.seed(charged("ord-2", amount=3_000))
        refund = {
            "payment_id": "pay-1", "amount_minor": 1_000, "currency": "EUR", "reason": "return",
            "idempotency_key": "before-it-1",
        }  # fmt: skip
        first = await call(desk.client, "refund_payment", **refund)
        held = await desk.done("place_hold", payment_id="pay-1", reason="fraud_review", days=1)
        desk.clock.forward(days=-8)
        before = await desk.look(digest)
        answer = await call(desk.client, "capture_payment", **desk.key(), payment_id=id)
        assert answer.get("code") == "rule_violation", answer
        assert await desk.look(digest) == before
        again = await call(desk.client, "refund_payment", **refund)
        assert (again["refund_id"], again["replayed"]) == (first["refund_id"], True)
        assert await desk.look(digest) == before
        more = await call(
            desk.client, "refund_payment", **(refund | {"idempotency_key": "before-it-2"})
        )
        assert "refund_id" not in more, f"{held['hold_id']} holds what is left: {more}"
        await desk.shop.housekeeping.once()
        left = await desk.look(lambda s: funds.captured(s, "pay-1", "EUR"))
        assert left == 3_000
        ledger = await desk.done_reading("get_ledger", currency="EUR")
        assert ledger["balanced"]
