"""``python -m benchmarks.bulk_plan``: 1,000 stops over 40 vans through the ``plan_routes`` tool.

A shop on SQLite, its logistics server as a process of its own, a client over stdio. Told are the
progress reports, the server's highest resident memory, and how soon a cancelled call has ended.
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from mcp import Client, StdioServerParameters

from common.call import Call
from common.clock import utc_now
from common.settings import Settings, inherited
from common.shop import opened
from common.tables.fleet import Depot, Driver, Vehicle
from common.tables.inventory import Warehouse
from common.tables.logistics import Shipment
from tests.support.shop import do

ROOT: Final = Path(__file__).resolve().parents[1]
STOPS, VANS = 1_000, 40


def world(call: Call) -> None:
    """A city with one depot; shipments that wait for a van."""
    dice, place = Random(5), {"lat_e6": 52_520_000, "lon_e6": 13_405_000}
    call.add(Warehouse(id="WH-1", name="WH-1", region="north", address={}, timezone="UTC", **place))
    call.add(Depot(id="DEP-1", name="DEP-1", warehouse_id="WH-1", timezone="UTC", **place))
    for number in range(VANS):
        call.add(
            Vehicle(
                id=f"VAN-{number}", name=f"Van {number}", depot_id="DEP-1",
                capacity_weight_g=800_000, capacity_volume_cm3=6_000_000, cost_per_km_minor=50,
                fixed_cost_minor=1_000, currency="EUR",
            )
        )  # fmt: skip
        call.add(
            Driver(
                id=f"DRV-{number}", name=f"Driver {number}", depot_id="DEP-1", status="available",
                status_at=call.now, shift_start_minute=7 * 60, shift_end_minute=16 * 60,
            )
        )  # fmt: skip
    for number in range(STOPS):
        call.add(
            Shipment(
                id=f"shp-{number}", warehouse_id="WH-1", status="created", status_at=call.now,
                ship_to={"city": "Berlin"}, weight_g=dice.randint(500, 25_000),
                volume_cm3=dice.randint(500, 60_000), service_seconds=300, currency="EUR",
                lat_e6=place["lat_e6"] + dice.randint(-90_000, 90_000),
                lon_e6=place["lon_e6"] + dice.randint(-150_000, 150_000), created_at=call.now,
            )
        )  # fmt: skip


async def measured(iterations: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load(inherited(SHOP_HOME=folder))
        async with opened(settings, duties=False) as shop:
            await do(shop, "*", world)
            return await _through_the_tool(Path(folder), iterations)


async def _through_the_tool(home: Path, iterations: int) -> dict[str, Any]:
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "servers", "logistics"], cwd=str(ROOT),
        env=inherited(SHOP_HOME=str(home), SHOP_DUTIES="0", PYTHONPATH=str(ROOT)),
    )  # fmt: skip
    day = (utc_now() + timedelta(days=1)).date().isoformat()
    async with Client(parameters, read_timeout_seconds=600) as client:
        server = _child()
        idle, heard = _peak_mb(server), asyncio.Event()
        reports: list[float] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            reports.append(progress)
            heard.set()

        def plan(count: int) -> asyncio.Task[Any]:
            arguments = {"date": day, "iterations": count, "seed": 1}
            asked = client.call_tool("plan_routes", arguments, progress_callback=hear)
            return asyncio.ensure_future(asked)

        task = plan(20_000)
        await heard.wait()
        task.cancel()
        await asyncio.wait([task])
        began, before = time.perf_counter(), _cpu(server)
        while time.perf_counter() - began < 20:
            await asyncio.sleep(0.25)
            now = _cpu(server)
            if now == before:
                break
            before = now
        quiet = time.perf_counter() - began - 0.25
        written = _routes(home)
        reports.clear()
        began = time.perf_counter()
        result = await plan(iterations)
        took = time.perf_counter() - began
        answer = result.structured_content or {}
        return {
            "routes after the cancelled call": written,
            "cancelled: server at rest after, s": round(quiet, 2),
            "assigned": answer.get("assigned"), "answer": str(answer.get("message", ""))[:200],
            "routes": _routes(home), "seconds": round(took, 1), "reports": len(reports),
            "resident MB, idle": idle, "resident MB, highest": _peak_mb(server),
        }  # fmt: skip


def _routes(home: Path) -> int:
    with sqlite3.connect(home / "shop.db") as db:
        return int(db.execute("select count(*) from route").fetchone()[0])


def _child() -> int:
    """The server's process."""
    me = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    found = [pid for pid in me if "logistics" in Path(f"/proc/{pid}/cmdline").read_text()]
    return int(found[0])


def _peak_mb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def _cpu(pid: int) -> int:
    """Ticks spent so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=1_000)
    for name, value in asyncio.run(measured(parser.parse_args().iterations)).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
