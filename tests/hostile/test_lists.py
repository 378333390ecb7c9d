"""109, for every list of every server: at most a hundred rows, a cursor that leads through all of
them, and a typed refusal for any other size or a forged cursor. Which tools are lists is found from
the contracts, so a new one is tested the day it is offered."""

import base64
import json
from pathlib import Path
from random import Random
from typing import Any

from common.paging import encoded
from servers.run import DOMAINS
from tests.contract.snapshot import path
from tests.hostile.schemas import CURSORS, Maker
from tests.hostile.stand import Stand, standing, toolset
from tests.support.shop import call, connected

# The best of what was found, ranked: there is no next page of "best".
RANKED = {("storefront", "search_products"), ("storefront", "get_recommendations")}
# In a cursor: out of 64 bits, and what one database or the other takes in no text or time.
UNKEPT: dict[type, tuple[Any, ...]] = {
    int: (2**63, -(2**70)),
    str: ("a\0", "\ud800", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
}
SIZES = (0, -1, 101, 10**9, 2.5, "5", True)


def lists() -> list[tuple[str, str, dict[str, Any]]]:
    """Server, tool and contract of everything that takes a size."""
    found = []
    for domain in DOMAINS:
        for tool in json.loads(path(domain).read_text())["tools"]:
            if "limit" in tool["inputSchema"]["properties"]:
                found.append((domain, tool["name"], tool))
    return found


def pages() -> list[tuple[str, str, dict[str, Any]]]:
    return [each for each in lists() if each[:2] not in RANKED]


def test_every_server_has_some() -> None:
    assert {domain for domain, _, _ in lists()} == set(DOMAINS)
    assert {each[:2] for each in lists()} >= RANKED


def test_whatever_is_named_a_list_is_one() -> None:
    """A reading tool that answers many rows of the same kind takes a size and a cursor."""
    known = {(domain, name) for domain, name, _ in lists()}
    for domain in DOMAINS:
        for tool in json.loads(path(domain).read_text())["tools"]:
            reads = tool["annotations"]["readOnlyHint"]
            named = tool["name"].startswith(("list_", "search_", "detect_", "find_"))
            paged = "next_cursor" in tool["outputSchema"].get("properties", {})
            one = (domain, tool["name"]) == ("orders", "find_customer")
            if reads and (named or paged) and not one:
                assert (domain, tool["name"]) in known


def test_their_contracts_say_so() -> None:
    for domain, name, tool in lists():
        limit = tool["inputSchema"]["properties"]["limit"]
        assert limit["minimum"] == 1, (domain, name)
        assert 1 <= limit["default"] <= limit["maximum"] <= 100, (domain, name)
    for domain, name, tool in pages():
        assert "cursor" in tool["inputSchema"]["properties"], (domain, name)
        assert "next_cursor" in tool["outputSchema"]["properties"], (domain, name)


def needed(stand: Stand, domain: str, tool: dict[str, Any]) -> dict[str, Any]:
    """What a call cannot do without."""
    schema = tool["inputSchema"]
    made = Maker(stand.ids, domain, Random(0)).group(schema, schema.get("$defs", {}))
    return made | ({"query": "cup"} if "query" in made else {})


async def test_other_sizes_and_forged_cursors_are_refused(url: str, tmp_path: Path) -> None:
    async with standing(url, tmp_path) as stand:
        before = await stand.harm()
        async with connected(stand.shop, toolset("storefront")) as storefront:
            clients = stand.clients | {"storefront": storefront}
            for domain, name, tool in lists():
                arguments = needed(stand, domain, tool)
                records, tried = await stand.refusals(), 0
                bad: list[dict[str, Any]] = [{"limit": size} for size in SIZES]
                if (domain, name) not in RANKED:
                    bad += [{"cursor": cursor} for cursor in (*CURSORS, "", 5)]
                for wrong in bad:
                    answer = await call(clients[domain], name, **(arguments | wrong))
                    assert answer.get("code") == "invalid_parameters", (name, wrong, answer)
                    tried += 1
                assert await stand.refusals() == records + tried, f"{name}: each is on record"
        assert await stand.harm() == before


# Arguments that name a record, and words that stand for none or are free text.
NAMING = {
    "carrier", "carrier_id", "customer_id", "depot", "order_id", "payment_id", "region",
    "shipment_id", "sku", "supplier", "warehouse",
}  # fmt: skip


async def test_a_filter_that_names_nothing_is_refused(url: str, tmp_path: Path) -> None:
    """An empty list would say that there is none of what was meant."""
    tried = set()
    async with standing(url, tmp_path) as stand:
        for domain, name, tool in lists():
            if domain == "storefront":
                continue
            arguments = needed(stand, domain, tool)
            for field in sorted(NAMING & tool["inputSchema"]["properties"].keys()):
                asked = arguments | {field: "NONE-SUCH"}
                answer = await stand.call(domain, name, asked)
                refused = ("not_found", "product_not_found", "invalid_parameters")
                assert answer.get("code") in refused, (name, field, answer)
                assert answer.get("details"), (name, field, answer)
                tried.add((name, field))
        for few, (domain, name, field) in {
            "carriers": ("logistics", "list_shipments", "carrier"),
            "depots": ("logistics", "list_drivers", "depot"),
            "suppliers": ("inventory", "list_purchase_orders", "supplier"),
            "warehouses": ("orders", "search_orders", "warehouse"),
        }.items():
            answer = await stand.call(domain, name, {field: "NONE-SUCH"})
            assert answer["details"][few], "those there are"
        late = await stand.call("claims", "draft_late_claims", {"carrier_id": "NONE-SUCH"})
        assert late["code"] == "not_found"
    assert len(tried) > 20


async def test_a_range_does_not_end_before_it_begins(url: str, tmp_path: Path) -> None:
    tried = 0
    async with standing(url, tmp_path) as stand:
        for domain, name, tool in lists():
            fields = tool["inputSchema"]["properties"].keys()
            for begin in [field for field in fields if field.endswith("_from")]:
                end = f"{begin.removesuffix('_from')}_to"
                asked = {begin: "2026-12-06", end: "2026-12-05"}
                answer = await stand.call(domain, name, asked)
                assert answer.get("code") == "invalid_parameters", (name, answer)
                assert answer["message"] == f"{end}: a date not before {begin}"
                same = {begin: "2026-12-05", end: "2026-12-05"}
                assert "code" not in await stand.call(domain, name, same)
                tried += 1
    assert tried >= 2


async def test_a_cursor_of_values_no_database_takes_is_refused(url: str, tmp_path: Path) -> None:
    """Of the right form, each value in turn one that overflows, or that no text may hold."""
    tried: set[type] = set()
    async with standing(url, tmp_path) as stand:
        for domain, name, tool in pages():
            arguments = needed(stand, domain, tool)
            page = await stand.call(domain, name, arguments | {"limit": 1})
            if "next_cursor" not in page:
                continue
            values = plain(page["next_cursor"])
            for place, value in enumerate(values):
                for wrong in UNKEPT[type(value)]:
                    forged = encoded([*values[:place], wrong, *values[place + 1 :]])
                    answer = await call(
                        stand.clients[domain], name, **arguments, limit=1, cursor=forged
                    )
                    # An odd time is an ordinary text where no time belongs.
                    odd = isinstance(wrong, str) and wrong[0].isdigit()
                    fine = (None, "invalid_parameters") if odd else ("invalid_parameters",)
                    assert answer.get("code") in fine, (name, wrong, answer)
                    tried.add(type(value))
    assert tried == {int, str}


def plain(cursor: str) -> list[Any]:
    found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    assert isinstance(found, list)
    return found


async def test_pages_lead_through_everything_once(url: str, tmp_path: Path) -> None:
    walked = set()
    async with standing(url, tmp_path) as stand:
        for domain, name, tool in pages():
            arguments = needed(stand, domain, tool)
            whole = await stand.call(domain, name, arguments | {"limit": 100})
            rows = rows_of(whole)
            if "next_cursor" in whole or len(rows) < 3:
                continue
            found: list[Any] = []
            cursor: dict[str, str] = {}
            for _ in range(len(rows) + 1):
                page = await stand.call(
                    domain, name, arguments | cursor | {"limit": max(2, len(rows) // 4)}
                )
                found += rows_of(page)
                if "next_cursor" not in page:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert found == rows, name
            walked.add(domain)
    assert walked >= {"inventory", "orders", "payments"}, walked


def rows_of(answer: dict[str, Any]) -> list[Any]:
    lists = {name: rows for name, rows in answer.items() if isinstance(rows, list)}
    lists.pop("notes", None)
    return max(lists.values(), key=len, default=[])
