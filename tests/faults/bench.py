"""The tools that are called while processes die: each leaves its mark on what it did."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from common.call import Actor, Call
from common.errors import RuleViolation
from common.ledgers import accounts
from common.rules import stock
from common.scopes import Scope
from common.settings import Settings
from common.toolset import Effect, Toolset
from common.wire import Identifier, Result, Sku, Units

PLENTY: Final = "PLENTY"
SCARCE: Final = "SCARCE"
STOCK: Final = {PLENTY: 1_000_000, SCARCE: 60}
WAREHOUSE: Final = "WH-1"
POLICY: Final = """
currency = "EUR"
[approvals.cancel]
level = 0
[inventory.take]
units = [ { upto = 1000, level = 0 }, { level = 1 } ]
window = { hours = 24, upto = 900000 }
[inventory.put]
level = 0
repeatable = true
[inventory.hold]
level = 0
[inventory.stumble]
level = 0
[inventory.ask]
level = 1
"""

ANA: Final = Actor(
    "local", "ana@example.com", "test", frozenset({"inventory:read", "inventory:write"})
)


def settings_of(home: Path) -> Settings:
    """A shop in a folder, with the policy that lies there, and in PostgreSQL behind one login a
    server where a file names it. Importing this module is quick."""
    given = {"SHOP_HOME": str(home), "SHOP_OPERATOR": "ana@example.com", "SHOP_RATE_LIMITS": "off"}
    if (home / "database.url").exists():
        given |= {"SHOP_DATABASE_URL": (home / "database.url").read_text()}
        given |= {"SHOP_DATABASE_ROLES": "1", "SHOP_DATABASE_POOL": "4"}
    return replace(Settings.load(given), policy_file=home / "policy.toml")


tools = Toolset("inventory", "Bench", "For tests of faults.")


class Left(Result):
    available: int


class Weighed(Result):
    """What the whole ledger adds up to, in one reading transaction."""

    total: int


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CHANGES)
def take(call: Call, sku: Sku, quantity: Units, mark: Identifier) -> Left:
    """Take units off the shelf."""
    call.stake(units=quantity)
    stock.adjust(call, sku, WAREHOUSE, -quantity, mark)
    return Left(available=stock.level(call.session, call.now, sku, WAREHOUSE).available)


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CREATES)
def put(call: Call, sku: Sku, quantity: Units, mark: Identifier) -> Left:
    """Put units on the shelf; without a key it may be repeated."""
    call.stake()
    stock.adjust(call, sku, WAREHOUSE, quantity, mark)
    return Left(available=stock.level(call.session, call.now, sku, WAREHOUSE).available)


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CREATES)
def hold(call: Call, sku: Sku, quantity: Units, mark: Identifier) -> Left:
    """Reserve units for two seconds."""
    call.stake()
    until = call.now + timedelta(seconds=2)
    stock.reserve(call, sku, WAREHOUSE, quantity, mark, until)
    return Left(available=stock.level(call.session, call.now, sku, WAREHOUSE).available)


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CHANGES)
def stumble(call: Call, sku: Sku, quantity: Units, mark: Identifier) -> Left:
    """Take units, then refuse."""
    call.stake()
    stock.adjust(call, sku, WAREHOUSE, -quantity, mark)
    raise RuleViolation("Not today.")


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CHANGES)
def ask(call: Call, sku: Sku, quantity: Units, mark: Identifier) -> Left:
    """Take units once the person has confirmed."""
    call.stake()
    call.show(f"Take {quantity} of {sku}")
    stock.adjust(call, sku, WAREHOUSE, -quantity, mark)
    return Left(available=stock.level(call.session, call.now, sku, WAREHOUSE).available)


@tools.tool(scope=Scope.INVENTORY_READ, effect=Effect.READS)
def weigh(call: Call, sku: Sku) -> Weighed:
    """Add up every account of a SKU: always nothing."""
    codes = [f"{WAREHOUSE}/available", "adjustments", "opening", "customer"]
    found = accounts.totals(call.session, stock.units(sku), codes, now=call.now)
    return Weighed(total=sum(balance.posted for balance in found.values()))


def stocked(call: Call) -> None:
    """The shelf before anything happens."""
    for sku, units in STOCK.items():
        stock.move(call, sku, WAREHOUSE, "opening", "available", units, "opening", "opening")
