"""The bad inputs of the threat list, items 96 to 121, one entry each: a reader can tick them off.

An entry is calls that are made here, on both databases, or the names of the tests that make them.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.hostile.stand import digest
from tests.hostile.test_business import REFUND, ROWS, filled, grounds, newest
from tests.sagas.town import HOUSE, LAMP, Town

BAD = "invalid_parameters"


class Call(NamedTuple):
    server: str
    tool: str
    arguments: dict[str, Any]
    code: str = BAD


def refund(**change: Any) -> Call:
    return Call("payments", "refund_payment", REFUND | change)


def note(text: Any) -> Call:
    return Call("orders", "add_order_note", {"order_id": "$order", "text": text})


def customer(code: str = BAD, **by: Any) -> Call:
    return Call("orders", "find_customer", by, code)


def order(**change: Any) -> Call:
    asked = {
        "customer_id": "cus-1", "payment_method_id": "card-1", "warehouse": HOUSE,
        "lines": [{"sku": LAMP, "quantity": 1}],
    }  # fmt: skip
    return Call("orders", "place_order", asked | change)


def named(sku: str, code: str = BAD) -> Call:
    return order(lines=[{"sku": sku, "quantity": 1}])._replace(code=code)


def listed(**by: Any) -> Call:
    return Call("orders", "search_orders", by)


BUSINESS, ARGUMENTS = "tests.hostile.test_business", "tests.hostile.test_arguments"
Entry = tuple[str, tuple[Call | str, ...]]
ITEMS: dict[int, Entry] = {
    96: ("amounts that are none", tuple(
        refund(amount_minor=amount)
        for amount in (0, -1, 0.5, "5", True, 2**63, 2**200, 1e308, float("nan"), None)
    )),
    97: ("price × quantity over every bound", (
        f"{BUSINESS}:test_a_sum_that_no_money_has",
        order(lines=[{"sku": LAMP, "quantity": 2**63}]),
    )),
    98: ("another currency than the order's", (
        refund(currency="USD"), refund(currency="JPY"), refund(currency="ZZZ"),
        refund(currency="eur"),
    )),
    99: ("decimals the currency has not", (
        refund(amount_minor=10.5, currency="JPY"), refund(amount_minor=1.2345, currency="KWD"),
        "tests.clients.test_reconcile:test_decimals_are_the_currencys",
    )),
    100: ("a key nobody asked for", (
        refund(approved=True), refund(level=0),
        order(lines=[{"sku": LAMP, "quantity": 1, "price_minor": 1}]),
        f"{ARGUMENTS}:test_what_an_argument_must_not_be",
    )),
    101: ("a key twice", (
        "tests.http.test_attacks:TABLE",
        "tests.hostile.test_pipes:test_a_member_twice_is_refused_and_the_next_line_is_heard",
    )),
    102: ("SQL in text", (
        named("';DROP", "not_found"), named("%", "not_found"), named("LAM_", "not_found"),
        named("\\", "not_found"), customer("not_found", email="';DROP--@x"),
        customer("not_found", email="%@%"), customer("not_found", customer_id="cus__"),
        customer("not_found", first_name="%", last_name="%", postal_code="%"),
        f"{__name__}:test_sql_in_a_note_is_a_note",
    )),
    103: ("NUL", (note("a\0b"), customer(email="a\0@example.com"), named("LAMP\0"))),
    104: ("letters that look alike or are not seen", (
        named("L\u0410MP"), named("LAMP\u200b"), named("\u202eLAMP"), named("LA\u0301MP"),
        customer(email="an\u200ba@example.com"), customer(email="ana@example.com\u202e"),
        note("pay\U000e0041\U000e0042"), note("a\u2066b"),
    )),
    105: ("a note of a megabyte", (note("A" * 1_000_000), listed(email="a@" + "b" * 1_000_000))),
    106: ("addresses of nothing", (f"{ARGUMENTS}:test_addresses_of_nothing",)),
    107: ("patterns that never end", (
        customer("not_found", first_name="(a+)+$" * 20, last_name="%_" * 90, postal_code="%_%_%_%"),
        customer("not_found", email="a" * 60 + "@" + "%_" * 60),
        customer("not_found", email="(" * 250 + "@x"), customer(email="(" * 260 + "@x"),
    )),
    108: ("days that are none", tuple(
        listed(placed_from=day)
        for day in ("0000-01-01", "9999-12-31", "2026-02-30", "2026-11-01T00:00:00Z",
                    "2026-11-01+02:00", "20261101", "")
    )),
    109: ("page sizes and cursors", (
        listed(limit=10**9), listed(limit=0), listed(cursor="forged"),
        "tests.hostile.test_lists:test_other_sizes_and_forged_cursors_are_refused",
    )),
    110: ("addresses to fetch", (f"{ARGUMENTS}:test_no_argument_is_an_address_to_fetch",)),
    111: ("ids of another shop", (f"{BUSINESS}:test_refused_without_a_trace_but_the_record",)),
    112: ("a reader writes", (f"{BUSINESS}:test_refused_without_a_trace_but_the_record",)),
    113: ("a right of a sibling", (f"{BUSINESS}:test_refused_without_a_trace_but_the_record",)),
    114: ("a refund beyond what was taken, twice, fifty at once", (
        refund(amount_minor=10**9)._replace(code="insufficient_funds"),
        "tests.payments.test_parallel:test_fifty_refunds_of_all_there_is",
        "tests.payments.test_parallel:test_two_hundred_captures",
    )),
    115: ("the last unit two hundred times", (
        "tests.common.test_race:test_two_hundred_units_are_sold_once",
    )),
    116: ("a return of what was not sent", (
        Call("returns", "request_return", {"order_id": "$order"}, "rule_violation"),
    )),
    117: ("one refund as twenty", (f"{BUSINESS}:test_one_refund_split_into_twenty",)),
    118: ("one key for two intents", (f"{BUSINESS}:test_one_key_for_two_intents",)),
    119: ("somebody else's key", (f"{BUSINESS}:test_somebody_elses_key",)),
    120: ("killed between effect and reply", (
        "tests.faults.test_faults:test_a_server_killed_in_a_call_leaves_a_shop_that_opens",
        "tests.payments.test_parallel:test_the_same_refund_after_its_worker_was_killed",
    )),
    121: ("a clock put back", (f"{BUSINESS}:test_a_clock_put_back",)),
}  # fmt: skip


def test_none_is_left_out() -> None:
    assert list(ITEMS) == list(range(96, 122))
    assert all(entries for _, entries in ITEMS.values())
    for number in (111, 112, 113):
        assert any(row.id.startswith(f"{number}-") for row in ROWS), number


@pytest.mark.parametrize("number", ITEMS)
def test_the_tests_it_names_are_there(number: int) -> None:
    for entry in ITEMS[number][1]:
        if isinstance(entry, str):
            module, _, name = entry.partition(":")
            names = vars(import_module(module))
            assert name in names, entry


async def test_each_is_refused_leaves_no_trace_and_is_on_record(tmp_path: Path, empty: str) -> None:
    async with grounds(tmp_path, empty) as (town, ids):
        for number, (what, entries) in ITEMS.items():
            calls = [each for each in entries if isinstance(each, Call)]
            before = await town.look(digest)
            for each in calls:
                records, _ = await newest(town.shop)
                answer = await asked(town, each, ids)
                assert answer.get("code") == each.code, (number, what, each, answer)
                assert set(answer) == {"code", "message", "details", "next"}, (number, each)
                assert len(str(answer)) < 4_000, (number, "a refusal repeats no flood")
                after, _ = await newest(town.shop)
                reads = each.tool.startswith(("find_", "search_"))
                assert after == records + 1 or reads, (number, each)
            assert await town.look(digest) == before, (number, what)


async def asked(town: Town, each: Call, ids: dict[str, str]) -> dict[str, Any]:
    return await town.ask(each.server, each.tool, **filled(each.arguments, ids))


async def test_sql_in_a_note_is_a_note(tmp_path: Path, empty: str) -> None:
    """102: what is allowed as text is kept as it was written, and does nothing else."""
    texts = ["'; DROP TABLE order_note; --", "%", "_", "\\", '" OR 1=1', "$1 :x {0} %s"]
    async with grounds(tmp_path, empty) as (town, ids):
        for text in texts:
            await town.do("orders", "add_order_note", order_id=ids["order"], text=text)
        whole = await town.do("orders", "get_order", order_id=ids["order"])
        assert [each["text"] for each in whole["notes"]] == texts
