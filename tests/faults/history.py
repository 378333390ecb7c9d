"""What every process said it did, one line an event, and what must be true of it afterwards.

A line is written before a call (``invoke``) and after it (``ok``, ``fail``). A call without an end
is unknown: it may have had its effect or not, and never half of it.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.audit.verify import verify
from common.keys import anchor_key
from common.rules import stock
from common.shop import Shop
from common.tables.spine import StoredResult, Transfer
from tests.common.ledger_model import broken_promises
from tests.faults.bench import STOCK, WAREHOUSE

# What a caller may be told while the shop is under fire. ``busy`` is not among it.
EXPECTED: Final = frozenset({"insufficient_stock", "rule_violation", "idempotency_conflict"})


class History:
    """The events of one process, appended to a file that outlives it."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind: str, mark: str, **more: Any) -> None:
        line = json.dumps({"kind": kind, "mark": mark} | more) + "\n"
        os.write(self._descriptor, line.encode())


@dataclass
class Intent:
    """One thing somebody wanted done, under one mark, tried once or more."""

    mark: str
    tool: str
    arguments: dict[str, Any]
    key: str | None
    invoked: int = 0
    ok: int = 0
    failed: list[str] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def unknown(self) -> int:
        return self.invoked - self.ok - len(self.failed)


def read(folder: Path) -> dict[str, Intent]:
    """Every intent by its mark, whichever process tried it."""
    intents: dict[str, Intent] = {}
    for event in events(folder):
        mark = event["mark"]
        if event["kind"] == "invoke":
            made = intents.setdefault(
                mark, Intent(mark, event["tool"], event["arguments"], event["key"])
            )
            assert made.arguments == event["arguments"], "one mark for two intents"
            made.invoked += 1
        elif event["kind"] == "ok":
            intents[mark].ok += 1
            intents[mark].answers.append(event["answer"])
        else:
            intents[mark].failed.append(event["code"])
    return intents


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """Whole lines only: a killed process may leave a torn last one."""
    for file in sorted(folder.glob("history-*.jsonl")):
        for line in file.read_text().split("\n")[:-1]:
            yield json.loads(line)


async def wrongs(shop: Shop, folder: Path) -> list[str]:
    """Everything that is not as it should be. Empty: the shop kept every promise."""
    intents = read(folder)
    await shop.housekeeping.anchor(force=True)
    key, file = anchor_key(shop.settings.key_dir).public_key(), shop.settings.anchor_file

    def look(session: Session) -> list[str]:
        report = verify(session, file, key)
        found = [] if report.exit_code == 0 else [f"audit: {report}"]
        found += broken_promises(session)
        found += _integrity(session)
        found += _effects(session, intents)
        return found + _stock(session, shop, intents)

    found = [f"a caller was told {code}" for code in _unexpected(intents)]
    found += await shop.database.run("*", look, write=False)
    return found


def _unexpected(intents: dict[str, Intent]) -> list[str]:
    told = {code for intent in intents.values() for code in intent.failed}
    return sorted(told - EXPECTED)


def _integrity(session: Session) -> list[str]:
    if session.get_bind().dialect.name == "postgresql":
        return []
    said = session.connection().exec_driver_sql("PRAGMA integrity_check").scalars().all()
    broken = session.connection().exec_driver_sql("PRAGMA foreign_key_check").all()
    return [str(line) for line in said if line != "ok"] + [f"dangling: {row}" for row in broken]


def _effects(session: Session, intents: dict[str, Intent]) -> list[str]:
    """Acknowledged: once. Refused: never. Unknown: once or never. Unheard of: never."""
    wrong: list[str] = []
    made: dict[str, list[int]] = defaultdict(list)
    query = select(Transfer.reference, Transfer.amount, Transfer.code).where(
        Transfer.kind.in_(("posted", "pending")), Transfer.reference != "opening"
    )
    for reference, amount, _ in session.execute(query):
        made[reference].append(amount)
    wrong += [f"{mark}: an effect nobody asked for" for mark in made if mark not in intents]
    for intent in intents.values():
        effects, wanted = made[intent.mark], intent.arguments["quantity"]
        if any(amount != wanted for amount in effects):
            wrong.append(f"{intent.mark}: moved {effects}, asked for {wanted}")
        least = 1 if intent.ok else 0
        most = 1 if intent.ok or intent.unknown else 0
        if not least <= len(effects) <= most:
            wrong.append(f"{intent.mark}: {len(effects)} effects, {intent}")
        originals = [answer for answer in intent.answers if not answer.get("replayed")]
        if len(originals) > 1:
            wrong.append(f"{intent.mark}: done {len(originals)} times")
        if len({answer["available"] for answer in intent.answers}) > 1:
            wrong.append(f"{intent.mark}: two different answers {intent.answers}")
    kept = len(session.scalars(select(StoredResult.id).where(StoredResult.result != {})).all())
    keyed = sum(bool(made[intent.mark]) for intent in intents.values() if intent.key)
    if kept < keyed:
        wrong.append(f"{keyed} effects under keys, {kept} stored answers")
    return wrong


def _stock(session: Session, shop: Shop, intents: dict[str, Intent]) -> list[str]:
    """Units on hand are what there was and what acknowledged and unknown calls may have moved."""
    wrong: list[str] = []
    signs = {"take": -1, "ask": -1, "put": 1, "hold": 0, "stumble": 0}
    for sku, opening in STOCK.items():
        sure, maybe_less, maybe_more = 0, 0, 0
        for intent in intents.values():
            if intent.arguments["sku"] != sku:
                continue
            moved = signs[intent.tool] * intent.arguments["quantity"]
            if intent.ok:
                sure += moved
            elif intent.unknown:
                maybe_less, maybe_more = maybe_less + min(moved, 0), maybe_more + max(moved, 0)
        on_hand = stock.level(session, shop.guard.clock(), sku, WAREHOUSE).on_hand
        lowest, highest = opening + sure + maybe_less, opening + sure + maybe_more
        if not lowest <= on_hand <= highest:
            wrong.append(f"{sku}: {on_hand} on hand, between {lowest} and {highest} expected")
    return wrong
