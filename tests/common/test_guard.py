"""Every tool goes through one guard: scope, arguments, replay, rule, policy, record, commit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from sqlalchemy import func, select

from common.call import Actor
from common.errors import PolicyDenied
from common.incoming import Done, Request, Waiting
from common.shop import Shop
from common.tables.spine import AccessRecord, ApprovalRequest, AuditRecord, Transfer
from tests.support import toy
from tests.support.shop import (
    MovingClock,
    a_shop,
    actor,
    call,
    connected,
    do,
    done,
    look,
    refused,
)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(tmp_path, clock=MovingClock(), policy_file=toy.policy_in(tmp_path)) as opened:
        await do(opened, "inventory", toy.stocked)
        yield opened


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[Client]:
    async with connected(shop, toy.tools) as connection:
        yield connection


async def records(shop: Shop) -> list[dict[str, Any]]:
    query = select(AuditRecord.record).order_by(AuditRecord.chain, AuditRecord.seq)
    return await look(shop, lambda s: list(s.scalars(query)))


async def last(shop: Shop) -> dict[str, Any]:
    return (await records(shop))[-1]


async def transfers(shop: Shop) -> int:
    return await look(shop, lambda s: s.scalar(select(func.count()).select_from(Transfer)) or 0)


async def available(client: Client) -> int:
    return int((await done(client, "peek"))["available"])


async def test_a_small_change_is_made_and_recorded_in_one_transaction(
    shop: Shop, client: Client
) -> None:
    assert (await done(client, "take", quantity=3))["available"] == 997
    record = await last(shop)
    assert record["outcome"] == "ok"
    assert record["tool"] == "take"
    assert record["actor"] == {"iss": "local", "sub": "ana@example.com", "client": "test"}
    assert record["args"]["quantity"] == 3
    assert "why" not in record["args"], "free text is personal until proven otherwise"
    assert [effect["op"] for effect in record["effects"]] == ["transfer"]


async def test_without_the_scope_nothing_happens_and_it_is_recorded(shop: Shop) -> None:
    reader = actor("ben@example.com", "inventory:read")
    async with connected(shop, toy.tools, who=reader) as client:
        answer = await refused(client, "take", "insufficient_scope", quantity=1)
        assert answer["details"] == {"scope": "inventory:write"}
        assert (await last(shop))["outcome"] == "denied"
        assert await available(client) == 1_000


async def test_write_implies_read_and_an_unknown_scope_nothing(shop: Shop) -> None:
    async with connected(shop, toy.tools, who=actor("b", "inventory:write")) as client:
        assert await available(client) == 1_000
    async with connected(shop, toy.tools, who=actor("b", "inventory:*", "admin")) as client:
        await refused(client, "peek", "insufficient_scope")
    async with connected(shop, toy.tools, who=actor("b", "orders:write")) as client:
        await refused(client, "peek", "insufficient_scope")


async def test_nobody_is_nobody(shop: Shop) -> None:
    everyone = Actor("local", "", "x", frozenset({"inventory:read"}))
    async with connected(shop, toy.tools, who=everyone) as client:
        await refused(client, "peek", "not_authenticated")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": 1.0},
        {"quantity": 0.5},
        {"quantity": "5"},
        {"quantity": True},
        {"quantity": 2**63},
        {"quantity": 2**200},
        {"quantity": None},
        {"quantity": [1]},
        {"quantity": 1, "approved": True},
        {"quantity": 1, "colour": "green"},
        {"quantity": 1, "why": "a\x00b"},
        {"quantity": 1, "why": "a\u202eb"},
        {"quantity": 1, "why": "a\u200bb"},
        {"quantity": 1, "why": "\U000e0041"},
        {"quantity": 1, "why": "x" * 2_001},
        {"quantity": 1, "why": "card 4111 1111 1111 1111"},
        {"quantity": 1, "idempotency_key": "short"},
        {"quantity": 1, "idempotency_key": "has space in it"},
        {"quantity": 1, "approval_id": ""},
    ],
    ids=lambda arguments: repr(arguments)[:60],
)
async def test_bad_arguments_change_nothing_and_are_recorded(
    shop: Shop, client: Client, arguments: dict[str, Any]
) -> None:
    before = await transfers(shop)
    answer = await refused(client, "take", "invalid_parameters", **arguments)
    assert answer["details"]["problems"][0]["field"]
    assert "4111" not in str(answer)
    assert await transfers(shop) == before
    record = await last(shop)
    assert (record["outcome"], record["error"]) == ("refused", "invalid_parameters")
    assert "4111" not in str(record)


async def test_nested_arguments_are_as_strict(client: Client) -> None:
    good = {"name": "bolt", "count": 2}
    assert (await done(client, "parts", wanted=[good]))["parts"] == ["bolt"]
    assert (await done(client, "parts", wanted=[]))["parts"] == []
    for bad in (
        [good | {"count": "2"}], [good | {"extra": 1}], [{}], "[]", [good] * 6,
        [good | {"name": ""}],
    ):  # fmt: skip
        await refused(client, "parts", "invalid_parameters", wanted=bad)


async def test_the_same_key_has_one_effect(shop: Shop, client: Client) -> None:
    first = await done(client, "take", quantity=2, idempotency_key="intent-0001")
    assert "replayed" not in first
    again = await done(client, "take", quantity=2, idempotency_key="intent-0001")
    assert again == first | {"replayed": True}
    assert await available(client) == 998
    assert (await last(shop))["outcome"] == "replayed"
    await refused(client, "take", "idempotency_conflict", quantity=3, idempotency_key="intent-0001")
    assert await available(client) == 998


async def test_a_key_belongs_to_its_caller(shop: Shop, client: Client) -> None:
    await done(client, "take", quantity=2, idempotency_key="intent-0001")
    async with connected(shop, toy.tools, who=actor("ben@example.com")) as other:
        answer = await done(other, "take", quantity=2, idempotency_key="intent-0001")
        assert "replayed" not in answer
    assert await available(client) == 996


async def test_the_same_key_at_once_has_one_effect(shop: Shop, client: Client) -> None:
    answers = await asyncio.gather(
        *(call(client, "take", quantity=1, idempotency_key="intent-0001") for _ in range(12))
    )
    assert sum("replayed" not in answer for answer in answers) == 1
    assert await available(client) == 999


async def test_without_a_key_a_repeat_is_questioned(shop: Shop, client: Client) -> None:
    await done(client, "take", quantity=1)
    await refused(client, "take", "possible_duplicate", quantity=1)
    await done(client, "take", quantity=2)
    shop.guard.clock.forward(seconds=61)  # type: ignore[attr-defined]
    await done(client, "take", quantity=1)
    assert await available(client) == 996
    await done(client, "again")
    await done(client, "again")


async def test_the_policy_denies_and_nothing_is_kept(shop: Shop, client: Client) -> None:
    await refused(client, "never", "policy_denied")
    assert (await last(shop))["outcome"] == "denied"
    assert await available(client) == 1_000


async def test_a_rule_that_states_nothing_is_denied(client: Client) -> None:
    await refused(client, "forgetful", "policy_denied")
    assert await available(client) == 1_000


async def test_a_tool_without_a_rule_is_denied(shop: Shop) -> None:
    async with a_shop(shop.settings.home) as usual, connected(usual, toy.tools) as client:
        await refused(client, "take", "policy_denied", quantity=1)


async def test_approval_is_asked_after_a_dry_run_that_keeps_nothing(
    shop: Shop, client: Client
) -> None:
    answer = await call(client, "take", quantity=10)
    assert answer["status"] == "approval_required"
    assert answer["level"] == 1
    assert answer["preview"]["title"] == "Take 10 of 1000 widgets"
    assert answer["approval_id"] in answer["next"]
    assert await available(client) == 1_000
    assert (await last(shop))["outcome"] == "pending"
    states = await look(shop, lambda s: list(s.scalars(select(ApprovalRequest.state))))
    assert states == ["pending"]


async def test_many_small_ones_are_one_big_one(shop: Shop, client: Client) -> None:
    for number in range(4):
        await done(client, "take", quantity=5, idempotency_key=f"split-{number:04}")
    answer = await call(client, "take", quantity=5, idempotency_key="split-0005")
    assert answer["status"] == "approval_required"
    assert await available(client) == 980


@pytest.mark.parametrize(
    ("how", "code"), [("rule", "rule_violation"), ("missing", "not_found"), ("x", "internal_error")]
)
async def test_a_failure_keeps_nothing_but_its_record(
    shop: Shop, client: Client, how: str, code: str
) -> None:
    answer = await refused(client, "crash", code, how=how)
    assert "secret" not in str(answer)
    record = await last(shop)
    assert record["error"] == code
    assert record["outcome"] == ("failed" if code == "internal_error" else "refused")
    assert "effects" not in record
    assert await available(client) == 1_000


async def test_a_crash_names_its_record(shop: Shop, client: Client) -> None:
    answer = await refused(client, "crash", "internal_error", how="x")
    reference = answer["details"]["reference"]
    found = await look(shop, lambda s: s.get(AuditRecord, reference))
    assert found is not None


async def test_a_cancelled_call_is_recorded(shop: Shop) -> None:
    spec = toy.tools.tools["compute"]
    request = Request(spec, {"rounds": 100_000}, actor())
    running = asyncio.create_task(shop.guard.call(request))
    await asyncio.sleep(0.2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await last(shop))["outcome"] == "cancelled"


async def test_long_work_reports_and_its_outcome_is_written(shop: Shop, client: Client) -> None:
    seen: list[tuple[float, float | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append((done, total))

    result = await client.call_tool("compute", {"rounds": 20}, progress_callback=progress)
    assert result.structured_content == {"available": 3_000, "reserved": 0}
    await asyncio.sleep(0.1)
    assert seen[0] == (1, 20)
    assert len(seen) == 20


async def test_a_replay_does_not_compute_again(shop: Shop) -> None:
    spec = toy.tools.tools["compute"]
    reports: list[int] = []
    arguments = {"rounds": 3, "idempotency_key": "computed-1"}
    for _ in range(2):
        request = Request(
            spec, arguments, actor(), progress=lambda done, total, message: reports.append(done)
        )
        answer = await shop.guard.call(request)
        assert isinstance(answer, Done)
        await asyncio.sleep(0.05)
    assert answer.replayed
    assert reports == [1, 2, 3]


async def test_reads_leave_an_access_record(shop: Shop, client: Client) -> None:
    await done(client, "peek")
    await client.read_resource("inventory://shelf")
    await shop.access.aclose()
    found = await look(shop, lambda s: list(s.scalars(select(AccessRecord.target))))
    assert sorted(found) == ["inventory://shelf", "peek"]


async def test_a_flood_of_refusals_is_counted_not_kept(shop: Shop) -> None:
    spec = toy.tools.tools["take"]
    before = len(await records(shop))
    for _ in range(130):
        with pytest.raises(Exception, match="quantity"):
            await shop.guard.call(Request(spec, {"quantity": 0}, actor()))
    assert len(await records(shop)) - before <= 121


async def test_a_flood_of_the_same_question_is_counted_not_kept(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking again for what waits already: one request, and no more records than refusals have."""
    monkeypatch.setattr("common.audit.records.REFUSALS_A_MINUTE", 5)
    wanted = Request(toy.tools.tools["take"], {"quantity": 10}, actor())
    asked = await shop.guard.call(wanted)
    assert isinstance(asked, Waiting)
    before = len(await records(shop))
    for _ in range(20):
        shop.guard.clock.forward(seconds=1)  # type: ignore[attr-defined]
        again = await shop.guard.call(wanted)
        assert isinstance(again, Waiting)
        assert again.approval_id == asked.approval_id
    # At most the rations of two minutes, should a new one begin meanwhile.
    assert 1 <= len(await records(shop)) - before <= 10


async def test_read_only_refuses_every_change(shop: Shop) -> None:
    async with a_shop(
        shop.settings.home, read_only=True, policy_file=shop.settings.policy_file
    ) as closed:
        async with connected(closed, toy.tools) as client:
            assert await available(client) == 1_000
            await refused(client, "take", "policy_denied", quantity=1)
            await refused(client, "again", "policy_denied")
        with pytest.raises(PolicyDenied):
            await closed.guard.call(Request(toy.tools.tools["again"], {}, actor()))


async def test_waiting_for_the_same_thing_is_one_request(shop: Shop, client: Client) -> None:
    first = await call(client, "take", quantity=10)
    second = await call(client, "take", quantity=10)
    assert first["approval_id"] == second["approval_id"]
    third = await call(client, "take", quantity=11)
    assert third["approval_id"] != first["approval_id"]


async def test_level_one_by_the_guard(shop: Shop) -> None:
    spec = toy.tools.tools["take"]
    asked = await shop.guard.call(Request(spec, {"quantity": 10}, actor()))
    assert isinstance(asked, Waiting)
    await shop.guard.confirm(asked.approval_id, actor(), accepted=True)
    again = {"quantity": 10, "approval_id": asked.approval_id}
    first = await shop.guard.call(Request(spec, again, actor()))
    assert first == Done({"available": 990, "reserved": 0})
    second = await shop.guard.call(Request(spec, again, actor()))
    assert isinstance(second, Done)
    assert second.replayed
