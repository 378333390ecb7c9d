"""Calls over many rows: how far they are is told to who asked, and what they list has pages."""

import asyncio
from typing import Any

from tests.payments.seed import Desk
from tests.support.shop import call


def a_payout(reference: str, lines: int, missing: int = 0) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {"kind": "adjustment", "reference": f"adj-{n}", "amount_minor": 10} for n in range(lines)
    ]
    rows[:missing] = [row | {"kind": "charge"} for row in rows[:missing]]
    return {
        "provider": "bank_of", "reference": reference, "currency": "EUR",
        "amount_minor": 10 * lines, "arrived_on": "2026-11-02", "lines": rows,
    }  # fmt: skip


async def heard(desk: Desk, tool: str, **arguments: Any) -> list[tuple[float, float | None, str]]:
    """What a client that gave a token is told while the call runs."""
    told: list[tuple[float, float | None, str]] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message or ""))

    result = await desk.client.call_tool(tool, arguments, progress_callback=hear)
    assert not result.is_error, result
    for _ in range(50):
        await asyncio.sleep(0)
    return told


async def test_a_long_reconciliation_tells_how_far_it_is(either: Desk) -> None:
    told = await heard(either, "reconcile_payout", **a_payout("po-1", 35), **either.key())
    assert {total for _, total, _ in told} == {35}
    numbers = [done for done, _, _ in told]
    assert numbers == [10, 20, 30, 35] * 2, "for the question, and once it was answered"
    assert told[-1] == (35, 35, "35 of 35 lines")
    assert len(either.person.questions or []) == 1


async def test_nobody_is_told_who_did_not_ask(desk: Desk) -> None:
    answer = await call(desk.client, "reconcile_payout", **a_payout("po-1", 35), **desk.key())
    assert answer["matched"] == 35


async def test_what_differs_has_pages(either: Desk) -> None:
    booked = await either.done("reconcile_payout", **a_payout("po-1", 130, missing=120))
    assert (booked["matched"], booked["exception_count"]) == (10, 120)
    assert len(booked["exceptions"]) == 100, "no list has more"
    listed = await either.done_reading("list_payouts")
    assert len(listed["payouts"][0]["exceptions"]) == 10
    found: list[int] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = await either.done_reading(
            "list_payouts", payout_id=booked["payout_id"], limit=50, **cursor
        )
        found += [row["line"] for row in page["payouts"][0]["exceptions"]]
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert found == list(range(1, 121))
    closed = await either.approved(
        "accept_payout_exceptions", payout_id=booked["payout_id"], note="a test of theirs"
    )
    assert (closed["state"], closed["exception_count"]) == ("reconciled", 120)
    again = await call(
        either.client, "accept_payout_exceptions", payout_id=booked["payout_id"], note="again",
        **either.key(),
    )  # fmt: skip
    assert again["code"] == "rule_violation", "all of them were accepted, beyond the first page"
