"""A small server for tests of the spine: one shelf of widgets, every kind of tool."""

import time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from common.call import Call
from common.errors import NotFound, RuleViolation
from common.rules import stock
from common.scopes import Scope
from common.toolset import Computation, Effect, Progress, Toolset
from common.wire import Args, Identifier, Line, Minor, Note, Result, Units

POLICY = """
currency = "EUR"
[approvals.cancel]
level = 0
[inventory.take]
units = [
  { upto = 5, level = 0 }, { upto = 50, level = 1 }, { upto = 500, level = 2 }, { level = 3 }
]
window = { hours = 24, upto = 20 }
[inventory.spend]
steps = [ { upto = "50.00", level = 0 }, { upto = "500.00", level = 1 }, { level = 2 } ]
[inventory.never]
level = "deny"
[inventory.forgetful]
steps = [ { upto = "50.00", level = 0 }, { level = 1 } ]
[inventory.crash]
level = 0
[inventory.again]
level = 0
repeatable = true
[inventory.compute]
level = 0
"""

tools = Toolset("inventory", title="Toys", instructions="A shelf of widgets.")


class Shelf(Result):
    available: int
    reserved: int = 0


class Part(Args):
    name: Line
    count: Units


class Listed(Result):
    parts: list[str]


@tools.tool(scope=Scope.INVENTORY_READ, effect=Effect.READS, aliases=("look_at",))
def peek(call: Call) -> Shelf:
    """Look at the shelf of widgets.

    Use it before you take any.
    """
    level = stock.level(call.session, call.now, "widget", "WH-1")
    return Shelf(available=level.available, reserved=level.reserved)


@tools.tool(scope=Scope.INVENTORY_READ, effect=Effect.READS)
def parts(call: Call, wanted: Annotated[list[Part], Field(max_length=5)]) -> Listed:
    """Repeat a list of parts, for tests of nested arguments."""
    return Listed(parts=[part.name for part in wanted])


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CHANGES)
def take(
    call: Call, quantity: Units, why: Note = "for tests", colour: Literal["red", "blue"] = "red"
) -> Shelf:
    """Take widgets from the shelf, for good."""
    before = stock.level(call.session, call.now, "widget", "WH-1").available
    call.stake(units=quantity)
    call.show(f"Take {quantity} of {before} widgets")
    stock.adjust(call, "widget", "WH-1", -quantity, "taken")
    return Shelf(available=before - quantity)


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CHANGES)
def spend(call: Call, amount_minor: Minor) -> Shelf:
    """Stake an amount of money and nothing else."""
    call.stake(amount_minor=amount_minor, currency="EUR")
    call.show("Spend money")
    return Shelf(available=0)


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CHANGES)
def never(call: Call) -> Shelf:
    """A tool that the policy always denies."""
    call.stake()
    stock.adjust(call, "widget", "WH-1", 7, "never")
    return Shelf(available=0)


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CHANGES)
def forgetful(call: Call) -> Shelf:
    """A tool whose rule forgets to state its stakes."""
    stock.adjust(call, "widget", "WH-1", 7, "forgotten")
    return Shelf(available=0)


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CHANGES)
def crash(call: Call, how: Identifier) -> Shelf:
    """Break after an effect, in one of several ways."""
    call.stake()
    stock.adjust(call, "widget", "WH-1", 1, "crash")
    if how == "rule":
        raise RuleViolation("Not today.")
    if how == "missing":
        raise NotFound("No such thing.")
    raise RuntimeError(f"secret inside: {how}")


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CREATES)
def again(call: Call) -> Shelf:
    """Add one widget; may be repeated freely."""
    call.stake()
    stock.adjust(call, "widget", "WH-1", 1, "again")
    return peek(call)


def _prepare(call: Call, rounds: Units) -> dict[str, int]:
    return {"rounds": rounds, "available": peek(call).available}


def _compute(data: dict[str, int], progress: Progress) -> int:
    for done in range(data["rounds"]):
        if progress.cancelled():
            return -1
        progress.report(done + 1, data["rounds"], "counting")
        time.sleep(0.001)
    return data["available"] * 2


@tools.tool(
    scope=Scope.INVENTORY_WRITE,
    effect=Effect.CREATES,
    computation=Computation(_prepare, _compute),
)
def compute(call: Call, rounds: Units, *, plan: int) -> Shelf:
    """Work long outside the transaction, then add what came out."""
    call.stake()
    stock.adjust(call, "widget", "WH-1", plan, "computed")
    return peek(call)


@tools.resource("inventory://shelf", scope=Scope.INVENTORY_READ)
def shelf(call: Call) -> Shelf:
    """The shelf of widgets as it is now."""
    return peek(call)


@tools.resource("inventory://shelf/{name}{?days}", scope=Scope.INVENTORY_READ)
def named_shelf(
    call: Call, name: Identifier, days: Annotated[int, Field(ge=1, le=30)] = 7
) -> Listed:
    """One shelf by name, over some days."""
    if name == "none":
        raise NotFound("No such shelf.")
    if name == "crash":
        raise RuntimeError("secret inside")
    return Listed(parts=[name, str(days)])


@tools.prompt()
def tidy(corner: Line, thoroughly: Literal["yes", "no"] = "no") -> str:
    """Tidy one corner of the shop."""
    return f"Tidy {corner}, thoroughly: {thoroughly}."


@tools.completes("name")
def names(call: Call, prefix: Line) -> list[str]:
    return [name for name in ("left", "lower", "right") if name.startswith(prefix)]


def policy_in(folder: Path) -> Path:
    """The toy policy as a file."""
    path = folder / "policy.toml"
    path.write_text(POLICY)
    return path


def stocked(call: Call) -> None:
    """A thousand widgets."""
    stock.adjust(call, "widget", "WH-1", 1_000, "opening")
