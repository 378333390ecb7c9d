"""A provider's CSV file at the terminal: read by its headers, booked once, differences listed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

from clients import payout_file
from clients.cli import app
from common.call import Call
from common.clock import utc_now
from common.errors import InvalidParameters
from common.rules import funds, paid
from common.shop import Shop
from common.tables.payments import Payout
from tests.payments.seed import charged, world
from tests.support.shop import a_shop, do, look

FILE = """\
Type,Reference,Gross,Fee,Net,Currency,Payout ID
charge,pay-1,100.00,1.90,98.10,eur,po-7
Charge,pay-2,90.00,0.10,89.90,EUR,po-7

refund,{refund},-20.00,0,-20.00,EUR,po-7
stripe_fee,monthly,-0.05,,-0.05,EUR,po-7
charge,pay-x,0.05,,0.05,EUR,po-7
payout,po-7,-168.00,,,EUR,po-7
charge,pay-9,11.00,,11.00,EUR,po-8
"""
COMMON = ("--provider", "bank_of", "--currency", "EUR", "--arrived", "2026-11-02")


@pytest.fixture
def where(url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of an empty shop on either database."""
    return {
        "SHOP_HOME": str(tmp_path), "SHOP_OPERATOR": "ana@example.com", "COLUMNS": "200",
        "SHOP_DATABASE_URL": url,
    }  # fmt: skip


def inside(where: dict[str, str], work: Any) -> Any:
    async def go() -> Any:
        folder, url = Path(where["SHOP_HOME"]), where["SHOP_DATABASE_URL"]
        async with a_shop(folder, clock=utc_now, database_url=url) as shop:
            return await work(shop)

    return asyncio.run(go())


def sold(call: Call) -> str:
    """Two payments of 100.00, and 20.00 of the first given back."""
    world(call)
    for number in (1, 2):
        charged(f"ord-{number}", payment_id=f"pay-{number}")(call)
    (made,) = paid.refund_order(call, "ord-1", 2_000, "return")
    return made.id


def shop_reconcile(where: dict[str, str], file: Path, *more: str) -> Result:
    command = ["reconcile", str(file), *COMMON, "--amount", "168.00"]
    return CliRunner().invoke(app, [*command, *more], env=where)


def payouts(where: dict[str, str]) -> int:
    count = select(func.count()).select_from(Payout)
    return int(inside(where, lambda shop: look(shop, lambda s: s.scalar(count))))


def test_a_file_is_booked_once_and_its_differences_are_listed(
    where: dict[str, str], tmp_path: Path
) -> None:
    refund = inside(where, lambda shop: do(shop, "*", sold))
    file = tmp_path / "payout.csv"
    file.write_text("\ufeff" + FILE.format(refund=refund).replace("\n", "\r\n"), encoding="utf-8")

    several = shop_reconcile(where, file, "--yes")
    assert isinstance(several.exception, InvalidParameters)
    assert '"po-7", "po-8"' in several.exception.message
    odd = tmp_path / "odd.csv"
    odd.write_text("kind,source,amount,payout\nsale,a,1,x\nsale,a,1,\x1b]0;owned\x07\n")
    several = shop_reconcile(where, odd, "--yes")
    assert "\x1b" not in str(several.exception), "what a file says moves no terminal"

    ask = ("--reference", "po-8", "--amount", "11")
    declined = CliRunner().invoke(
        app, ["reconcile", str(file), *COMMON, *ask], env=where, input="n\n"
    )
    assert declined.exit_code == 1
    assert "1 lines, 1 exceptions, fees 0.00 EUR" in declined.output
    assert payouts(where) == 0

    booked = shop_reconcile(where, file, "--reference", "po-7", "--yes", "--json")
    assert booked.exit_code == 1, "there are differences"
    assert isinstance(booked.exception, SystemExit), booked
    told = json.loads(booked.stdout)
    assert (told["matched"], told["exception_count"], told["amount"]) == (3, 2, "168.00 EUR")
    assert [(row["line"], row["outcome"], row["note"]) for row in told["exceptions"]] == [
        (2, "amount_differs", "we have 10000"), (5, "missing", "no such payment in this currency"),
    ]  # fmt: skip
    again = shop_reconcile(where, file, "--reference", "po-7", "--yes", "--json")
    assert json.loads(again.stdout)["replayed"] is True
    assert payouts(where) == 1

    async def bank(shop: Shop) -> int:
        return await look(shop, lambda s: funds.balance(s, utc_now(), "bank", "EUR").posted)

    assert inside(where, bank) == 16_800


def test_what_agrees_is_told_in_a_line(where: dict[str, str], tmp_path: Path) -> None:
    inside(where, lambda shop: do(shop, "*", sold))
    file = tmp_path / "payout.csv"
    file.write_text("kind,source,amount\nsale,pay-1,100.00\ncapture,pay-2,100\n")
    ask = ("--amount", "200", "--reference", "po-1", "--yes")
    ended = CliRunner().invoke(app, ["reconcile", str(file), *COMMON, *ask], env=where)
    assert ended.exit_code == 0, ended.output
    assert "2 lines agree, 0 do not." in ended.stdout


def test_another_amount_is_said_as_it_is_typed(where: dict[str, str], tmp_path: Path) -> None:
    inside(where, lambda shop: do(shop, "*", sold))
    file = tmp_path / "payout.csv"
    file.write_text("kind,source,amount\nsale,pay-1,100.00\ncapture,pay-2,100\n")
    ended = shop_reconcile(where, file, "--reference", "po-1", "--yes")
    assert isinstance(ended.exception, InvalidParameters)
    assert ended.exception.message == "--amount: 200.00, the lines less their fees"


def refused(tmp_path: Path, text: str | bytes, currency: str = "EUR") -> list[tuple[int, str]]:
    file = tmp_path / "bad.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidParameters) as raised:
        payout_file.read(file, currency)
    found = raised.value.details["problems"]
    return [(each.get("row", 0), each.get("column", each.get("field"))) for each in found]


def test_every_row_that_will_not_do_is_named(tmp_path: Path) -> None:
    header = "type,reference,gross,fee,net,currency\n"
    assert refused(tmp_path, header + (
        "charge,pay-1,10.00,0.50,9.50,EUR\n"
        "gift,pay-2,10.00,0,10,EUR\n"
        "charge,pay-3,ten,0,10,EUR\n"
        "charge,pay-4,10.001,0,10,EUR\n"
        "\n"
        "charge,,10.00,0,10,USD\n"
        "charge,pay-6,10.00,-1,11,EUR\n"
        "charge,pay-7,10.00,0.50,9.00,EUR\n"
        "charge,pay-8,10.00\n"
        "charge,pay 9,1e400,NaN,,EUR\n"
    )) == [
        (3, "kind"), (4, "amount"), (4, "net"), (5, "amount"), (5, "net"), (7, "currency"),
        (7, "reference"), (8, "fee"), (9, "net"), (10, ""), (11, "reference"), (11, "amount"),
        (11, "fee"),
    ]  # fmt: skip


def test_decimals_are_the_currencys(tmp_path: Path) -> None:
    text = "kind,reference,amount\ncharge,pay-1,{}\n"
    assert refused(tmp_path, text.format("10.5"), "JPY") == [(2, "amount")]
    assert refused(tmp_path, text.format("1.2345"), "KWD") == [(2, "amount")]
    file = tmp_path / "good.csv"
    for amount, currency, minor in (("105", "JPY", 105), ("1.234", "KWD", 1234)):
        file.write_text(text.format(amount))
        assert payout_file.read(file, currency).lines[0]["amount_minor"] == minor


def test_a_file_that_is_none(tmp_path: Path) -> None:
    assert refused(tmp_path, "amount;fee\n1;2\n") == [(1, "kind"), (1, "reference"), (1, "amount")]
    assert refused(tmp_path, "") == [(1, "kind"), (1, "reference"), (1, "amount")]
    assert refused(tmp_path, "kind,reference,amount\n") == [(0, "FILE")]
    assert refused(tmp_path, b"kind,reference,amount\ncharge,\xff,1\n") == [(0, "FILE")]
    assert refused(tmp_path, 'kind,reference,amount\ncharge,"pay-1"x,1\n') == [(2, "")]
    many = "kind,reference,amount\n" + "charge,pay,1\n" * 2_001
    assert refused(tmp_path, many) == [(0, "FILE")]


def test_no_card_number_gets_in(where: dict[str, str], tmp_path: Path) -> None:
    inside(where, lambda shop: do(shop, "*", sold))
    file = tmp_path / "payout.csv"
    file.write_text("kind,source,amount\nsale,4242424242424242,168.00\n")
    ended = shop_reconcile(where, file, "--reference", "po-1", "--yes")
    assert isinstance(ended.exception, InvalidParameters)
    assert "4242" not in ended.exception.message
    assert payouts(where) == 0
