"""mcp-groundtruth: whether what the tools say of themselves is true of the database.

It starts a server on a copy of one shop, calls one tool once or twice, and compares every table,
row for row, and every file beside the database, with a start at which nothing was called; three
times each. What it can refute: that a tool only reads, and that a tool destroys nothing.
"""

import asyncio
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from common.settings import inherited
from tests.judges.outside import asked, knocking, steady
from tests.judges.outside.asked import ASKED, CUSTOMER
from tests.judges.outside.stage import Stage, Verdict

ROOT: Final = Path(__file__).resolve().parents[3]
AT_ONCE: Final = 2
STARTING_S: Final = 60

LOGS: Final = ("audit_record", "audit_payload", "stored_result", "policy_use", "access_record",
               "transfer")  # fmt: skip
# Sums and ends of rows that are compared themselves: of transfers, and of the record.
SUMS: Final[dict[str, tuple[str, ...]]] = {
    "account": ("debits_posted", "credits_posted", "debits_pending", "credits_pending"),
    "audit_head": ("seq", "h", "prev"),
}
NOTICES: Final[dict[str, tuple[str, ...]]] = {
    "shop.db.notices": ("content",)
}  # what was told to other processes


async def told(stage: Stage) -> list[Verdict]:
    """Every server, and that the judge objects where it must."""
    seed = stage.folder / "hints" / "seed"
    await asked.prepared(seed, steady.NOW)
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(name: str, domain: str, tools: list[str], **switches: bool) -> Any:
        async with turns:
            return await _report(stage, seed, door, name, domain, tools, switches)

    async with _steady(stage) as door:
        *found, recorded, lying = await asyncio.gather(
            *(in_turn(domain, domain, list(tools)) for domain, tools in ASKED.items()),
            in_turn("recorded", "inventory", ["get_stock"], records=True),
            in_turn("lying", "inventory", ["reserve_stock"], lying=True),
        )
    return [
        *(_verdict(domain, report) for domain, report in zip(ASKED, found, strict=True)),
        _objected("access records", recorded, {"access_record"}),
        _objected("a false hint", lying, {"reservation", "transfer"}),
    ]


@asynccontextmanager
async def _steady(stage: Stage) -> AsyncIterator[Path]:
    """Where servers are to be had."""
    door = stage.folder / "steady"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", steady.__name__, str(door), cwd=ROOT,
        env=inherited(PYTHONPATH=str(ROOT)), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    try:
        await asyncio.wait_for(process.stdout.readline(), STARTING_S)
        yield door
    finally:
        process.terminate()
        await process.wait()


async def _report(
    stage: Stage, seed: Path, door: Path, name: str, domain: str, tools: list[str],
    switches: dict[str, bool],
) -> dict[str, Any] | str:  # fmt: skip
    target = stage.folder / "hints" / name
    await asyncio.to_thread(shutil.copytree, seed, target / "seed")
    wanted = json.dumps({"domain": domain, "records": False, "lying": False} | switches)
    command = [sys.executable, "-S", "-E", str(knocking.__file__), str(door), wanted]
    text = _target(name, command, target / "seed" / "shop.db", {t: ASKED[domain][t] for t in tools})
    (target / "target.toml").write_text(text, encoding="utf-8")
    code, said = await stage.run(
        "mcpgt", "run", str(target), "--audit", "--fail-on-violation",
        "--runs-dir", str(target / "runs"), PATH=os.environ["PATH"],
    )  # fmt: skip
    written = list((target / "runs").glob("*/report.json"))
    if not written:
        return f"{code}: {said[-400:]}"
    report: dict[str, Any] = json.loads(written[0].read_text(encoding="utf-8"))
    return report | {"code": code}


def _target(name: str, command: list[str], file: Path, tools: dict[str, dict[str, Any]]) -> str:
    """What the judge is told: where the state is, what is which, and what to ask."""
    database = sqlite3.connect(file)
    try:
        tables = [name for (name,) in database.execute(
            "select name from sqlite_schema where type = 'table'")]  # fmt: skip
        calls = [{"name": tool, "arguments": {
            argument: _found(database, value) for argument, value in arguments.items()
        }} for tool, arguments in tools.items()]  # fmt: skip
    finally:
        database.close()
    given = {
        "target": {"name": name, "command": command, "env": {
            "SHOP_HOME": "{state}", "SHOP_DUTIES": "0", "SHOP_RATE_LIMITS": "off",
            "SHOP_OPERATOR": "ana@example.com", "SHOP_CUSTOMER": CUSTOMER,
        }},
        "state": {"locations": ["fs:.", "sqlite:shop.db"]},
        "adapters": [
            {"kind": "fs", "label": ".", "seed": "seed", "business": [], "append_only": [],
             "mask": _masks(NOTICES)},
            {"kind": "sqlite", "label": "shop.db", "append_only": list(LOGS),
             "business": [table for table in tables if table not in LOGS], "mask": _masks(SUMS)},
        ],
        "tools": calls,
    }  # fmt: skip
    return "\n".join(f"{key} = {_toml(value)}" for key, value in given.items())


def _found(database: sqlite3.Connection, value: Any) -> Any:
    """A value, or what a query finds: ids that are drawn are not known beforehand."""
    if isinstance(value, str) and value.startswith("select "):
        return database.execute(value).fetchone()[0]
    return value


def _masks(columns: dict[str, tuple[str, ...]]) -> list[dict[str, str]]:
    return [{"region": region, "column": column, "kind": "random_token"}
            for region, names in columns.items() for column in names]  # fmt: skip


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _verdict(domain: str, report: dict[str, Any] | str) -> Verdict:
    """Passed: of every tool one claim was tested, on calls that were not refused, and held."""
    if isinstance(report, str):
        return Verdict("mcp-groundtruth", domain, "failed", report)
    objections, held = [], {"read_only": 0, "destructive": 0}
    for tool in report["tools"]:
        refused = [s["label"] for s in tool["sessions"]
                   if any(error["position"] == 1 for error in s["call_errors"])]  # fmt: skip
        tested = [v for v in tool["verdicts"] if v["outcome"] != "NOT_APPLICABLE"]
        for verdict in tested:
            if verdict["outcome"] == "PASS":
                held[verdict["test"]] += 1
            else:
                why = [issue["detail"] for issue in verdict["issues"]] or sorted(_touched(verdict))
                objections.append(f"{tool['tool']}: {verdict['test']} {verdict['outcome']} {why}")
        if refused or not tested:
            objections.append(f"{tool['tool']}: {'refused' if refused else 'nothing tested'}")
    if objections or report["code"]:
        return Verdict("mcp-groundtruth", domain, "failed", "; ".join(objections))
    said = f"{held['read_only']} tools only read, {held['destructive']} destroy nothing"
    return Verdict("mcp-groundtruth", domain, "passed", said)


def _touched(verdict: dict[str, Any]) -> set[str]:
    return {
        region["region"]
        for run in verdict["observed"]["runs"]
        for delta in run["deltas"]
        for regions in delta["by_category"].values()
        for region in regions
    }


def _objected(check: str, report: dict[str, Any] | str, where: set[str]) -> Verdict:
    """It must object, in these tables (and for a read, in no other one)."""
    if isinstance(report, str):
        return Verdict("mcp-groundtruth", check, "failed", report)
    (tool,) = report["tools"]
    verdict = next(v for v in tool["verdicts"] if v["test"] == "read_only")
    touched = _touched(verdict)
    exact = touched == where if len(where) == 1 else where <= touched
    good = verdict["outcome"] == "VIOLATION" and report["code"] == 1 and exact
    said = f"{tool['tool']}: {verdict['outcome']} of {verdict['test']} in {sorted(touched)}"
    return Verdict("mcp-groundtruth", check, "passed" if good else "failed", said)
