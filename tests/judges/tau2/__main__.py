"""python -m tests.judges.tau2"""

import argparse
import asyncio
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from tests.judges.tau2.judge import Result, judge


def main() -> int:
    """0: all equal but for the wanted differences. 1: not so. 2: a file is not there."""
    given = _arguments()
    db: Path = given.db or given.tasks.parent / "db.json"
    for file in filter(None, (db, given.tasks, given.probes)):
        if not file.is_file():
            print(f"There is no file {file}", file=sys.stderr)
            return 2
    logging.getLogger("mcp").setLevel(logging.ERROR)
    started = time.monotonic()
    tasks = _lines(given.tasks, given.limit)
    probes = _lines(given.probes, given.limit) if given.probes else []
    say = _bar if sys.stderr.isatty() else lambda _: None
    result = asyncio.run(judge(db, tasks, probes, say=say))
    if given.json:
        print(json.dumps(result.as_dict(), ensure_ascii=False, indent=2))
    else:
        _show(result, time.monotonic() - started)
    return 0 if result.good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.judges.tau2", description="Replay tau2 retail tasks on the servers."
    )
    parser.add_argument("--tasks", type=Path, required=True, help="tasks, JSON by line")
    parser.add_argument("--probes", type=Path, help="short call sequences, JSON by line")
    parser.add_argument("--db", type=Path, help="the shop (default: db.json beside the tasks)")
    parser.add_argument("--limit", type=int, help="only the first N tasks and the first N probes")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return parser.parse_args()


def _lines(file: Path, limit: int | None) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    return rows[:limit]


def _bar(text: str) -> None:
    print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)


def _show(result: Result, seconds: float) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in result.imported.items() if count)
    print(f"imported: {kinds}")
    print(f"round trip: {'equal' if not result.round_trip else 'DIFFERENT'}")
    for line in result.round_trip[:20]:
        print(f"  {line}")
    for name, verdicts in (("tasks", result.tasks), ("probes", result.probes)):
        if not verdicts:
            continue
        f = result.figures(verdicts)
        wanted = f", {f['wanted_differences']} differ as wanted" if f["wanted_differences"] else ""
        print(f"{name} equal: {f['equal']}/{f['all']}{wanted}")
        print(f"{name}, outcomes of writes equal: {f['writes_equal']}/{f['writes']}")
        print(f"{name}, collateral changes: {f['collateral_changes']}")
    for verdict in (*result.tasks, *result.probes):
        for problem in verdict.problems:
            print(f"  {verdict.id} {verdict.tag}: {problem}")
    wants = sorted({verdict.wanted for verdict in result.probes if verdict.wanted})
    for wanted_text in wants:
        ids = [v.id.removeprefix("probe ") for v in result.probes if v.wanted == wanted_text]
        print(f"  {len(ids)} probes ({', '.join(ids)}): {wanted_text}")
    print(f"{seconds:.0f} s")


if __name__ == "__main__":
    raise SystemExit(main())
