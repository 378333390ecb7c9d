"""Tasks and probes, judged."""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.judges.tau2 import invariants
from tests.judges.tau2.compare import Difference, Shop, differences, normal, with_after
from tests.judges.tau2.replay import Outcome, play
from tests.judges.tau2.stage import Stage, imported, restored

Say = Callable[[str], None]
FORGIVEN_CANCEL = (
    "wanted: cancelled after its payment method was changed, each method got back what it had "
    "paid, once; the original refunds every entry of the history, refunds too"
)


@dataclass
class Verdict:
    """One task or probe. ``wanted`` names a difference that is meant to be."""

    id: str
    tag: str
    writes: int = 0
    writes_equal: int = 0
    collateral: int = 0
    wanted: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.problems and not self.wanted

    def took(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.writes += 1
            self.writes_equal += outcome.equal
            if not outcome.equal:
                self.problems.append(str(outcome))


@dataclass
class Result:
    """Everything, and what ``--json`` prints."""

    imported: dict[str, int]
    round_trip: list[str]
    tasks: list[Verdict] = field(default_factory=list)
    probes: list[Verdict] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.round_trip and not any(v.problems for v in (*self.tasks, *self.probes))

    def figures(self, verdicts: list[Verdict]) -> dict[str, int]:
        return {
            "all": len(verdicts), "equal": sum(v.equal for v in verdicts),
            "wanted_differences": sum(bool(v.wanted) and not v.problems for v in verdicts),
            "writes": sum(v.writes for v in verdicts),
            "writes_equal": sum(v.writes_equal for v in verdicts),
            "collateral_changes": sum(v.collateral for v in verdicts),
        }  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        return {
            "good": self.good, "imported": self.imported, "round_trip": self.round_trip,
            "tasks": self.figures(self.tasks), "probes": self.figures(self.probes),
            "differences": [
                {"id": v.id, "tag": v.tag, "wanted": v.wanted, "problems": v.problems}
                for v in (*self.tasks, *self.probes) if not v.equal
            ],
        }  # fmt: skip


async def judge(
    db: Path, tasks: list[dict[str, Any]], probes: list[dict[str, Any]], *, say: Say
) -> Result:
    """Import, compare the round trip, replay everything."""
    folder = Path(tempfile.mkdtemp(prefix="tau2-judge-"))
    try:
        report, keys = await imported(folder / "snapshot", db)
        start = _start(db)

        def stage() -> Any:
            return restored(folder / "snapshot", folder / "now", keys)

        async with stage() as first:
            refused = [f"{r.kind} {r.id}: {r.reason}" for r in report.refused]
            result = Result(
                dict(report.written),
                refused + [str(d) for d in differences(await first.export(), start)],
            )
        for number, task in enumerate(tasks, 1):
            async with stage() as now:
                result.tasks.append(await _task(now, start, task))
            say(f"task {number} of {len(tasks)}")
        waiting = _rounds(start, probes)
        for number, (refusals, changes) in enumerate(waiting, 1):
            async with stage() as now:
                result.probes += await _round(now, start, refusals)
                result.probes += await _round(now, start, changes)
            say(f"probes: round {number} of {len(waiting)}")
        return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _task(stage: Stage, start: Shop, task: dict[str, Any]) -> Verdict:
    verdict = Verdict(f"task {task['id']}", "")
    outcomes = [
        await play(stage, write, f"judge-{task['id']}-{number:04}")
        for number, write in enumerate(task["writes"])
    ]
    verdict.took(outcomes)
    after: Shop = normal(task.get("after") or {})
    end = await stage.export()
    for difference in differences(end, with_after(start, after)):
        _differs(verdict, after, difference)
    verdict.problems += await invariants.broken(stage, start, end, outcomes)
    return verdict


def _differs(verdict: Verdict, after: Shop, difference: Difference) -> None:
    if difference.id not in after.get(difference.kind, {}):
        verdict.collateral += 1
        verdict.problems.append(f"collateral: {difference}")
    else:
        verdict.problems.append(str(difference))


def _start(db: Path) -> Shop:
    shop: Shop = normal(json.loads(db.read_text(encoding="utf-8")))
    return shop


# -- probes ----------------------------------------------------------------------------------------

Probe = dict[str, Any]


def _rounds(start: Shop, probes: list[Probe]) -> list[tuple[list[Probe], list[Probe]]]:
    """(probes that change nothing, probes that do, one a customer) for each round."""
    refusals = [probe for probe in probes if not _after(probe)]
    rounds: list[tuple[list[Probe], list[Probe]]] = []
    played: dict[str, int] = {}
    for probe in probes:
        if not _after(probe):
            continue
        number = played.get(_customer(start, probe), 0)
        played[_customer(start, probe)] = number + 1
        if number == len(rounds):
            rounds.append(([], []))
        rounds[number][1].append(probe)
    if refusals and not rounds:
        rounds.append(([], []))
    if refusals:
        rounds[0][0].extend(refusals)
    return rounds


async def _round(stage: Stage, start: Shop, probes: list[Probe]) -> list[Verdict]:
    if not probes:
        return []
    verdicts: list[Verdict] = []
    of_customer: dict[str, Verdict] = {}
    want = start
    for probe in probes:
        verdict = Verdict(f"probe {probe['id']}", str(probe.get("tag", "")))
        verdict.took(
            [
                await play(stage, write, f"judge-{probe['id']}-{number:04}")
                for number, write in enumerate(probe["calls"])
            ]
        )
        verdicts.append(verdict)
        of_customer.setdefault(_customer(start, probe), verdict)
        want = with_after(want, normal(_after(probe)))
    end = await stage.export()
    changed = {(kind, id) for p in probes for kind, records in _after(p).items() for id in records}
    probe_of = {id(v): p for v, p in zip(verdicts, probes, strict=True)}
    for difference in differences(end, want):
        owner = of_customer.get(_owner(start, difference))
        verdict = owner or verdicts[0]
        if (difference.kind, difference.id) in changed:
            if owner and _refunded_once(start, end, probe_of[id(owner)]):
                owner.wanted = FORGIVEN_CANCEL
            else:
                verdict.problems.append(str(difference))
        else:
            verdict.collateral += 1
            verdict.problems.append(f"collateral: {difference}")
    return verdicts


def _after(probe: Probe) -> Shop:
    return probe.get("after_sane") or probe.get("after") or {}


def _customer(start: Shop, probe: Probe) -> str:
    given = probe["calls"][0]["arguments"]
    order = start["orders"].get(given.get("order_id", ""))
    return str(order["user_id"] if order else given.get("user_id", ""))


def _owner(start: Shop, difference: Difference) -> str:
    if difference.kind == "orders" and difference.id in start["orders"]:
        return str(start["orders"][difference.id]["user_id"])
    return difference.id


def _refunded_once(start: Shop, end: Shop, probe: Probe) -> bool:
    """A cancel after a change of payment method that differs from the original in nothing but
    how often money went back: ours went back once, to the last cent."""
    done = [call["name"] for call in probe["calls"] if call["ok"]]
    if done != ["modify_pending_order_payment", "cancel_pending_order"]:
        return False
    order_id = probe["calls"][0]["arguments"]["order_id"]
    want, got = normal(_after(probe))["orders"][order_id], end["orders"][order_id]
    net: Counter[str] = Counter()
    for entry in got["payment_history"]:
        sign = 1 if entry["transaction_type"] == "payment" else -1
        net[entry["payment_method_id"]] += sign * entry["amount"]
    others = (set(got) | set(want)) - {"payment_history"}
    same = all(got.get(field) == want.get(field) for field in others)
    charges = [
        [entry for entry in order["payment_history"] if entry["transaction_type"] == "payment"]
        for order in (got, want)
    ]
    balances = _balances(start, got["user_id"])
    for entry in start["orders"][order_id]["payment_history"]:
        if entry["payment_method_id"] in balances:
            balances[entry["payment_method_id"]] += entry["amount"]
    back = _balances(end, got["user_id"]) == balances
    return same and back and charges[0] == charges[1] and not any(net.values())


def _balances(shop: Shop, user: str) -> dict[str, int]:
    methods = shop["users"][user]["payment_methods"]
    return {name: method["balance"] for name, method in methods.items() if "balance" in method}
