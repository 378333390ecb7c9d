"""A small shop to break: what is in it, what callers may do, and the rules they meet."""

import re
from pathlib import Path
from random import Random
from typing import Any, Final

from common.approvals import approvers
from common.call import Call
from common.rules import stock
from common.tables.inventory import Product, Variant, Warehouse
from common.tables.spine import Approver
from tests.faults.history import Intent
from tests.payments import seed

CUP, SCARCE = "CUP", "SCARCE"
TALLIES: Final = tuple(f"TALLY-{number}" for number in range(10))
MUGS: Final = tuple(f"MUG-{number}" for number in range(30))  # CUP is what everybody wants
HOUSES: Final = ("WH-1", "WH-2")
PAYMENTS: Final = 40
CHARGED: Final = 100_000
APPROVER: Final = "kim@example.com"
ALONE, CONFIRMED = 500, 1_000  # a refund's limits, in cents: above both a second person decides
RULES: Final = {
    "inventory.adjust_stock": "level = 0",
    "payments.refund_payment": (
        'steps = [ { upto = "5.00", level = 0 }, { upto = "10.00", level = 1 }, { level = 2 } ]'
    ),
}
ROOT: Final = Path(__file__).resolve().parents[2]


def policy() -> str:
    """The default policy with rules of our own, which count nothing together over a day."""
    text = (ROOT / "common" / "policy.toml").read_text()
    for name, rule in RULES.items():
        table = re.compile(rf"^\[{re.escape(name)}\].*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
        text, found = table.subn(f"[{name}]\n{rule}\n\n", text)
        assert found == 1, name
    return text


def furnished(call: Call) -> Approver:
    """Goods, paid orders, and a person who decides. Returns that person."""
    seed.world(call)
    call.add(Warehouse(id="WH-2", name="Shed", region="north", address=seed.ADDRESS))
    call.add(Product(id="prd-more", name="More"))
    for sku in (SCARCE, *TALLIES, *MUGS):
        call.add(
            Variant(id=sku, product_id="prd-more", name=sku, price_minor=1_000, currency="EUR")
        )
    call.session.flush()
    for house in HOUSES:
        for goods in (CUP, *MUGS):
            stock.receive(call, goods, house, 1_000_000, "opening")
        for tally in TALLIES:
            stock.receive(call, tally, house, 1, "opening")
    stock.receive(call, SCARCE, "WH-1", 60, "opening")
    for number in range(PAYMENTS):
        seed.charged(f"ord-{number}", CHARGED, payment_id=f"pay-{number}")(call)
    return approvers.enroll(
        call.session, APPROVER, "Kim", seed.PASSPHRASE, "", call.now, n=2**4
    )  # fmt: skip


def chosen(random: Random, mark: str) -> Intent:
    """Something somebody wants done. Its mark is written into the row that doing it makes."""
    kind = random.choice(("reserve", "tally", "tally", "adjust", "send", "refund", "order"))
    house, units = random.choice(HOUSES), random.randint(1, 4)
    goods = CUP if random.random() < 0.2 else random.choice(MUGS)
    arguments: dict[str, Any]
    if kind == "reserve":
        sku = SCARCE if random.random() < 0.2 else goods
        house = "WH-1" if sku == SCARCE else house
        tool = "inventory.reserve_stock"
        arguments = {"sku": sku, "quantity": units, "warehouse": house, "source_id": mark}
    elif kind in ("tally", "adjust"):
        tool, missing = "inventory.adjust_stock", kind == "adjust" and random.random() < 0.5
        arguments = {
            "sku": random.choice(TALLIES) if kind == "tally" else goods, "warehouse": house,
            "note": mark, "quantity": 1 if kind == "tally" else -units if missing else units,
            "reason": "shrinkage" if missing else "found",
        }  # fmt: skip
    elif kind == "send":
        tool = "inventory.transfer_stock"
        arguments = {
            "from_warehouse": house, "to_warehouse": HOUSES[house == "WH-1"], "reason": mark,
            "lines": [{"sku": goods, "quantity": random.choice((units, units, 100 + units))}],
        }  # fmt: skip
    elif kind == "refund":
        tool = "payments.refund_payment"
        limit = random.choice((0, ALONE, CONFIRMED))
        arguments = {
            "payment_id": f"pay-{random.randrange(PAYMENTS)}", "currency": "EUR", "note": mark,
            "amount_minor": limit + random.randint(1, 400), "reason": "goodwill",
        }  # fmt: skip
    else:
        tool = "orders.place_order"
        arguments = {
            "customer_id": seed.ANA, "payment_method_id": seed.CARD, "warehouse": house,
            "lines": [{"sku": goods, "quantity": units}],
            "ship_to": seed.ADDRESS | {"line1": mark},
        }  # fmt: skip
    return Intent(mark, tool, arguments, mark)


def amount_of(intent: Intent) -> int:
    """Units or cents an intent moves."""
    said = intent.arguments
    if "lines" in said:
        return int(said["lines"][0]["quantity"])
    return abs(int(said.get("quantity", said.get("amount_minor", 0))))
