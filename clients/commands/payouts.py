"""shop reconcile: a provider's payout file against the books."""

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from clients import payout_file
from clients.commands.common import Json, say_json, table, with_shop
from common.errors import InvalidParameters
from common.incoming import Done, Request, Waiting
from common.money import decimal_text, parse_minor
from common.shop import Shop, local_identity

TOOL = "reconcile_payout"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("reconcile")(reconcile)


def reconcile(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The CSV file.")],
    provider: Annotated[str, typer.Option(help="Who paid out, as payments name it.")],
    currency: Annotated[str, typer.Option(help="Of the payout: EUR, USD, JPY …")],
    amount: Annotated[str, typer.Option(help="What arrived at the bank: 188.00")],
    arrived: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The day it arrived.")],
    reference: Annotated[
        str, typer.Option(help="The payout's own; from the file where it names one.")
    ] = "",
    paid_by: Annotated[str, typer.Option(help="card or wallet")] = "card",
    yes: Annotated[bool, typer.Option("--yes", help="I have seen the file: do not ask.")] = False,
    approval_id: Annotated[str, typer.Option(help="Of an approval that was given.")] = "",
    as_json: Json = False,
) -> None:
    """Book a provider's payout from its CSV file and list what does not agree.

    Columns are found by their names: kind (or type), reference (or source), amount (or gross);
    fee, net, currency and payout where there are. It is the tool reconcile_payout of the payments
    server: the same policy, the same record. The same file again books nothing.

    Exit code 0: everything agrees. 1: booked, and there are differences; or refused, or waiting
    for a person.
    """
    currency = currency.upper()
    found = payout_file.read(file, currency, reference or None)
    if found.reference is None:
        raise InvalidParameters.field("--reference", None, "needed: the file names no payout")
    arguments: dict[str, Any] = {
        "provider": provider, "reference": found.reference, "currency": currency,
        "amount_minor": parse_minor(amount, currency, "--amount"),
        "arrived_on": arrived.date().isoformat(), "paid_by": paid_by, "lines": found.lines,
    }  # fmt: skip
    key = hashlib.sha256(repr(sorted(arguments.items())).encode()).hexdigest()
    arguments |= {"idempotency_key": f"file-{key[:40]}"}
    arguments |= {"approval_id": approval_id} if approval_id else {}
    try:
        answer = with_shop(lambda shop: _through_the_guard(shop, arguments, ask=not yes))
    except InvalidParameters as error:
        raise _in_options(error, amount, currency) from None
    if as_json:
        say_json(answer.structured if isinstance(answer, Done) else answer.structured())
    elif isinstance(answer, Done):
        _show(answer.structured, currency)
    else:
        typer.echo(answer.structured()["next"])
    if isinstance(answer, Waiting) or answer.structured["exceptions"]:
        raise typer.Exit(1)


def _in_options(error: InvalidParameters, amount: str, currency: str) -> InvalidParameters:
    """What is wrong with the amount, as it was typed and not as the tool takes it."""
    problems = error.details.get("problems", [])
    if [problem.get("field") for problem in problems] != ["amount_minor"]:
        return error
    found = re.match(r"(-?[0-9]+)(.*)", str(problems[0]["requirement"]), re.DOTALL)
    needed = f"{decimal_text(int(found[1]), currency)}{found[2]}" if found else "another amount"
    return InvalidParameters.field("--amount", amount, needed)


async def _through_the_guard(shop: Shop, arguments: dict[str, Any], *, ask: bool) -> Done | Waiting:
    """As a host's call would go, with the person at this terminal for the one who confirms."""
    from servers.payments.tools import tools  # with every rule of the server: slow to import

    who, spec = local_identity(shop.settings), tools.tools[TOOL]
    answer = await shop.guard.call(Request(spec, arguments, who))
    if isinstance(answer, Done) or answer.level > 1:
        return answer
    typer.echo("\n".join([answer.preview["title"], *answer.preview["lines"]]), err=True)
    agreed = not ask or typer.confirm("Book it?", err=True)
    await shop.guard.confirm(answer.approval_id, who, agreed)
    if not agreed:
        typer.echo("Nothing was booked.", err=True)
        raise typer.Exit(1)
    again = arguments | {"approval_id": answer.approval_id}
    return await shop.guard.call(Request(spec, again, who))


def _show(payout: dict[str, Any], currency: str) -> None:
    exceptions = payout["exceptions"]
    typer.echo(
        f"Payout {payout['reference']} of {payout['amount']} is booked as {payout['payout_id']}: "
        f"{payout['matched']} lines agree, {payout['exception_count']} do not."
    )
    if not exceptions:
        return
    rows = [
        [
            str(row["line"]), row["kind"], row["reference"],
            decimal_text(row["amount_minor"], currency), row["outcome"].replace("_", " "),
            row["note"],
        ]
        for row in exceptions
    ]  # fmt: skip
    table(
        "Differences",
        ["line", "kind", "reference", "amount", "what", "we have"],
        rows,
        whole=["reference"],
    )
    if payout["exception_count"] > len(exceptions):
        typer.echo(f"… the first {len(exceptions)}; list_payouts with its payout_id has the rest.")
    typer.echo("Once somebody has looked at them: accept_payout_exceptions, with a second person.")
