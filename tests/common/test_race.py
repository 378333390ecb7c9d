"""Four processes of four tasks each want the same units, the same money, the same transfer.

Run as a program (``python -m tests.common.test_race url number scenario=tries``), this file is
one of them.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import Conflict, InsufficientFunds, InsufficientStock, RuleViolation
from common.ledgers import accounts, ledger
from common.rules import funds, stock
from common.storage.database import Database, new_audit_id
from common.tables.spine import Transfer
from tests.common.ledger_model import broken_promises
from tests.support.ledger import START, Desk, call_of, rows_of

PROCESSES, TASKS, TRIES, UNITS = 4, 4, 400, 200
SKU, SHELF = "SKU-1", "WH-1"
LATER = START + timedelta(hours=1)


def sell(call: Call, number: int) -> None:
    """At once, or by a reservation that is shipped in the same call."""
    expires_at = None if number % 3 else call.now + timedelta(minutes=5)
    id = stock.reserve(call, SKU, SHELF, 1, "ord", expires_at)
    if number % 2:
        stock.ship(call, id)


def swap(call: Call, number: int) -> None:
    """Two accounts with limits, in both directions, in the order that invites deadlocks."""
    there = number % 2 == 0
    first, second = ("available", "quarantine") if there else ("quarantine", "available")
    code, back = ("quarantine", "unquarantine") if there else ("unquarantine", "quarantine")
    stock.move(call, "SWAP", SHELF, first, second, 1, code, "x")
    stock.move(call, "SWAP", SHELF, second, first, 1, back, "x")


def refund(call: Call, number: int) -> None:
    funds.refund(call, "pay_1", 1, "EUR", funds.clearing("card"))


def resolve(call: Call, number: int) -> None:
    (ledger.post if number % 2 else ledger.void)(call, "tra_pending")


def repeat(call: Call, number: int) -> None:
    """The last unit, by everybody, under one id: for the others nothing changes."""
    stock.receive(call, "SAME", SHELF, 1, "po", id="tra_one")
    stock.reserve(call, "SAME", SHELF, 1, "ord", LATER + timedelta(hours=1), id="tra_last")


SCENARIOS: dict[str, tuple[str, Callable[[Call, int], None]]] = {
    "sell": ("inventory", sell),
    "swap": ("inventory", swap),
    "refund": ("payments", refund),
    "resolve": ("inventory", resolve),
    "repeat": ("inventory", repeat),
}


async def take_part(scenario: str, url: str, number: int, tries: int) -> Counter[str]:
    """One process's share of the tries, by its tasks."""
    domain, rule = SCENARIOS[scenario]
    database = Database(url)
    outcomes: Counter[str] = Counter()

    async def one_try(turn: int) -> str:
        audit_id = new_audit_id()

        def work(session: Session) -> None:
            rule(call_of(session, domain, LATER, audit_id), turn)

        try:
            await database.run(domain, work, audit_id=audit_id)
        except (InsufficientStock, InsufficientFunds) as error:
            left = error.details["available"]
            return "short" if left == 0 else f"short_with_{left}"
        except RuleViolation as error:
            return str(error.details["state"])
        return "done"

    async def one_task(task: int) -> None:
        for turn in range(tries // PROCESSES // TASKS):
            outcomes[f"{scenario}:{await one_try(number + task + turn)}"] += 1

    await asyncio.gather(*(one_task(task) for task in range(TASKS)))
    await database.close()
    return outcomes


def race(url: str, **scenarios: int) -> dict[str, Counter[str]]:
    """All four start together; what became of every try, by scenario."""
    wanted = [f"{name}={tries}" for name, tries in scenarios.items()]
    runners = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.common.test_race", url, str(number), *wanted],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parent.parent.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for number in range(PROCESSES)
    ]  # fmt: skip
    total: dict[str, Counter[str]] = {name: Counter() for name in scenarios}
    try:
        for runner in runners:
            assert runner.stdout is not None
            assert runner.stdout.readline() == "ready\n"
        for runner in runners:
            assert runner.stdin is not None
            runner.stdin.write("go\n")
            runner.stdin.flush()
        for runner in runners:
            said, _ = runner.communicate(timeout=120)
            assert runner.returncode == 0
            for line in said.splitlines():
                scenario, outcome, count = re.split("[: ]", line)
                total[scenario][outcome] += int(count)
    finally:
        for runner in runners:
            runner.kill()
            runner.wait()
    assert {name: sum(found.values()) for name, found in total.items()} == scenarios
    return total


@pytest.mark.slow
@pytest.mark.parametrize("reserved_before", [False, True], ids=["free", "expired"])
def test_two_hundred_units_are_sold_once(
    desk: Desk, ledger_url: str, reserved_before: bool
) -> None:
    """Either they are free, or all of them stand under reservations that have just expired."""

    def prepare(call: Call) -> None:
        stock.receive(call, SKU, SHELF, UNITS, "po")
        if reserved_before:
            for _ in range(UNITS // 4):
                stock.reserve(call, SKU, SHELF, 4, "cart", call.now + timedelta(minutes=1))

    desk.do("inventory", prepare)
    outcomes = race(ledger_url, sell=TRIES)
    assert outcomes == {"sell": {"done": UNITS, "short": TRIES - UNITS}}
    desk.now = LATER
    level = desk.look(lambda s: stock.level(s, desk.now, SKU))
    assert level.available == 0
    assert level.on_hand == level.reserved
    customer = desk.look(lambda s: accounts.totals(s, stock.units(SKU), ["customer"], now=LATER))
    assert customer["customer"].posted == UNITS - level.on_hand
    assert desk.look(broken_promises) == []


@pytest.mark.slow
def test_everybody_wants_the_same(desk: Desk, ledger_url: str) -> None:
    """Opposite moves, one payment refunded, one reservation resolved, one id used by all."""

    def prepare(call: Call) -> None:
        stock.receive(call, "SWAP", SHELF, 50, "po")
        stock.receive(call, "SWAP", SHELF, 50, "po", status="quarantine")
        stock.receive(call, SKU, SHELF, 5, "po")
        stock.reserve(call, SKU, SHELF, 5, "ord", None, id="tra_pending")

    desk.do("inventory", prepare)
    desk.do("payments", lambda c: funds.charge(c, "pay_1", 30, "EUR", funds.clearing("card")))
    outcomes = race(ledger_url, swap=48, refund=80, resolve=48, repeat=48)
    assert outcomes["swap"] == {"done": 48}
    assert outcomes["refund"] == {"done": 30, "short": 50}
    assert outcomes["resolve"].pop("done") == 1
    assert len(outcomes["resolve"]) == 1, "all others were told the same"
    assert outcomes["repeat"] == {"done": 48}
    assert desk.look(broken_promises) == []
    level = desk.look(lambda s: stock.level(s, LATER, "SWAP"))
    assert (level.available, level.quarantine) == (50, 50)
    assert desk.look(lambda s: stock.level(s, LATER, "SAME")).reserved == 1


def overlap(url: str, early: Callable[[Call], Any], late: Callable[[Call], Any]) -> Any:
    """What ``late`` answers when it runs into a row that ``early`` holds and then commits."""

    async def both() -> Any:
        first, second = Database(url), Database(url)
        written = asyncio.Event()

        def holds(session: Session) -> None:
            early(call_of(session, "inventory", START, new_audit_id()))
            session.flush()
            written.set()
            for _ in range(200):
                if session.scalar(text("select count(*) from pg_locks where not granted")):
                    return
                session.execute(text("select pg_sleep(0.05)"))
            raise AssertionError("the second never had to wait")

        def waits(session: Session) -> Any:
            return late(call_of(session, "inventory", START, new_audit_id()))

        running = asyncio.create_task(first.run("inventory", holds))
        await written.wait()
        try:
            return await second.run("inventory", waits)
        finally:
            await running
            await first.close()
            await second.close()

    return asyncio.run(both())


@pytest.fixture
def busy_desk(postgres_ledger_url: str) -> Iterator[Desk]:
    """Five units, two of them reserved. SQLite has one writer at a time: nothing overlaps."""
    desk = Desk(postgres_ledger_url)
    desk.clear()

    def prepare(call: Call) -> None:
        stock.receive(call, SKU, SHELF, 5, "po")
        stock.reserve(call, SKU, SHELF, 2, "ord", None, id="tra_pending")

    desk.do("inventory", prepare)
    yield desk
    assert desk.look(broken_promises) == []
    desk.close()


@pytest.mark.parametrize(
    "late",
    [
        lambda call: stock.receive(call, SKU, SHELF, 1, "po", id="tra_same"),
        lambda call: ledger.post(call, "tra_pending", id="tra_same"),
        lambda call: ledger.void(call, "tra_pending", id="tra_same"),
    ],
    ids=["transfer", "post", "void"],
)
def test_an_id_taken_meanwhile_is_a_conflict(busy_desk: Desk, late: Callable[[Call], str]) -> None:
    """The second found nothing, did its work, waited for the first, and took its work back."""

    def caught(call: Call) -> None:
        with pytest.raises(Conflict):
            late(call)

    overlap(
        busy_desk.database.url,
        lambda call: stock.receive(call, "SKU-2", SHELF, 1, "po", id="tra_same"),
        caught,
    )
    level = busy_desk.look(lambda s: stock.level(s, START, SKU))
    assert (level.on_hand, level.reserved) == (5, 2)
    busy_desk.do("inventory", lambda call: ledger.post(call, "tra_pending"))


@pytest.mark.parametrize(
    "same",
    [
        lambda call: stock.receive(call, SKU, SHELF, 1, "po", id="tra_same"),
        lambda call: stock.reserve(call, SKU, SHELF, 3, "ord", LATER, id="tra_same"),
        lambda call: ledger.post(call, "tra_pending", 1, id="tra_same"),
        lambda call: ledger.void(call, "tra_pending", id="tra_same"),
    ],
    ids=["transfer", "pend the last", "post", "void"],
)
def test_the_same_at_the_same_moment_happens_once(
    busy_desk: Desk, same: Callable[[Call], str]
) -> None:
    before = len(busy_desk.look(lambda s: rows_of(s, Transfer)))
    assert overlap(busy_desk.database.url, same, same) == "tra_same"
    assert len(busy_desk.look(lambda s: rows_of(s, Transfer))) == before + 1


def test_units_freed_by_another_sale_are_there_for_this_one(busy_desk: Desk) -> None:
    """Both are short, both find the same expired reservation; the first frees it."""
    busy_desk.do(
        "inventory",
        lambda c: stock.reserve(c, SKU, SHELF, 3, "crt", START + timedelta(seconds=1)),
    )

    def sell_later(call: Call) -> str:
        call.now = LATER
        return stock.reserve(call, SKU, SHELF, 1, "ord", None)

    assert overlap(busy_desk.database.url, sell_later, sell_later)
    level = busy_desk.look(lambda s: stock.level(s, LATER, SKU))
    assert (level.on_hand, level.reserved, level.available) == (5, 4, 1)


def test_an_account_made_meanwhile_is_found(busy_desk: Desk) -> None:
    def first_of_its_kind(call: Call) -> str:
        return stock.receive(call, "SKU-9", SHELF, 1, "po")

    assert overlap(busy_desk.database.url, first_of_its_kind, first_of_its_kind)
    assert busy_desk.look(lambda s: stock.level(s, START, "SKU-9")).available == 2


async def all_parts(url: str, number: int, wanted: list[str]) -> Counter[str]:
    total: Counter[str] = Counter()
    for scenario, _, tries in (part.partition("=") for part in wanted):
        total += await take_part(scenario, url, number, int(tries))
    return total


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    for name, many in asyncio.run(all_parts(sys.argv[1], int(sys.argv[2]), sys.argv[3:])).items():
        print(name, many)
