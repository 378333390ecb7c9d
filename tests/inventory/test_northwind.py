"""The reorder levels of a catalogue nobody here wrote decide what list_low_stock says."""

import csv
from pathlib import Path

from clients.importers import FORMATS, loader
from common.clock import utc_now
from servers.inventory.tools import tools
from tests.support import data
from tests.support.shop import a_shop, actor, connected, done


async def test_reorder_levels_of_northwind(tmp_path: Path):
    folder = data("northwind")
    with (folder / "products.csv").open(encoding="utf-8") as file:
        rows = {row["productID"]: row for row in csv.DictReader(file)}
    low = {id for id, row in rows.items() if int(row["unitsInStock"]) <= int(row["reorderLevel"])}
    ended = {id for id in low if number(rows[id], "discontinued")}
    short = {
        id
        for id in low - ended
        if number(rows[id], "unitsInStock") + number(rows[id], "unitsOnOrder")
        <= number(rows[id], "reorderLevel")
    }
    async with a_shop(tmp_path, clock=utc_now) as shop:
        report = await loader.load(shop, FORMATS["northwind"], folder, by=actor())
        assert not report.refused
        async with connected(shop, tools) as client:
            found = await done(client, "list_low_stock", limit=100)
    by_action: dict[str, set[str]] = {}
    for item in found["items"]:
        by_action.setdefault(item["action"], set()).add(item["sku"])
    # What is on order has no date in the files, so it is to be hurried.
    assert by_action == {"reorder_now": short, "expedite": low - ended - short, "ignore": ended}
    assert short == {"30", "70"}
    assert "may be stale" in found["notes"][0]


def number(row: dict[str, str], column: str) -> int:
    return int(row[column])
